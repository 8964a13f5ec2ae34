"""Cache expensive artifacts on disk, keyed by a hash of everything they depend on.

The key covers the inputs, the code that makes the artifact with all its imports, the
versions of the packages it uses and, if times are involved, the machine. So a stale
artifact is never returned. A damaged one is made again. Two processes may make the same
artifact at the same time.
"""

import contextlib
import errno
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
from platformdirs import user_cache_path

from recsys_lib.imports import code_of
from recsys_lib.machine import describe_machine

_LIST = "files.json"
_UNWRITABLE = (  # numbers of the errors of a folder that cannot be written
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENOSPC, errno.EDQUOT),
)
_MODEL_FILES = (".json", ".safetensors", ".bin", ".onnx", ".onnx_data", ".model")


def cache_files(
    kind: str,
    inputs: Sequence[object],
    make: Callable[[Path], object],
    *,
    timed: bool = False,
) -> Path:
    """Return the folder of a cached artifact, after making it if it is not cached.

    Args:
        kind: Kind of artifact, the name of a folder in `cache_folder`.
        inputs: Arrays and JSON values that the artifact is made from. Code and versions
            are found through the imports of the file that defines `make`.
        make: Writes the artifact's files into the folder that it is given. If it
            raises, nothing is cached.
        timed: Whether the artifact holds or depends on times; if so, another kind of
            machine makes its own.

    Returns:
        A folder whose files are, byte for byte, those that `make` wrote.

    Raises:
        OSError: If the cache cannot be written, naming RECSYS_CACHE.
        TypeError: If an input is neither an array of numbers nor a JSON value.
        ValueError: If `make` is not defined in a file, but in a notebook for example.
    """
    return _cached(kind, _key(inputs, make, timed=timed), make)


def _cached(kind: str, key: str, make: Callable[[Path], object]) -> Path:
    home = cache_folder() / kind / key
    if _is_whole(home):
        with contextlib.suppress(OSError):  # a cache of another user, for reading
            os.utime(home)
        return home
    try:
        return _made(home, make)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise OSError(
            f"the cache {cache_folder()} must be a folder that can be written and has "
            f"space; got: {error}. RECSYS_CACHE=<folder> names another one."
        ) from error


def _made(home: Path, make: Callable[[Path], object]) -> Path:
    key = home.name
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
class CachedArrays:
    """Arrays from the cache, or made now.

    Attributes:
        arrays: What `make` returned.
        seconds: That making them took, now or earlier.
        is_new: Whether they were made now.
    """

    arrays: tuple[npt.NDArray[Any], ...]
    seconds: float
    is_new: bool = False


def cache_arrays(
    kind: str, inputs: Sequence[object], make: Callable[[], Sequence[npt.ArrayLike]]
) -> CachedArrays:
    """Return cached arrays with their making time, after making them if not cached.

    Arguments and errors as in `cache_files`, `timed`.
    """
    made: list[Path] = []

    def save(folder: Path) -> None:
        began = time.monotonic()
        made.append(folder)
        for i, array in enumerate(make()):
            np.save(folder / f"{i}.npy", np.asarray(array))
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - began))

    home = _cached(kind, _key(inputs, make, timed=True), save)
    seconds = json.loads((home / "seconds.json").read_text())
    n_arrays = len(list(home.glob("*.npy")))
    arrays = tuple(np.load(home / f"{i}.npy") for i in range(n_arrays))
    return CachedArrays(arrays, seconds, is_new=bool(made))


def cache_folder() -> Path:
    """Folder of the cache: $RECSYS_CACHE, or else ~/.cache/recsys_lib on Linux."""
    usual = user_cache_path("recsys_lib", appauthor=False)
    return Path(os.environ.get("RECSYS_CACHE") or usual).expanduser()


def remove_unused(*, days: float = 30) -> int:
    """Remove the artifacts that were neither made nor used for some days.

    Changed code makes artifacts of its own, and does not find the old ones.

    Returns:
        The number of bytes that are free again.
    """
    entries = [x.parent for x in cache_folder().glob(f"*/*/{_LIST}")]
    old = [x for x in entries if time.time() - x.stat().st_mtime > 86_400 * days]
    files = [file for entry in old for file in entry.rglob("*") if file.is_file()]
    n_bytes = sum(file.stat().st_size for file in files)
    for entry in old:
        shutil.rmtree(entry)
    return n_bytes


def sha256_of(file: Path) -> str:
    """Hash a file: 64 hexadecimal digits, as the ``sha256sum`` command prints them.

    >>> len(sha256_of(Path(__file__)))
    64
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Hash the files that determine a pre-trained model's output: path -> SHA-256.

    These are its weights, configuration and tokeniser, those of the numbered modules of
    sentence-transformers, such as "1_Pooling/config.json", and "onnx/model.onnx".
    """
    places = ("*", "[0-9]*_*/*", "onnx/model.onnx*")
    files = [file for place in places for file in folder.glob(place)]
    return {
        x.relative_to(folder).as_posix(): sha256_of(x)
        for x in files
        if x.suffix in _MODEL_FILES and x.is_file()
    }


def _key(inputs: Sequence[object], make: Callable[..., object], *, timed: bool) -> str:
    machine = describe_machine().hardware_class if timed else None
    parts = [list(inputs), code_of(make), machine]
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
    except OSError:  # another process was faster: fine, if its copy is whole
        if not _is_whole(home):
            raise


if __name__ == "__main__":
    print(
        f"{cache_folder()}: {remove_unused() / 1e9:.1f} GB removed, unused for 30 days"
    )
