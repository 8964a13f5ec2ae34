"""The Chinese edition: the same runs, staged in another language.

Its pages are those of the English edition in `html/zh/`. The library's pages, whose
texts are the docstrings of the code, are printed once and linked from both.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import yaml

from book.pipeline.chapters import BookError, Chapter
from book.pipeline.language.catalogues import (
    CHINESE,
    ENGLISH,
    PRESS,
    catalogue,
    language,
    plain_translation,
    said,
    say,
    translated,
)
from book.pipeline.language.labels import (
    LABELS,
    translated_drawing,
    translated_lines,
    translated_table,
)
from book.pipeline.language.terms import terms, with_chinese_first
from book.pipeline.language.units import joined
from book.pipeline.printing.first_page import Case
from book.pipeline.records.claims import Claim
from book.pipeline.running.execute import Run
from recsys_lib.records import NARROW_MIME

FOLDERS = {CHINESE: "zh"}  # of each edition but the English, below its pages
EVERY = {ENGLISH: "", **FOLDERS}
TAGS = {"en": "en", CHINESE: "zh-CN"}  # as HTML names the languages
LIBRARY = "library"  # folder of its pages; in the other editions, one page
_DRAWINGS = ("image/svg+xml", NARROW_MIME)
_DICTIONARY = "terms.txt"  # words that the search must not cut
_WORDS = "_static/words.js"


def staged(build_folder: Path, language: str) -> Path:
    """Where a build stages an edition.

    >>> staged(Path("_build"), ENGLISH).name, staged(Path("_build"), CHINESE).name
    ('stage', 'stage-zh')
    """
    return build_folder / "-".join(filter(None, ("stage", EVERY[language])))


def translated_runs(runs: Mapping[Chapter, Run]) -> dict[Chapter, Run]:
    """The chapters and the labels of their figures and tables, in the language in use.

    Nothing is executed: the outputs are those of the runs.
    """
    return {
        replace(chapter, language=language()): replace(run, notebook=_outputs(run))
        for chapter, run in runs.items()
    }


def _outputs(run: Run) -> Any:
    notebook = nbformat.from_dict(run.notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stdout":
                output["text"] = translated_lines(output["text"])
            data = output.get("data", {})
            for kind in data:
                if kind in _DRAWINGS:
                    data[kind] = translated_drawing(data[kind])
                elif kind == "text/html":
                    data[kind] = translated_table(data[kind])
    return notebook


def translated_claims(claims: Sequence[Claim]) -> list[Claim]:
    """The claims in the language in use; each has its own Chinese sentence."""

    def text(english: str) -> str:
        return plain_translation(english, "claims")

    return [
        replace(
            claim,
            claim=claim.zh or claim.claim,
            short=said(joined(claim.short), "claims"),
            correct=text(claim.correct),
            condition=said(joined(claim.condition), "claims"),
        )
        for claim in claims
    ]


def translated_cases(
    cases: Sequence[Case], compared: Mapping[str, str]
) -> tuple[list[Case], dict[str, str]]:
    """The rows of the first page's tables in the language in use."""

    def text(english: str) -> str:
        return said(joined(english), "decisions")

    made = [
        replace(
            case,
            case=text(case.case),
            measured_on=text(case.measured_on),
            options=[
                replace(
                    x,
                    build=text(x.build),
                    gain=text(x.gain),
                    time=text(x.time),
                    rest=text(x.rest),
                )
                for x in case.options
            ],
        )
        for case in cases
    ]
    return made, {text(what): cited for what, cited in compared.items()}


def translate_pages(folder: Path) -> None:
    """Put the staged pages and the settings of the site into the language in use."""
    for path in folder.glob("*.md"):
        text = path.read_text()
        if path.stem == "glossary":
            base = terms(text)
            text = with_chinese_first(text)
            (folder / _DICTIONARY).write_text("".join(f"{x}\n" for x in base.values()))
        path.write_text(translated(text, path.stem))
    known = {**catalogue(language(), LABELS), **catalogue(language(), PRESS)}
    words = {english: found.text for english, found in known.items() if found.usable}
    script = json.dumps(words, ensure_ascii=False)
    (folder / _WORDS).write_text(f"window.bookWords = {script};\n")
    path = folder / "_config.yml"
    config = yaml.safe_load(path.read_text())
    _translate_config(config, folder)
    path.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def _translate_config(config: dict[str, Any], folder: Path) -> None:
    config["title"] = said(config["title"], PRESS)
    config["author"] = said(config["author"], PRESS)
    sphinx = config["sphinx"]["config"]
    for key in ("nb_code_prompt_show", "nb_code_prompt_hide"):
        sphinx[key] = said(sphinx[key], PRESS)
    theme = sphinx["html_theme_options"]
    theme["extra_footer"] = said(theme["extra_footer"], PRESS)
    if find_spec("jieba") is None:
        raise BookError(
            "jieba is missing, which cuts Chinese into words for the search: "
            "make setup installs it"
        )
    sphinx["language"] = language()
    sphinx["epub_language"] = TAGS[language()]
    sphinx["html_search_language"] = "zh"
    sphinx["html_search_options"] = {"dict": str(folder / _DICTIONARY)}


def library_links(names: Iterable[str]) -> str:
    """The page that leads to the library's pages of the English edition.

    Args:
        names: Of those pages.
    """
    lines = "\n".join(
        f'- <a href="../library/{name}.html">recsys_lib: {name}</a>' for name in names
    )
    about = say("The library's pages are the texts of its code, which are English.")
    return f"# {say('The library')}\n\n{about}\n\n{lines}\n"
