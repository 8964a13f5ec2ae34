"""A chapter as the press sees it: a MyST notebook with parameters and code cells."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jupytext
from nbformat.v4 import new_markdown_cell

from book.pipeline.language.catalogues import (
    ENGLISH,
    PRESS,
    plain_translation,
    said,
    speaking,
    translated,
)
from book.pipeline.language.units import joined

NEEDS = {  # by the tag `needs-...` of a cell: what a reader's data or model may lack
    "bert": "the model is not a BERT, of which heads, units and layers are removed",
    "movielens": "results of MovieLens alone, published or measured, are not repeated",
    "metadata": "items do not differ in tags and years, which it reads back from texts",
    "ratings": "no rating is below the liked ones, so no dislikes are known",
    "times": "too few users come back later, so the age of a profile has no effect",
    "reviews": "the data have no texts that their users wrote, such as reviews",
    "queries": "no queries in two languages describe the items",
    "labels": "items have no reviews with labels, which it predicts or shows",
    "new-users": "too few users are new at the end of the log",
    "new-items": "too few users interacted with items new at the end of the log",
}
OF_THE_BOOK = frozenset({"reviews"})  # what the book's own data and model lack
FOLDED = frozenset({"code_prompt_show", "code_prompt_hide"})  # in a cell's `mystnb`
_NAME = re.compile(r"\d\d_.+\.md")
Notebook = Any  # nbformat's NotebookNode, a dict with attribute access


class BookError(Exception):
    """A fault that stops the book; the message names its place."""


@dataclass(frozen=True)
class Chapter:
    """One MyST notebook, `chapters/NN_name.md`; its records are cited as `chN.name`.

    Attributes:
        path: Of the notebook.
        lacks: What the data or the model lack; cells tagged `needs-...` for it are left
            out, with a note.
        language: Of its prose; what is not translated stays English, with a mark.
    """

    path: Path
    lacks: frozenset[str] = OF_THE_BOOK
    language: str = ENGLISH

    @property
    def stem(self) -> str:
        """File name without its suffix, such as `04_models`."""
        return self.path.stem

    @property
    def number(self) -> str:
        """The two digits that `CHAPTERS="01 04"` selects by."""
        return self.stem[:2]

    @property
    def key(self) -> str:
        """Prefix of this chapter's records in prose and rules, such as `ch4`."""
        return f"ch{int(self.number)}"

    @cached_property
    def notebook(self) -> Notebook:
        """The chapter as jupytext reads it, with cell ids that never change."""
        notebook = jupytext.read(self.path)
        notebook.cells = list(_possible(notebook.cells, self.lacks))
        for position, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{position:03d}"
            self._translate(cell)
        return notebook

    def _translate(self, cell: Notebook) -> None:
        """Put the prose of a cell into the language of the chapter."""
        with speaking(self.language):
            if cell.cell_type == "markdown":
                cell.source = translated(cell.source, self.stem)
            shown = cell.metadata.get("mystnb", {})
            if caption := shown.get("figure", {}).get("caption"):
                shown["figure"]["caption"] = plain_translation(caption, self.stem)
            if alt := shown.get("image", {}).get("alt"):
                shown["image"]["alt"] = said(joined(alt), self.stem)
            shown |= {x: said(shown[x], PRESS) for x in FOLDED & {*shown}}

    @property
    def code(self) -> list[str]:
        """Sources of the code cells, in order."""
        return [cell.source for cell in code_cells(self.notebook)]

    @property
    def prose(self) -> list[tuple[str, str]]:
        """All text that a reader sees, as (place, text): cells, captions, alt texts."""
        found = []
        for n, cell in enumerate(self.notebook.cells, start=1):
            if cell.cell_type == "markdown":
                found.append((f"cell {n}", cell.source))
            figure = cell.metadata.get("mystnb", {})
            for part, key in (("figure", "caption"), ("image", "alt")):
                text = figure.get(part, {}).get(key, "")
                found.append((f"cell {n}, {key}", text))
        return [(place, text) for place, text in found if text]

    @property
    def titles_of_folded(self) -> list[str]:
        """What the folded outputs are called, such as `Show the numbers`."""
        shown = [cell.metadata.get("mystnb", {}) for cell in self.notebook.cells]
        return sorted({cell[x] for cell in shown for x in FOLDED & {*cell}})

    @cached_property
    def parameters(self) -> dict[str, object]:
        """Names and defaults, as assigned in the cell tagged `parameters`."""
        return dict(_constants(self._parameters_cell.source))

    @property
    def needs(self) -> frozenset[str]:
        """What the whole chapter needs: the tags `needs-...` of its parameters."""
        tags = self._parameters_cell.metadata["tags"]
        return frozenset(need for need in NEEDS if f"needs-{need}" in tags)

    @property
    def _parameters_cell(self) -> Notebook:
        for cell in self.notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                return cell
        raise BookError(f"{self.stem}: no code cell is tagged `parameters`")

    @property
    def reads_records(self) -> bool:
        """Whether it reads the records of all others, and so runs after them."""
        return "results" in self.parameters


def code_cells(notebook: Notebook) -> list[Notebook]:
    """The code cells of a notebook; those of a run pair with those of its chapter."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _constants(source: str) -> Iterator[tuple[str, object]]:
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, ast.literal_eval(value)


def _possible(cells: Iterable[Notebook], lacks: frozenset[str]) -> Iterator[Notebook]:
    """The cells that can run; one note in place of each sequence with code."""
    noted = ""
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        missing = next((need for need in sorted(lacks) if f"needs-{need}" in tags), "")
        if not missing or "parameters" in tags:  # these decide on the whole chapter
            yield cell
            noted = ""
        elif missing != noted and cell.cell_type == "code":
            text = f":::{{note}}\nA part is left out here: {NEEDS[missing]}.\n:::"
            yield new_markdown_cell(text)
            noted = missing


def find_chapters(folder: Path) -> list[Chapter]:
    """Return the chapters of `folder` in reading order.

    Hidden files and folders, such as JupyterLab's .ipynb_checkpoints, are ignored.

    Raises:
        BookError: If there is none, two have the same number, or another file lies
            among them, such as a copy or a backup.
    """
    files = [x for x in folder.glob("[!.]*") if x.is_file()]
    paths = sorted(x for x in files if _NAME.fullmatch(x.name))
    if not paths:
        raise BookError(f"no chapter NN_name.md in {folder}")
    by_number: dict[str, list[str]] = {}
    for path in paths:
        by_number.setdefault(path.name[:2], []).append(path.name)
    strangers = [x.name for x in files if x not in paths]
    faults = [
        f"two chapters have the number {number}: {', '.join(names)}; rename one"
        for number, names in by_number.items()
        if len(names) > 1
    ]
    faults += [
        f"{name} is no chapter, which are named NN_name.md: rename it or move it away"
        for name in sorted(strangers)
    ]
    if faults:
        raise BookError("\n".join(f"{folder}: {fault}" for fault in faults))
    return [_chapter(path, path.stat().st_mtime_ns) for path in paths]


@cache
def _chapter(path: Path, _changed_ns: int) -> Chapter:
    """Parse a chapter once for each change; it takes a tenth of a second."""
    return Chapter(path)
