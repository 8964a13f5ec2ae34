"""Catalogues of translations, `book/locale/<language>/*.po`, and the language in use.

There is a catalogue for each page, and these: `claims`, `decisions`, `press` (what the
press and the pages' scripts write) and `labels` (of figures and tables).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.pofile import read_po

from book.pipeline.language.units import Unit, replaced

LOCALE = Path(__file__).parents[2] / "locale"
ENGLISH = "en"
CHINESE = "zh_CN"
PRESS = "press"
_LANGUAGE: ContextVar[str] = ContextVar("language", default=ENGLISH)
_BLANK = re.compile(r"\{(\w+)\}(?!`)|(?<=`)\{(\w+)\}(?=`)")  # the first: no role


@dataclass(frozen=True)
class Translation:
    """What a catalogue holds for one text.

    Attributes:
        text: In the other language; empty if nobody has translated it.
        stale: Whether the English has changed since.
        excused: Terms that it need not translate, from a comment `terms: ...`.
    """

    text: str
    stale: bool = False
    excused: frozenset[str] = frozenset()

    @property
    def usable(self) -> bool:
        """Whether a page may show it."""
        return bool(self.text) and not self.stale


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Write in this language within the block."""
    token = _LANGUAGE.set(language)
    try:
        yield
    finally:
        _LANGUAGE.reset(token)


def use_language(language: str) -> None:
    """Write in this language from now on: in a process that prints one edition."""
    _LANGUAGE.set(language)


def language() -> str:
    """The language that is written now."""
    return _LANGUAGE.get()


def catalogue(language: str, domain: str) -> Mapping[str, Translation]:
    """The translations of a catalogue by their English; none if there is no file."""
    path = LOCALE / language / f"{domain}.po"
    return _read(path, path.stat().st_mtime_ns) if path.exists() else {}


def find(text: str, domain: str) -> Translation | None:
    """The usable translation of a text into the language in use, or None."""
    for place in dict.fromkeys((domain, PRESS)):
        found = catalogue(language(), place).get(text)
        if found is not None and found.usable:
            return found
    return None


def said(text: str, domain: str) -> str:
    """A text in the language in use; in English if there is no translation of it."""
    found = None if language() == ENGLISH else find(text, domain)
    return found.text if found else text


def say(text: str, /, **values: Any) -> str:
    """What the press writes, in the language in use, with values in its `{blanks}`.

    `make translate` finds the text here: it must be one literal.

    >>> say("{n} of {all} claims, {record}`ch1.n`", n=2, all=3)
    '2 of 3 claims, {record}`ch1.n`'
    >>> say("`{command}` again", command="make")
    '`make` again'
    """
    return filled(said(text, PRESS), values)


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Put values in place of `{blanks}`; roles stay, and blanks that have no value."""
    return _BLANK.sub(lambda x: str(values.get(x[1] or x[2], x[0])), text)


def translated(text: str, domain: str) -> str:
    """Markdown in the language in use; what is not translated stays English, marked."""
    if language() == ENGLISH:
        return text

    def one(unit: Unit) -> str:
        found = find(unit.text, domain)
        if found:
            return found.text
        return marked(unit.text) if unit.inline else unit.text

    return replaced(text, one)


def marked(text: str) -> str:
    """English on a page of another language, with the mark that `book.css` shows."""
    return f'<span class="english" lang="en">{text}</span>'


def plain_translation(text: str, domain: str) -> str:
    """One text that is Markdown itself, such as a caption; marked if English."""
    if language() == ENGLISH or not text:
        return text
    found = find(" ".join(text.split()), domain)
    return found.text if found else marked(text)


@cache
def _read(path: Path, _changed_ns: int) -> dict[str, Translation]:
    with path.open("rb") as file:
        made = read_po(file)
    return {
        str(message.id): Translation(
            str(message.string), message.fuzzy, _excused(message.user_comments)
        )
        for message in made
        if message.id
    }


def _excused(comments: list[str]) -> frozenset[str]:
    lines = (x.removeprefix("terms:") for x in comments if x.startswith("terms:"))
    return frozenset(term.strip() for line in lines for term in line.split(","))
