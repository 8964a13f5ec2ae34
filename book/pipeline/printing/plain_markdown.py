"""MyST Markdown as plain Markdown, with the numbers of a run in place.

JupyterLab and Colab show neither roles nor directives. Here each becomes Markdown that
every notebook viewer knows; what has no equivalent is refused.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from book.pipeline.chapters import BookError
from book.pipeline.results import Results

_ROLE = r"\{([\w:-]+)\}`([^`]*)`"
_CODE = re.compile(r"(?<![`}])(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.S)
_ROLE_OR_CODE = re.compile(rf"{_ROLE}|{_CODE.pattern}", re.S)
_WITH_TARGET = re.compile(r"(.*?)\s*<([^<>]*)>", re.S)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]*)\)")
_KEPT = re.compile(r"https?:|mailto:|#|results/|[\w-]+\.ipynb")
_LABEL = re.compile(r"^\(([^\s()]+)\)=$\n?", re.M)
_FENCE = re.compile(r"^(\s*)(`{3,}|:{3,}|~{3,})\s*(\{[\w:-]+\})?\s*(.*)$")
_TERM = re.compile(r"^(?!\s|>|:|$)(.+)\n: +", re.M)
_MATH_LABEL = re.compile(r"^\$\$ *\([\w-]+\)$", re.M)
_AREAS = ("div", "grid", "grid-item")  # without a title
_TITLES = ("note", "warning", "tip", "important", "caution", "hint", "seealso")


@dataclass(frozen=True)
class Names:
    """What the names in a chapter's text stand for.

    Attributes:
        results: Numbers by citation.
        figures: Name of a figure -> its number on the pages, such as "Fig. 29".
        sources: Key of a source -> authors and year, a link if it has an address.
        places: Label -> address from a notebook beside the others.
        headings: Label -> title of its section.
    """

    results: Results
    figures: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    headings: Mapping[str, str] = field(default_factory=dict)


def plain(text: str, names: Names) -> str:
    """Turn MyST Markdown into plain Markdown.

    Args:
        text: Of a cell or a caption.
        names: What it may cite.

    Raises:
        BookError: For a role or a directive that has no equivalent, or an unknown name.

    >>> plain("{given}`5` of {term}`items <item>`", Names(Results({})))
    '5 of items'
    """
    return "\n".join(_blocks(text.split("\n"), names))


def _blocks(lines: list[str], names: Names) -> Iterator[str]:
    """The lines, each directive as a quotation; text between them as paragraphs."""
    waiting: list[str] = []
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if not opened:
            waiting.append(lines[at])
            at += 1
            continue
        end = _closing(lines, at, opened[2])
        yield from _paragraphs(waiting, names)
        waiting = []
        inside = lines[at + 1 : end]
        if opened[3]:
            yield from _directive(opened[3][1:-1], opened[4], inside, names)
        else:  # code
            yield from lines[at : end + 1]
        at = end + 1
    yield from _paragraphs(waiting, names)


def _closing(lines: list[str], start: int, fence: str) -> int:
    """Index of the line that closes a fence; the end of the text closes any."""
    end = re.compile(rf"\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    closes = (n for n in range(start + 1, len(lines)) if end.match(lines[n]))
    return next(closes, len(lines))


def _directive(
    name: str, argument: str, inside: list[str], names: Names
) -> Iterator[str]:
    while inside and re.match(r"\s*:[\w-]+:", inside[0]):  # its options
        inside = inside[1:]
    if name in ("math", "raw"):
        edge = ["$$"] if name == "math" else []
        yield from [*edge, *inside, *edge]
        return
    if name not in ("admonition", "dropdown", *_AREAS, *_TITLES):
        raise BookError(f"the directive {name} has no equivalent in plain Markdown")
    title = argument if name in ("admonition", "dropdown") else name.capitalize()
    body = list(_blocks(inside, names))
    if name in _AREAS:
        yield from [*body, ""]  # two tables side by side stay two
        return
    heading = _inline(title, names)
    for line in [f"**{heading}**", "", *body]:
        yield f"> {line}".rstrip()


def _paragraphs(lines: list[str], names: Names) -> list[str]:
    if not lines:
        return []
    text = _MATH_LABEL.sub("$$", _LABEL.sub("", "\n".join(lines) + "\n"))
    return _inline(_TERM.sub(r"**\1**: ", text[:-1]), names).split("\n")


def _inline(text: str, names: Names) -> str:
    """Replace roles, then links; code stays as it is."""

    def role(hit: re.Match[str]) -> str:
        return _role(hit[1], hit[2], names) if hit[1] else hit[0]

    text, done, at = _ROLE_OR_CODE.sub(role, text), "", 0
    for code in _CODE.finditer(text):
        done += _links(text[at : code.start()], names) + code[0]
        at = code.end()
    return done + _links(text[at:], names)


def _links(text: str, names: Names) -> str:
    def link(hit: re.Match[str]) -> str:
        words, target = hit[1], hit[2]
        if _KEPT.match(target):
            return hit[0]
        words = words or names.headings.get(target, target)
        if target.startswith("../results/"):
            return f"[{words}]({target[3:]})"
        place = names.places.get(target)
        return f"[{words}]({place})" if place else words  # a page of the book alone

    return _LINK.sub(link, text)


def _role(name: str, text: str, names: Names) -> str:
    known: dict[str, Callable[[str, Names], str]] = {
        "record": lambda text, names: names.results.text(text),
        "interval": lambda text, names: names.results.interval(text),
        "given": lambda text, _: text,
        "term": lambda text, _: _words(text)[0],
        "numref": _figure,
        "ref": _section,
        "download": _download,
        **dict.fromkeys(("cite", "cite:t", "cite:p"), _cited),
    }
    if name not in known:
        raise BookError(f"the role {name} has no equivalent in plain Markdown")
    return known[name](text, names)


def _words(text: str) -> tuple[str, str]:
    """The words shown, and the target: `words <target>`, or one for both."""
    hit = _WITH_TARGET.fullmatch(text)
    return (hit[1], hit[2]) if hit else (text, text)


def _figure(text: str, names: Names) -> str:
    words, target = _words(text)
    number = names.figures.get(target, "the figure")
    return number if words == target else words.replace("%s", number.split()[-1])


def _section(text: str, names: Names) -> str:
    words, target = _words(text)
    words = names.headings.get(target, words) if words == target else words
    place = names.places.get(target)
    return f"[{words}]({place})" if place else words


def _download(text: str, names: Names) -> str:
    words, target = _words(text)
    return _links(f"[{words}]({target})", names)


def _cited(text: str, names: Names) -> str:
    keys = [key.strip() for key in text.split(",")]
    if unknown := [key for key in keys if key not in names.sources]:
        raise BookError(f"no source {unknown[0]!r} in references.bib")
    return "; ".join(names.sources[key] for key in keys)
