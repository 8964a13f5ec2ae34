"""Labels of figures, tables and printed lines, taken from the last build."""

import re
from collections.abc import Iterable, Iterator

from book.pipeline.chapters import Chapter, Notebook
from book.pipeline.language.labels import label_of, labels_in, phrases_in, width_em
from book.pipeline.running.execute import Run
from recsys_lib.records import NARROW_MIME

_WIDER_EM = 0.6  # that a Chinese label may be wider than its English one
_SVG = ("image/svg+xml", NARROW_MIME)


def drawn_labels(runs: Iterable[tuple[Chapter, Run]]) -> dict[str, list[str]]:
    """Every label of what these runs drew and printed -> their chapters."""
    found: dict[str, list[str]] = {}
    for chapter, run in runs:
        for text in _labels(run.notebook):
            places = found.setdefault(label_of(text), [])
            if chapter.stem not in places:
                places.append(chapter.stem)
    return {text: found[text] for text in sorted(found)}


def _labels(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stdout":
                for line in output["text"].splitlines():
                    yield from phrases_in(line)
            data = output.get("data", {})
            for kind in (*_SVG, "text/html"):
                yield from labels_in(data.get(kind, ""))


def label_faults(english: str, chinese: str) -> Iterator[str]:
    """What is wrong with a translated label: its numbers, or its width."""
    if re.findall(r"\{n\}", english) != re.findall(r"\{n\}", chinese):
        yield "the blanks {n} for numbers differ"
    more = width_em(chinese) - width_em(english)
    if more > _WIDER_EM:
        yield f"wider than the English by {more:.1f} em: it has no room in the figure"
