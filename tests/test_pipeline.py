"""The press, on a book of one chapter: what it prints and what it refuses to print."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from book.pipeline.__main__ import build, main
from book.pipeline.chapters import BookError, Chapter
from book.pipeline.claims import Claim, evidence, judge, load_claims
from book.pipeline.execute import load_run
from book.pipeline.fetch import fetch_data, unpack
from book.pipeline.fingerprint import reached_modules
from book.pipeline.prose import bare_numerals, pictures_without_text
from book.pipeline.results import Results

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = {"profile": "smoke", "device": "cpu", "seed": 0}
CHAPTER = """\
---
kernelspec:
  name: python3
  display_name: Python 3
---

# 1. A small chapter

The mean is {record}`ch1.mean:.2f`, its interval {interval}`ch1.spread:.1f`.

```{code-cell} ipython3
:tags: [parameters]

profile = "standard"
device = "cpu"
seed = 1
```

```{code-cell} ipython3
from recsys_lib.intervals import Interval
from recsys_lib.provenance import record

record("mean", 2.5, unit="ms", n=4)
record("spread", Interval(2.0, 1.0, 3.0, 9))
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A rising line.
  figure:
    caption: The line rises.
    name: fig-line
---
import matplotlib.pyplot as plt

plt.plot([0, 1]);
```
"""
CLAIM = """\
- id: small
  section: "1.1"
  claim: The mean is small.
  verdict: holds
  correct: It is.
  rule: ch1.mean < 3
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one chapter, the book's own settings and its library."""
    for folder in ("chapters", "book/_static"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copytree(ROOT / "recsys_lib", tmp_path / "recsys_lib")
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    write(tmp_path, CHAPTER)
    (tmp_path / "book/intro.md").write_text("# A book\n\nIt says {record}`ch1.mean`.\n")
    (tmp_path / "book/references.bib").write_text("")
    (tmp_path / "book/claims.yml").write_text(CLAIM)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/ratings.csv").write_text("1,2\n")
    toc = {
        "format": "jb-book",
        "root": "intro",
        "parts": [
            {"caption": "One | 一", "chapters": [{"file": "chapters/01_small"}]},
            {
                "caption": "More | 二",
                "chapters": [{"file": "ledger"}, {"file": "provenance"}],
            },
        ],
    }
    (tmp_path / "_toc.yml").write_text(json.dumps(toc))
    return tmp_path


def write(project: Path, text: str) -> None:
    (project / "chapters/01_small.md").write_text(text)


def edit(project: Path, old: str, new: str) -> None:
    assert old in CHAPTER
    write(project, CHAPTER.replace(old, new))


def print_book(project: Path) -> str:
    """Build the small book in a process of its own, as make does; return its page."""
    done = subprocess.run(
        [sys.executable, "-m", "book.pipeline", "build", "--profile", "smoke"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BookError(done.stderr)
    return done.stdout


def page(project: Path) -> str:
    return (project / "_build/html/chapters/01_small.html").read_text()


@pytest.mark.book
def test_small(project: Path) -> None:
    print(print_book(project))
    print(page(project))
    assert 0
