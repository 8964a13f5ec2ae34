"""Chapters of a few cells, as the tests of a reader's editions need them."""

from pathlib import Path

from book.pipeline.chapters import Chapter

_FRONT = """\
---
kernelspec: {name: python3, display_name: Python 3}
---

# 1. A chapter

```{code-cell} ipython3
:tags: [parameters]

"""


def small_text(parameter: str, rest: str) -> str:
    """A chapter that declares one parameter, and has these cells after it."""
    return f"{_FRONT}{parameter}\n```\n\n{rest}"


def small_chapter(folder: Path, text: str, number: int = 1) -> Chapter:
    """Write a chapter of this text."""
    path = folder / f"0{number}_small.md"
    path.write_text(text)
    return Chapter(path)
