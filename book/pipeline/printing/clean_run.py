"""Run notebooks.zip as a stranger does: a clean folder, a Jupyter without the book."""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import papermill

from book.pipeline.chapters import BookError

_KERNEL = "stranger"


def run_archive(
    archive: Path, numbers: Sequence[str] = (), pins: Sequence[str] = ()
) -> None:
    """Unpack the archive and run its notebooks from top to bottom, in smoke.

    Their first cell makes the environment that they need; its size is printed.

    Args:
        archive: As `publish` writes it.
        numbers: Of the chapters to run; all of them when empty.
        pins: Packages beside the kernel, such as those that Colab has.

    Raises:
        BookError: If there is no archive, or a notebook fails.
    """
    if not archive.exists():
        raise BookError(f"{archive} must exist; run `make publish` first")
    with tempfile.TemporaryDirectory(prefix="clean-run-") as scratch:
        place = Path(scratch)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(place)
        (folder,) = place.glob("recsys-book-*")
        _jupyter(place / "jupyter", pins)
        os.environ["JUPYTER_PATH"] = str(place / "jupyter/share/jupyter")
        os.environ.pop("RECSYS_DATA", None)
        os.environ.pop("PYTHONPATH", None)
        for file in sorted(folder.glob("*.ipynb")):
            if not numbers or file.name[:2] in numbers:
                _run(file)
        sizes = [x.lstat().st_size for x in (folder / "recsys-book/env").rglob("*")]
        if sizes:  # none with RECSYS_BOOK_PYTHON, which names one that is there
            print(f"the environment of the first cell: {sum(sizes) / 1e9:.2f} GB")


def _run(file: Path) -> None:
    began = time.perf_counter()
    print(f"{file.stem}: from top to bottom, in smoke", flush=True)
    try:
        papermill.execute_notebook(
            file,
            file.with_suffix(".done.ipynb"),
            {"profile": "smoke"},
            kernel_name=_KERNEL,
            cwd=file.parent,
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        raise BookError(f"{file.stem}: {error.ename}: {error.evalue}") from error
    print(f"{file.stem}: done in {time.perf_counter() - began:.0f} s", flush=True)


def _jupyter(place: Path, pins: Sequence[str]) -> None:
    """A kernel with nothing of the book beside it."""
    python = str(place / "bin/python")
    base = getattr(sys, "_base_executable", sys.executable)
    for command in (
        [base, "-m", "venv", str(place)],
        [python, "-m", "pip", "install", "--quiet", "ipykernel", *pins],
        [python, "-m", "ipykernel", "install", f"--prefix={place}", "--name", _KERNEL],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BookError(f"{' '.join(command)}: {done.stderr[-600:]}")
