"""Cache what takes long to make on disk, keyed by a hash of all that decides it.

The key holds the inputs, the code that makes it with all that this imports, the
versions of the packages beneath and, where a time is kept or decides, the machine. So
a stale copy is never found. A damaged one is made again; two processes that make the
same thing at once do each other no harm.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.imports import code_of
from recsys_lib.machine import describe_machine

_LIST = "files.json"
_MODEL_FILES = (".json", ".safetensors", ".bin")


def keep(
    kind: str,
    made_of: Sequence[object],
    make: Callable[[Path], object],
    *,
    timed: bool = False,
) -> Path:
    """Return the folder of something made before, or make it now.

    Args:
        kind: What it is, as the name of a folder in `cache_folder`.
        made_of: The inputs: arrays, and what JSON can hold. Code, and versions of
            packages, are found by the imports of the file that defines `make`.
        make: Writes its files into the folder it is given; an error keeps nothing.
        timed: Whether a time is kept, or decides; it is of this kind of machine alone.

    Returns:
        A folder whose files are, byte for byte, those that `make` wrote.

    Raises:
        TypeError: If an input is neither an array nor what JSON can hold.
        ValueError: If `make` is of no file, as in a notebook.
    """
    return _kept(kind, _key(made_of, make, timed=timed), make)


def _kept(kind: str, key: str, make: Callable[[Path], object]) -> Path:
    home = cache_folder() / kind / key
    if _is_whole(home):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="part-") as part:
        made = Path(part) / key
        made.mkdir()
        make(made)
        (made / _LIST).write_text(json.dumps(_digests(made)))
        if not _is_whole(home):  # another process may have made it meanwhile
            shutil.rmtree(home, ignore_errors=True)
            _move(made, home)
    return home


@dataclass(frozen=True, eq=False)
class KeptArrays:
    """Arrays, and how long they took to make when they were made."""

    arrays: tuple[npt.NDArray[Any], ...]
    seconds: float


def keep_arrays(
    kind: str, made_of: Sequence[object], make: Callable[[], Sequence[npt.ArrayLike]]
) -> KeptArrays:
    """Return arrays made before on this kind of machine, or make them now.

    Arguments and errors as of `keep`.
    """

    def save(folder: Path) -> None:
        began = time.monotonic()
        for i, array in enumerate(make()):
            np.save(folder / f"{i}.npy", np.asarray(array))
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - began))

    home = _kept(kind, _key(made_of, make, timed=True), save)
    seconds = json.loads((home / "seconds.json").read_text())
    n_arrays = len(list(home.glob("*.npy")))
    return KeptArrays(
        tuple(np.load(home / f"{i}.npy") for i in range(n_arrays)), seconds
    )


def cache_folder() -> Path:
    """Where things are kept: $RECSYS_CACHE, or ~/.cache/recsys_lib."""
    return Path(os.environ.get("RECSYS_CACHE") or Path.home() / ".cache/recsys_lib")


def sha256_of(file: Path) -> str:
    """Hash a file: 64 hexadecimal digits, as the ``sha256sum`` command prints them.

    >>> len(sha256_of(Path(__file__)))
    64
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Hash the files that decide what a pre-trained model gives, by their names.

    Weights, configuration and tokeniser, and those of the modules that
    sentence-transformers numbers, such as "1_Pooling/config.json".
    """
    files = [*folder.glob("*"), *folder.glob("[0-9]*_*/*")]
    return {
        x.relative_to(folder).as_posix(): sha256_of(x)
        for x in files
        if x.suffix in _MODEL_FILES and x.is_file()
    }


def _key(made_of: Sequence[object], make: Callable[..., object], *, timed: bool) -> str:
    machine = describe_machine().hardware_class if timed else None
    parts = [list(made_of), code_of(make), machine]
    content = json.dumps(parts, sort_keys=True, default=_array_parts)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _array_parts(array: object) -> list[object]:
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        got = f"got {type(array).__name__}"
        raise TypeError(f"inputs must be JSON values or arrays of numbers; {got}")
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return [array.dtype.str, list(array.shape), digest]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(x for x in folder.iterdir() if x.name != _LIST)
    return {x.name: sha256_of(x) for x in files}


def _is_whole(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / _LIST).read_text()) == _digests(folder))
    except (OSError, ValueError):
        return False


def _move(made: Path, home: Path) -> None:
    try:
        made.rename(home)
    except OSError:  # taken since the last look: right, if what took it is whole
        if not _is_whole(home):
            raise
