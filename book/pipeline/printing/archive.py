"""notebooks.zip: the notebooks with all that they need to run in a clean folder."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import say

_SOURCES = ("pyproject.toml", "README.md", "LICENSE")
_DATE = (1980, 1, 1, 0, 0, 0)  # equal files make equal archives


def build_wheel(root: Path, folder: Path) -> Path:
    """Build the library's wheel from a copy of its sources; return the file.

    Raises:
        BookError: If pip cannot build it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for name in _SOURCES:
            shutil.copy(root / name, scratch)
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "recsys_lib", Path(scratch) / "recsys_lib", ignore=leave)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--wheel-dir", str(folder), scratch],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BookError(f"the library's wheel: {done.stderr[-800:]}")
    (wheel,) = folder.glob("recsys_lib-*.whl")
    return wheel


def write_archive(
    archive: Path,
    files: Iterable[tuple[str, Path]],
    *,
    title: str,
    version: str,
    fingerprint: str,
) -> None:
    """Write the archive: one folder with a README and the files.

    Args:
        archive: The file to write.
        files: Name in the archive, and file.
        title: Of the book.
        version: Of the book.
        fingerprint: Of the executed result.
    """
    folder = f"recsys-book-{version}"
    about = say(
        "The chapters as executed notebooks: edition {version}, fingerprint "
        "`{fingerprint}`.",
        version=version,
        fingerprint=fingerprint,
    )
    how = say(
        "Open one in JupyterLab, or put the folder where your notebook server sees it. "
        "Run it from top to bottom: the first cell installs the book's library beside "
        "the notebooks if it is not installed, and gets the data. Set "
        '`profile = "smoke"` in the cell of parameters for a quick run. Chapter 7 '
        "reads the numbers of the others from `results/`."
    )
    readme = f"# {title}\n\n{about}\n\n{how}\n"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(_entry(f"{folder}/README.md"), readme)
        for name, file in sorted(files):
            made.writestr(_entry(f"{folder}/{name}"), file.read_bytes())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
