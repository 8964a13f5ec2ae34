"""The units of translation in MyST Markdown: a paragraph, an item, a cell, a title.

They are found in the sources, where a number is still the citation of its record. So
one translation serves every run, and no chapter has to be executed to translate it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^\s*(?P<ticks>`{3,}|:{3,}|~{3,})(?P<rest>.*)$")
_DIRECTIVE = re.compile(r"\{(?P<name>[\w:-]+)\}(?P<title>.*)")
_VERBATIM = frozenset(
    (
        "bibliography",
        "code",
        "code-block",
        "code-cell",
        "eval-rst",
        "include",
        "literalinclude",
        "math",
        "raw",
        "tableofcontents",
        "toctree",
    )
)
_TITLED = frozenset(("admonition", "dropdown"))
_MARKER = re.compile(r"^\s*(?:[-*+]|\d+[.)]|:|>)\s+(?=\S)|^#{1,6}\s+(?=\S)")
_OPTION = re.compile(r"^\s*:(?P<name>[\w-]+):[ ]?(?P<value>.*)$")
_TARGET = re.compile(r"^\s*(?:\([^\s)]+\)=|%.*|\+\+\+.*|-{3,}|\* \* \*)\s*$")
_RULE = re.compile(r"^[\s|:-]+$")
_CELL = re.compile(r"(?:`[^`]*`|\\\||[^|`])+")
# What is no prose: it stays as it is in every language.
OPAQUE = re.compile(
    r"\{[\w:-]+\}`[^`]*`|`[^`]*`|\$[^$\n]+\$|<https?://[^>]*>|https?://[^\s)]+"
    r"|</?[a-zA-Z][^>]*>|\{\w+\}|(?<=\])\([^)\s]*\)"
)


@dataclass(frozen=True)
class Unit:
    """A piece of prose on one line, and its place in the source.

    Attributes:
        text: With single spaces in place of line breaks: the `msgid`.
        start: Of the source, in characters.
        end: Of the source.
        inline: Whether Markdown may stand there: not in an alt text or a title.
    """

    text: str
    start: int
    end: int
    inline: bool = True


def has_prose(text: str) -> bool:
    """Whether anything but citations, code and formulas is there to be translated.

    >>> has_prose("{record}`ch1.n:.0f`, $x$"), has_prose("{record}`ch1.n` items")
    (False, True)
    """
    return re.search(r"[^\W\d_]{2}", OPAQUE.sub(" ", text)) is not None


def joined(text: str) -> str:
    r"""The text on one line.

    >>> joined("One paragraph\n  of two lines.")
    'One paragraph of two lines.'
    """
    return " ".join(text.split())


def units(text: str) -> Iterator[Unit]:
    r"""Find the units of a page or a cell, in order.

    >>> [unit.text for unit in units("# A title\n\n- one\n  item\n- `code`\n")]
    ['A title', 'one item']
    """
    return (unit for unit in _Reader(text).read() if has_prose(unit.text))


def replaced(text: str, said: Callable[[Unit], str]) -> str:
    """The text with each unit replaced by what is said in its place."""
    parts, at = [], 0
    for unit in units(text):
        parts += [text[at : unit.start], said(unit)]
        at = unit.end
    return "".join([*parts, text[at:]])


class _Reader:
    """Reads the lines of one text; a paragraph that was begun waits for its end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.begun: list[tuple[int, int]] = []  # places of the paragraph's lines
        self.in_glossary = False
        self.open: list[str] = []  # fences of the directives of prose

    def read(self) -> Iterator[Unit]:
        closing = ""  # of a block that is passed over
        in_html = options = False
        for start, line in self._lines():
            bare = line.strip()
            if closing:
                closing = "" if bare.endswith(closing) else closing
                continue
            if in_html or not bare:
                in_html = in_html and bool(bare)
                yield from self._end()
                continue
            if options and (found := _OPTION.match(line)):
                if found["name"] == "alt":
                    yield self._unit(start + found.start("value"), start + len(line))
                continue
            options = False
            if found := _FENCE.match(line):
                yield from self._end()
                yield from self._title(start, line, found)
                closing, options = self._opened(found)
            elif bare.startswith("$$"):
                yield from self._end()
                closing = "" if bare.endswith("$$") and len(bare) > 3 else "$$"
            elif _TARGET.match(line):
                yield from self._end()
            elif bare.startswith("|"):
                yield from self._end()
                yield from self._cells(start, line)
            elif not self.begun and re.match(r"</?[a-z][\w-]*[\s>]|<!--", bare):
                in_html = True
            elif self.in_glossary and not line.startswith(" "):
                yield from self._end()  # a term
            else:
                yield from self._line(start, line)
        yield from self._end()

    def _lines(self) -> Iterator[tuple[int, str]]:
        at = 0
        for line in self.text.splitlines(keepends=True):
            yield at, line.rstrip("\n")
            at += len(line)

    def _line(self, start: int, line: str) -> Iterator[Unit]:
        """A line of a paragraph, or the first of an item, a heading, a definition."""
        marker = _MARKER.match(line)
        if marker:
            yield from self._end()
        first = marker.end() if marker else len(line) - len(line.lstrip())
        self.begun.append((start + first, start + len(line.rstrip())))
        if marker and "#" in marker[0]:
            yield from self._end()

    def _end(self) -> Iterator[Unit]:
        if self.begun:
            yield self._unit(self.begun[0][0], self.begun[-1][1], inline=True)
        self.begun = []

    def _unit(self, start: int, end: int, *, inline: bool = False) -> Unit:
        return Unit(joined(self.text[start:end]), start, end, inline)

    def _opened(self, fence: re.Match[str]) -> tuple[str, bool]:
        """How the block ends, if it is no prose, and whether options may follow."""
        ticks, rest = fence["ticks"], fence["rest"].strip()
        if not rest and ticks in self.open:
            del self.open[self.open.index(ticks) :]
            self.in_glossary = False
            return "", False
        found = _DIRECTIVE.match(rest)
        if found is None:
            return ticks, False  # plain code
        if found["name"] in _VERBATIM:
            return ticks, False
        self.open.append(ticks)
        self.in_glossary = found["name"] == "glossary"
        return "", True

    def _title(self, start: int, line: str, fence: re.Match[str]) -> Iterator[Unit]:
        found = _DIRECTIVE.search(line)
        if found and found["name"] in _TITLED and found["title"].strip():
            first = found.start("title")
            first += len(found["title"]) - len(found["title"].lstrip())
            yield self._unit(start + first, start + len(line.rstrip()))

    def _cells(self, start: int, line: str) -> Iterator[Unit]:
        if _RULE.match(line):
            return
        for cell in _CELL.finditer(line):
            inner = cell[0].strip()
            if inner:
                first = start + cell.start() + cell[0].index(inner)
                yield self._unit(first, first + len(inner), inline=True)
