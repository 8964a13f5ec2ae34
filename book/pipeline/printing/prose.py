"""The rules for sentences: numbers are cited from records, pictures have a text.

A measured number is written {record}`ch4.search_ms:.1f`. A number that is given (by
definition, by a source, by the protocol) is written {given}`0.468673` if it looks like
a measurement; a plain integer needs no mark.
"""

import re
from collections.abc import Iterable, Iterator

from book.pipeline.language.catalogues import say

_CODE = re.compile(
    r"(?P<ticks>`{3,}|:{3,})\{(?:code|math|eval|bibliography|toctree|glossary|raw)[^\n]*\n"
    r".*?\n(?P=ticks)"
    r"|^(`{3,})(?!\{)[^\n]*\n.*?^\2$"
    r"|\$\$.*?\$\$|(?<![\\$])\$[^$\n]+\$"
    r"|\{[\w:-]+\}`[^`]*`|`[^`\n]+`"
    r"|\[[\d.]+\]\(sec-[^)]*\)|\]\([^)]*\)"
    r"|<https?://[^>]*>|https?://\S+|arXiv[: ]\S+|doi[: ]\S+"
    r"|^\(\S+\)=$|^:[\w-]+:[^\n]*$|^%[^\n]*$",
    re.MULTILINE | re.DOTALL,
)
_UNITS = (
    r"ns|µs|us|ms|s|seconds?|milliseconds?|microseconds?|minutes?|%|per ?cent|percent"
    r"|[KMGT]i?B|bytes|×|x|times|requests|texts|fold|FLOPs?|GFLOPs?|points?"
)
_MEASURED = re.compile(
    rf"(?<![\w.,])(?:(?:\d[\d,]*)?\.\d+(?:[ \u00a0-]?(?:{_UNITS}))?"
    rf"|\d[\d,]*[ \u00a0-]?(?:{_UNITS}))(?!\w|\.\d)"
)
_SECTION = re.compile(
    r"^#+ .*$|(?:[Ss]ections?|[Cc]hapters?|§|Python|version)\s+[\dA-D.]+", re.MULTILINE
)
_CITED = re.compile(r"\{(record|interval)\}`([^`]+)`")
_PICTURE = re.compile(r"!\[\s*\]\(")
_DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{(?:figure|image)\}.*?^\1$", re.M | re.S)


def without_dead_links(text: str, absent: Iterable[str]) -> str:
    """Turn links to chapters that are left out into plain text.

    Args:
        text: MyST Markdown.
        absent: Keys of the chapters, such as "ch6".

    >>> without_dead_links("[6.2](sec-6-2), {numref}`fig-ch6-ways`", ["ch6"])
    '6.2, a figure of chapter 6'
    """
    for key in absent:
        number = key.removeprefix("ch")
        text = re.sub(rf"\[([^\]]+)\]\((?:sec|take-away)-{number}[^)]*\)", r"\1", text)
        figure = rf"\{{numref\}}`fig-{key}-[^`]*`"
        text = re.sub(figure, say("a figure of chapter {n}", n=number), text)
    return text


def bare_numerals(text: str) -> list[tuple[int, str]]:
    """Find numbers in prose that look like measurements but cite no record.

    Args:
        text: MyST Markdown.

    Returns:
        (line, number) pairs; a decimal, or an integer followed by a unit, counts.

    >>> bare_numerals("It took 12.5 ms for {record}`ch1.n` texts, $k = 1.5$.")
    [(1, '12.5 ms')]
    """
    plain = _SECTION.sub(_blank, _CODE.sub(_blank, text))
    return [
        (text.count("\n", 0, hit.start()) + 1, hit.group())
        for hit in _MEASURED.finditer(plain)
    ]


def citations(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, role, citation) for each number that a text takes from a record."""
    for hit in _CITED.finditer(text):
        yield text.count("\n", 0, hit.start()) + 1, hit[1], hit[2]


def pictures_without_text(text: str) -> list[int]:
    """Lines of the pictures in Markdown that have no alternative text."""
    starts = [hit.start() for hit in _PICTURE.finditer(text)]
    starts += [
        hit.start()
        for hit in _DIRECTIVE.finditer(text)
        if not re.search(r"^:alt: *\S", hit[0], re.M)
    ]
    return sorted(text.count("\n", 0, start) + 1 for start in starts)


def _blank(hit: re.Match[str]) -> str:
    """Spaces in place of a match; line breaks stay, so that positions stay right."""
    return re.sub(r"[^\n]", " ", hit[0])
