"""What make passes on: paths with spaces, and the options about a reader's data."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-gpu.lock")
PYTHON = f"""\
#!{sys.executable}
import json, os, sys
given = {{k: v for k, v in os.environ.items() if k.startswith("RECSYS_")}}
print(json.dumps([sys.argv[1:], given]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile in a folder with a space, and an environment in another."""
    folder = tmp_path / "the book"
    python = tmp_path / "a b/env/bin/python"
    for made in (folder, python.parent):
        made.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, folder)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / "a b/env/.recsys-book-ready").touch()
    return folder


def make(folder: Path, *words: str) -> list[tuple[list[str], dict[str, str]]]:
    """Calls of Python: arguments, and the environment's RECSYS_ variables."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RECSYS_")}
    inherited.pop("MAKEFLAGS", None)
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=folder,
        env={**inherited, "VIRTUAL_ENV": str(folder.parent / "a b/env")},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [x for x in done.stdout.splitlines() if x.startswith("[")]
    return [tuple(json.loads(line)) for line in lines]


def test_paths_with_spaces_arrive_whole(project: Path) -> None:
    ((compared, _),) = make(project, "compare", "DATASET=my shop")
    assert compared[2:] == [
        "compare",
        "--recorded",
        "",
        "--dataset",
        "my shop",
        "--models",
        "",
    ]
    ((plan, _),) = make(project, "plan", "RESULTS=/some where/res")
    assert plan[:2] == ["-m", "recsys_lib.serving.plan"]
    assert plan[-2:] == ["--results", "/some where/res"]
    ((book, _),) = make(project, "book", "DATASET=/some where/shop", "CHAPTERS=01 04")
    assert book[book.index("--dataset") + 1] == "/some where/shop"
    assert book[book.index("--chapters") + 1] == "01 04"


def test_options_about_the_data_are_exported(project: Path) -> None:
    said = {
        "COLUMNS": "user=customer item=sku",
        "LIKED": "rating>=4",
        "REPEATS": "last",
        "NOUN": "spare part",
        "SKIP_BAD_ROWS": "1",
    }
    ((_, given),) = make(project, "book", *(f"{k}={v}" for k, v in said.items()))
    assert given == {f"RECSYS_{name}": text for name, text in said.items()}
    ((_, given),) = make(project, "book", "COLUMNS=80")
    assert set(given.values()) == {""}, "a width of a terminal is no option"
