"""The chapters as notebooks that any viewer opens: executed, in plain Markdown.

Each begins with a cell that makes it run where the book is not installed.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from pybtex.database import Entry, Person, parse_file

from book.pipeline.chapters import BookError, Notebook
from book.pipeline.printing import start_cell
from book.pipeline.printing.plain_markdown import Names, plain
from book.pipeline.printing.settings import project_version, release_address
from book.pipeline.results import Results
from book.pipeline.running.fetch import INSIDE, WHEEL
from recsys_lib.data.carried import SHA256

_FIGURE = re.compile(
    r'<figure[^>]*\bid="(fig-[\w-]+)".*?class="caption-number">([^<]+)<', re.S
)
_LABELLED = re.compile(r"^\(([^\s()]+)\)=\n(?:\([^\n]*\)=\n)*(#+ .*)?", re.M)
_PARAMETERS = ("profile", "device", "seed", "dataset", "models")
_SCAFFOLD = re.compile(r'<div class="record-cell">')


def write_notebooks(staged: Path, html: Path, folder: Path, root: Path) -> list[Path]:
    """Write each staged chapter as a notebook in plain Markdown; return the files.

    Args:
        staged: What `stage.stage` wrote.
        html: Its pages, which number the figures.
        folder: For the notebooks; emptied first.
        root: Of the project.

    Raises:
        BookError: Naming the chapter and the cell that cannot be written so.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pages = sorted((staged / "chapters").glob("*.ipynb"))
    chapters = {page.stem: nbformat.read(page, 4) for page in pages}
    names = _names(staged, html, chapters)
    first = start_source(root, release_address(staged / "_config.yml", root))
    written = []
    for stem, notebook in chapters.items():
        cells = list(_cells(stem, notebook, names))
        cells.insert(1, _start(first))
        notebook.cells = cells
        notebook.metadata["title"] = _title(notebook)
        nbformat.write(notebook, folder / f"{stem}.ipynb")
        written.append(folder / f"{stem}.ipynb")
    return written


def start_source(root: Path, release: str) -> str:
    """The source of the first cell, with what this edition fills in."""
    source = Path(start_cell.__file__).read_text()
    _, doc, code = source.split('"""', 2)
    settings = f"""\
VERSION, RELEASE = {project_version(root)!r}, {release!r}
DATA_WHEEL, DATA_FOLDER = {WHEEL!r}, {INSIDE!r}
DATA = {{
{"".join(f"    {name!r}: {sha!r},{chr(10)}" for name, sha in SHA256.items())}}}"""
    said = "".join(f"# {line}".rstrip() + "\n" for line in doc.strip().split("\n"))
    code = re.sub(r"# Filled in.*?\n.*?\n", lambda _: settings + "\n", code, count=1)
    return f"{said}{code.rstrip()}\n\n\nstart()"


def _start(source: str) -> Notebook:
    cell = nbformat.v4.new_code_cell(source, id="start")
    cell.metadata = nbformat.from_dict(
        {"tags": ["start"], "jupyter": {"source_hidden": True}}
    )
    return cell


def _title(notebook: Notebook) -> str:
    return str(notebook.cells[0].source.partition("\n")[0].lstrip("# "))


def _cells(stem: str, notebook: Notebook, names: Names) -> Iterator[Notebook]:
    for n, cell in enumerate(notebook.cells, start=1):
        if _SCAFFOLD.match(cell.source):
            continue
        try:
            if cell.cell_type == "markdown":
                cell.source = plain(cell.source, names)
                yield cell
                continue
            yield _folded(cell, names)
            yield from _caption(cell, names)
        except BookError as error:
            raise BookError(f"{stem}, cell {n}, as a notebook: {error}") from error


def _folded(cell: Notebook, names: Names) -> Notebook:
    """The cell as JupyterLab folds it; the parameters are those of this run."""
    tags = cell.metadata.get("tags", [])
    cell.metadata["tags"] = [tag for tag in tags if not tag.startswith("remove-")]
    folds = {"hide-input": "source_hidden", "hide-output": "outputs_hidden"}
    if hidden := {key: True for tag, key in folds.items() if tag in tags}:
        cell.metadata["jupyter"] = hidden
    if "parameters" in tags:
        cell.source = _as_run(cell.source, names.results.facts)
    return cell


def _as_run(source: str, facts: Mapping[str, object]) -> str:
    """The cell of parameters, with the values of this run."""
    values: dict[str, object] = {"results": "results"}
    values |= {x: facts[x] for x in _PARAMETERS if x in facts}
    for name, value in values.items():
        line = f"{name} = {json.dumps(value)}".replace("\\", r"\\")
        source = re.sub(rf"(?m)^{name} = .*$", line, source)
    return source


def _caption(cell: Notebook, names: Names) -> Iterator[Notebook]:
    """The caption of a cell's figure, as a cell of text below it."""
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if figure and cell.outputs:
        number = names.figures.get(figure.get("name", ""), "Figure")
        text = f"**{number}.** {plain(figure['caption'], names)}"
        yield nbformat.v4.new_markdown_cell(text, id=f"{cell.id}-caption"[:64])


def _names(staged: Path, html: Path, chapters: Mapping[str, Notebook]) -> Names:
    figures: dict[str, str] = {}
    places: dict[str, str] = {}
    headings: dict[str, str] = {}
    for stem, notebook in chapters.items():
        page = (html / f"chapters/{stem}.html").read_text()
        figures |= {name: number.strip() for name, number in _FIGURE.findall(page)}
        for cell in notebook.cells:
            for label, heading in _LABELLED.findall(cell.source):
                title = heading.lstrip("# ")
                anchor = f"#{title.replace(' ', '-')}" if title else ""
                places[label] = f"{stem}.ipynb{anchor}"
                headings[label] = title or label
    return Names(
        Results.load(staged / "results"),
        figures,
        sources_of(staged / "references.bib"),
        places,
        headings,
    )


def sources_of(bib: Path) -> dict[str, str]:
    """Key of each source -> authors and year, linked if it has an address."""
    entries = parse_file(str(bib)).entries if bib.read_text().strip() else {}
    return {key: _source(entry) for key, entry in entries.items()}


def _source(entry: Entry) -> str:
    people: list[Person] = entry.persons.get("author") or entry.persons.get(
        "editor", []
    )
    lasts = [" ".join(p.prelast_names + p.last_names).strip("{}") for p in people]
    who = {0: entry.fields.get("title", "").strip("{}"), 1: " ".join(lasts[:1])}.get(
        len(lasts),
        " & ".join(lasts) if len(lasts) == 2 else f"{[*lasts, ''][0]} et al.",
    )
    words = ", ".join(x for x in (who, entry.fields.get("year", "")) if x)
    doi, url = entry.fields.get("doi"), entry.fields.get("url")
    address = url or (f"https://doi.org/{doi}" if doi else "")
    return f"[{words}]({address})" if address else f"({words})"
