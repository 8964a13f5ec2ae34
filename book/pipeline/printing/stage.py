"""Lay out everything that jupyter-book reads: pages, executed notebooks, static files.

Prose and captions come from the current sources, outputs from the stored runs.
"""

import json
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
import yaml

from book.pipeline.chapters import BookError, Chapter, Notebook, code_cells
from book.pipeline.language.catalogues import ENGLISH, language
from book.pipeline.printing.code_links import TARGETS
from book.pipeline.printing.editions import LIBRARY, library_links, translate_pages
from book.pipeline.printing.figures import FOLDER, digest, drawings
from book.pipeline.printing.library import addresses, library_pages
from book.pipeline.printing.pages import fallen_note, foot
from book.pipeline.printing.prose import (
    bare_numerals,
    citations,
    pictures_without_text,
    without_dead_links,
)
from book.pipeline.printing.settings import project_version, repository, settings
from book.pipeline.records.claims import Judgement
from book.pipeline.results import Results
from book.pipeline.running.execute import Run
from recsys_lib.records import NARROW_MIME, RECORD_MIME


def check_prose(place: str, text: str) -> list[str]:
    """Faults of one text that can be seen without running anything."""
    faults = [
        f"{place}, line {line}: bare numeral {number!r}; cite a record or mark it given"
        for line, number in bare_numerals(text)
    ]
    faults += [
        f"{place}, line {line}: a picture without alt text"
        for line in pictures_without_text(text)
    ]
    return faults


def check_citations(place: str, text: str, results: Results) -> list[str]:
    """Faults of the numbers that a text takes from the records."""
    faults = []
    for line, role, citation in citations(text):
        try:
            results.text(citation) if role == "record" else results.interval(citation)
        except BookError as error:
            faults.append(f"{place}, line {line}: {error}")
    return faults


def graft(chapter: Chapter, run: Run, fallen: Sequence[Judgement] = ()) -> Notebook:
    """Put a run's outputs into the chapter as it is written now.

    Records are left out: the page shows them where prose cites them. A note on each
    verdict that falls stands below its figure, or at the end of its chapter.

    Raises:
        BookError: For a picture whose cell gives no alt text or no caption.
    """
    page = nbformat.from_dict(chapter.notebook)
    page.metadata = run.notebook.metadata
    done = code_cells(run.notebook)
    pairs = zip(code_cells(page), done, strict=True)
    for n, (cell, executed) in enumerate(pairs, start=1):
        cell.outputs = [
            _without_narrow(o)
            for o in executed.outputs
            if RECORD_MIME not in o.get("data", {})
        ]
        if any(_is_picture(o) for o in cell.outputs):
            _check_picture(f"{chapter.stem}: cell {n}", cell)
        if "parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]
    page.cells = list(_with_notes(_anchored(page.cells, done), chapter, fallen))
    page.cells.append(nbformat.v4.new_markdown_cell(foot(chapter, run), id="foot"))
    return page


def _anchored(
    cells: Iterable[Notebook], executed: Iterable[Notebook]
) -> Iterator[Notebook]:
    """The cells, and before each that records numbers a place to link to."""
    made = iter(executed)
    for n, cell in enumerate(cells):
        outputs = next(made).outputs if cell.cell_type == "code" else []
        records = [
            o.data[RECORD_MIME] for o in outputs if RECORD_MIME in o.get("data", {})
        ]
        if records:
            spans = "".join(f'<span id="record-{r["name"]}"></span>' for r in records)
            # Not shown, but found by the search of the pages.
            spans += f'<span hidden="">{" ".join(r["name"] for r in records)}</span>'
            yield nbformat.v4.new_markdown_cell(
                f'<div class="record-cell">{spans}</div>', id=f"records-{n}"
            )
        yield cell


def _with_notes(
    cells: Iterable[Notebook], chapter: Chapter, fallen: Sequence[Judgement]
) -> Iterator[Notebook]:
    """The cells, and after each figure a note on each of its verdicts that falls."""
    drawn = set()
    for cell in cells:
        yield cell
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        drawn.add(name)
        yield from (_note(j) for j in fallen if j.claim.figure == name)
    for judgement in fallen:
        if judgement.claim.key == chapter.key and judgement.claim.figure not in drawn:
            yield _note(judgement)


def _note(judgement: Judgement) -> Notebook:
    cell_id = f"fallen-{judgement.claim.id}"[:64]
    return nbformat.v4.new_markdown_cell(fallen_note(judgement), id=cell_id)


def stage(
    folder: Path,
    root: Path,
    runs: Mapping[Chapter, Run],
    results: Results,
    generated: Mapping[str, str],
    *,
    note: str = "",
    fallen: Sequence[Judgement] = (),
    languages: Collection[str] = (),
) -> None:
    """Write the folder that jupyter-book builds.

    Args:
        folder: Emptied first.
        root: Of the project: `book/`, `_config.yml`, `_toc.yml`.
        runs: The chapters to print, with their outputs.
        results: What the citations are checked against.
        generated: Pages written by the press, by name, and files, by name with suffix.
        note: Put under the title of each page that cites results.
        fallen: The verdicts that fall on this run.
        languages: Of the editions beside the English, to which the pages lead.

    Raises:
        BookError: Listing every fault found in citations, or naming a picture.
    """
    shutil.rmtree(folder, ignore_errors=True)
    leave = shutil.ignore_patterns("pipeline", "results", "locale", "lab", "*.yml")
    shutil.copytree(root / "book", folder, ignore=leave)
    (folder / "_config.yml").write_text(_config(root, languages))
    (folder / "_toc.yml").write_text(_contents(root / "_toc.yml", runs))
    library = library_pages(root / "recsys_lib")
    if language() == ENGLISH:
        leave = shutil.ignore_patterns("*.json")
        shutil.copytree(library, folder / "library", ignore=leave)
    else:
        places = {name: f"../{x}" for name, x in addresses(library).items()}
        (folder / TARGETS).write_text(json.dumps(places))
        translate_pages(folder)
        names = sorted(path.stem for path in library.glob("*.md"))
        (folder / f"{LIBRARY}.md").write_text(library_links(names))
    for name, text in generated.items():
        (folder / (name if "." in name else f"{name}.md")).write_text(text)
    _write_drawings(folder, runs.values(), generated)
    faults, absent = [], results.facts.get("absent", ())
    for path in sorted(folder.rglob("*.md")):
        place, text = str(path.relative_to(folder)), path.read_text()
        faults += check_citations(place, text, results)
        cites = any(citations(text)) or "{numref}" in text
        if cites and path.stem not in generated:
            text = _noted(text, note)
        path.write_text(without_dead_links(text, absent))
    (folder / "chapters").mkdir()
    for chapter, run in runs.items():
        for place, text in chapter.prose:
            faults += check_citations(f"{chapter.stem}, {place}", text, results)
        page = graft(chapter, run, fallen)
        page.cells[0].source = _noted(page.cells[0].source, note)
        _unlink(page.cells, absent)
        nbformat.write(page, folder / f"chapters/{chapter.stem}.ipynb")
    if faults:
        raise BookError("\n".join(faults))
    results.save(folder / "results")


def _unlink(cells: Iterable[Notebook], absent: Sequence[str]) -> None:
    """Turn links to chapters that are left out into plain text."""
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = without_dead_links(cell.source, absent)
        elif figure := cell.metadata.get("mystnb", {}).get("figure"):
            figure["caption"] = without_dead_links(figure["caption"], absent)


def _write_drawings(
    folder: Path, runs: Iterable[Run], generated: Mapping[str, str]
) -> None:
    """Write the drawings of all figures, and of those that generated files repeat."""
    repeated = {digest(x): Path(n).stem for n, x in generated.items() if ".svg" in n}
    (folder / FOLDER).mkdir(parents=True)
    for run in runs:
        for name, svg in drawings(run.notebook):
            (folder / FOLDER / name).write_text(svg)
            key, dash, rest = name.partition("-")
            if key in repeated:
                (folder / FOLDER / f"{repeated[key]}{dash}{rest}").write_text(svg)


def _noted(text: str, note: str) -> str:
    """Put a note between a page's title and what follows it."""
    title, end, rest = text.partition("\n")
    return f"{title}\n\n{note}{end}{rest}" if note else text


def _config(root: Path, languages: Collection[str]) -> str:
    """`_config.yml` with version, address of the repository and editions filled in."""
    config = settings(root / "_config.yml")
    config["repository"] = {
        **config.get("repository", {}),
        "url": repository(root / "_config.yml"),
    }
    version = project_version(root)
    sphinx = config["sphinx"]["config"]
    context = {**sphinx.get("html_context", {}), "editions": sorted(languages)}
    sphinx |= {"version": version, "release": version, "html_context": context}
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


def _with_library_once(entries: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The entries with one page in place of all pages of the library."""
    files = (entry["file"] for entry in entries)
    pages = (LIBRARY if x.startswith(f"{LIBRARY}/") else x for x in files)
    return [{"file": page} for page in dict.fromkeys(pages)]


def _contents(path: Path, runs: Mapping[Chapter, Run]) -> str:
    """The table of contents in one language, without the chapters that are left out."""
    contents = yaml.safe_load(path.read_text())
    column = 0 if language() == ENGLISH else -1
    printed = {f"chapters/{chapter.stem}" for chapter in runs}
    for part in contents["parts"]:
        part["caption"] = part["caption"].split(" | ")[column]
        part["chapters"] = [
            entry
            for entry in part["chapters"]
            if not entry["file"].startswith("chapters/") or entry["file"] in printed
        ]
        if language() != ENGLISH:
            part["chapters"] = _with_library_once(part["chapters"])
    contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
    return yaml.safe_dump(contents, allow_unicode=True, sort_keys=False)


def _without_narrow(output: Notebook) -> Notebook:
    """The output without a drawing for phones, which is a file beside the page."""
    if NARROW_MIME not in output.get("data", {}):
        return output
    data = {kind: x for kind, x in output.data.items() if kind != NARROW_MIME}
    return nbformat.from_dict({**output, "data": data})


def _is_picture(output: Notebook) -> bool:
    return any(re.match("image/", mime) for mime in output.get("data", {}))


def _check_picture(place: str, cell: Notebook) -> None:
    settings = cell.metadata.get("mystnb", {})
    if not settings.get("image", {}).get("alt"):
        raise BookError(f"{place} draws a figure without alt text (mystnb: image: alt)")
    if not settings.get("figure", {}).get("caption"):
        raise BookError(f"{place} draws a figure without a caption (mystnb: figure)")
