"""All that a translation has to cover: catalogue -> English text -> its places."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from book.pipeline.chapters import NEEDS, Chapter, find_chapters
from book.pipeline.language.catalogues import PRESS
from book.pipeline.language.terms import without_chinese
from book.pipeline.language.units import has_prose, joined, units
from book.pipeline.printing.first_page import load_cases
from book.pipeline.printing.provenance import MACHINE
from book.pipeline.records.claims import VERDICTS, State, load_claims
from book.pipeline.records.explain import CALLS, ENDS, WORDS

PAGES = ("intro", "appendix_a", "glossary", "references")
CLAIM_FIELDS = ("short", "correct", "condition")
OPTION_FIELDS = ("build", "gain", "time", "rest")
# Facts about a run that prose cites.
FACTS = ("smoke", "standard", "full", "film", "films", "item", "items")
_IN_SCRIPT = re.compile(r"""\bsay\(\s*"((?:[^"\\]|\\.)*)\"""")

Messages = dict[str, dict[str, list[str]]]


def messages(root: Path) -> Messages:
    """Find every text to translate but the labels of figures, which a build draws.

    Args:
        root: Of the project.
    """
    found: Messages = {}
    for domain, text, place in _all(root):
        found.setdefault(domain, {}).setdefault(text, []).append(place)
    return found


def _all(root: Path) -> Iterator[tuple[str, str, str]]:
    for chapter in find_chapters(root / "chapters"):
        whole = Chapter(chapter.path, frozenset())
        for text, place in _of_chapter(whole):
            yield chapter.stem, text, place
        for text in whole.titles_of_folded:
            yield PRESS, text, chapter.stem
    for page in PAGES:
        text = (root / f"book/{page}.md").read_text()
        for unit in units(without_chinese(text)):
            yield page, unit.text, f"book/{page}.md"
    for claim in load_claims(root / "book/claims.yml"):
        for field in CLAIM_FIELDS:
            if text := joined(getattr(claim, field)):
                yield "claims", text, f"claims.yml: {claim.id}, {field}"
    yield from _of_decisions(root / "book/decisions.yml")
    for text, place in _of_press(root):
        yield PRESS, text, place


def _of_chapter(chapter: Chapter) -> Iterator[tuple[str, str]]:
    """Texts of every cell, those that data or models may lack included."""
    for place, text in chapter.prose:
        if ", " in place:  # a caption or an alt text is one unit
            yield joined(text), place
        else:
            yield from ((unit.text, place) for unit in units(text))


def _of_decisions(path: Path) -> Iterator[tuple[str, str, str]]:
    cases, compared = load_cases(path)
    texts = [
        text
        for case in cases
        for text in (
            case.case,
            case.measured_on,
            *tuple(getattr(o, f) for o in case.options for f in OPTION_FIELDS),
        )
    ]
    for text in [*texts, *compared]:
        if has_prose(text):
            yield "decisions", joined(text), path.name


def _of_press(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((root / "book/pipeline").rglob("*.py")):
        place = str(path.relative_to(root))
        yield from ((text, place) for text in said_in(path.read_text()))
    for path in sorted((root / "book/_static").glob("*.js")):
        for text in _IN_SCRIPT.findall(path.read_text()):
            yield text, f"book/_static/{path.name}"
    yield from (
        (f"A part is left out here: {why}.", "chapters.py") for why in NEEDS.values()
    )
    words = (*WORDS.values(), *CALLS.values(), *ENDS.values())
    yield from ((word, "explain.py") for word in words)
    yield from ((what, "provenance.py") for what in MACHINE.values())
    yield from ((verdict, "claims.yml") for verdict in VERDICTS)
    yield from ((str(state), "claims.py") for state in State)
    yield from ((fact, "facts of a run") for fact in FACTS)
    config = yaml.safe_load((root / "_config.yml").read_text())
    yield from ((text, "_config.yml") for text in config_texts(config).values())


def said_in(source: str) -> Iterator[str]:
    """The literals that a module gives to `say`.

    >>> list(said_in('say("one " "text", n=1)'))
    ['one text']
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="say"), args=[ast.Constant(value=str(text))]
            ):
                yield text


def config_texts(config: Mapping[str, object]) -> dict[str, str]:
    """What `_config.yml` shows to readers."""
    sphinx: dict[str, dict[str, str]] = config["sphinx"]["config"]  # type: ignore[index]
    shown = {key: sphinx[key] for key in ("nb_code_prompt_show", "nb_code_prompt_hide")}
    return {
        "title": str(config["title"]),
        "author": str(config["author"]),
        **{key: str(text) for key, text in shown.items()},
        "extra_footer": sphinx["html_theme_options"]["extra_footer"],
    }
