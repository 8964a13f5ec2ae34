"""What takes long to make, kept on disk under a hash of all that it was made of.

A stale copy is never found, since its hash is another; a damaged one is made again; two
processes that make the same thing at once do each other no harm.
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

_LIST = "files.json"


def keep(kind: str, made_of: Sequence[str], make: Callable[[Path], object]) -> Path:
    """Return the folder of something made before, or make it now.

    Args:
        kind: What it is, as the name of a folder in `cache_folder`.
        made_of: All that the result depends on: hashes, versions, settings.
        make: Writes its files into the folder it is given; an error keeps nothing.

    Returns:
        A folder whose files are, byte for byte, those that `make` wrote.
    """
    key = hashlib.sha256(json.dumps([kind, *made_of]).encode()).hexdigest()[:32]
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
    kind: str, made_of: Sequence[str], make: Callable[[], Sequence[npt.ArrayLike]]
) -> KeptArrays:
    """Return arrays made before, or make them now; arguments as of `keep`."""

    def save(folder: Path) -> None:
        began = time.monotonic()
        for i, array in enumerate(make()):
            np.save(folder / f"{i}.npy", np.asarray(array))
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - began))

    home = keep(kind, made_of, save)
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
