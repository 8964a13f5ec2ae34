"""Faults of one translation: what it must keep, its terms, its punctuation."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from markdown_it import MarkdownIt

from book.pipeline.language.terms import linked
from book.pipeline.language.units import OPAQUE
from book.pipeline.printing.prose import bare_numerals

_HAN = r"[\u3400-\u4dbf\u4e00-\u9fff]"
_FULL = r"[，。、；：！？（）“”‘’《》〈〉【】…—]"
# One rule: a space between Chinese and a Latin word, a number or code; none beside
# full-width punctuation, which has its own.
SPACING = re.compile(
    rf"{_HAN}[A-Za-z0-9\u2402]|[A-Za-z0-9%\u2402]{_HAN}|{_FULL} | {_FULL}|{_HAN} {_HAN}"
)
HALF_WIDTH = re.compile(
    rf"{_HAN}\s*[,;:!?\"'()]|[,;:!?\"'()]\s*{_HAN}|{_HAN}\.|\.\s*{_HAN}|{_FULL}[,;:!?.]"
)
_UNIT = r"毫秒|微秒|秒|分钟|倍|个百分点|字节|个请求|[KMGT]i?B|%"
_MEASURED = re.compile(rf"(?<![\w.,])\d[\d,.]* ?(?:{_UNIT})")
_ROLE = re.compile(r"\{([\w:-]+)\}`([^`]*)`")
_WITH_TEXT = frozenset(["term", "ref", "doc", "download", "numref"])
_LINK = re.compile(r"\]\(([^)\s]*)\)")
_MATH = re.compile(r"\$[^$\n]+\$")
_CODE = re.compile(r"(?<!\})`[^`]*`")
_BLANK = re.compile(r"\{\w+\}(?!`)")
_PLACE = "\u2402"  # stands for what is no prose
_ANY = "\u2403"  # stands for a blank, whose value may be in any language
_NUMBERED = re.compile(r"^[A-D](?:\.\d)?\.? |^\d\.(?:\d(?:\.\d)?)? ")  # a heading
_OPEN = re.compile(rf"\*\*|\*{_HAN}|{_HAN}\*")
_MARKDOWN = MarkdownIt("commonmark")


def faults(
    english: str,
    chinese: str,
    base: Mapping[str, str],
    *,
    also: Mapping[str, list[str]] | None = None,
    excused: frozenset[str] = frozenset(),
) -> Iterator[str]:
    """Everything that is wrong with a translation, each in a sentence.

    Args:
        english: One unit.
        chinese: Its translation.
        base: Of terms, as of `terms.terms`.
        also: Other Chinese words for a term that the base allows.
        excused: Terms of the English that are no terms there.
    """
    yield from _placeholders(english, chinese)
    yield from _terms(english, chinese, base, also or {}, excused)
    yield from _typography(chinese)
    if chinese.isascii() and chinese != english and re.search(r"[^\W\d_]", chinese):
        yield "no Chinese in it"


def placeholders(text: str) -> Counter[str]:
    """What a translation must keep as it is, with how often.

    Of a role with a text of its own, such as {term}, and of a link, that is the target.

    >>> sorted(placeholders("{term}`Items <item>`, [1.1](sec-1-1), $k$ and `x`"))
    ['$k$', '](sec-1-1)', '`x`', '{term}item']
    """
    found = [_kept(role, inside) for role, inside in _ROLE.findall(text)]
    rest = _ROLE.sub(" ", text)
    code = _CODE.findall(rest)
    rest = _CODE.sub(" ", rest)
    found += [*code, *_MATH.findall(rest)]
    found += [f"]({target})" for target in _LINK.findall(rest)]
    return Counter([*found, *_BLANK.findall(rest)])


def _kept(role: str, inside: str) -> str:
    target = re.fullmatch(r".*<([^<>]+)>", inside, re.S)
    if role == "term":
        return f"{{term}}{' '.join((target[1] if target else inside).split()).lower()}"
    if role in _WITH_TEXT and target:
        return f"{{{role}}}<{target[1]}>"
    return f"{{{role}}}`{inside}`"


def _placeholders(english: str, chinese: str) -> Iterator[str]:
    wanted, found = placeholders(english), placeholders(chinese)
    yield from (f"{x} is missing" for x in sorted((wanted - found).elements()))
    yield from (
        f"{x} is not in the English" for x in sorted((found - wanted).elements())
    )
    more = len(_MEASURED.findall(_plain(chinese))) - len(bare_numerals(english))
    if more > 0 and not re.search(r"\d", _plain(english)):
        yield f"a number that the English has not: {_MEASURED.findall(_plain(chinese))}"


def _terms(
    english: str,
    chinese: str,
    base: Mapping[str, str],
    also: Mapping[str, list[str]],
    excused: frozenset[str],
) -> Iterator[str]:
    lower = {term.lower(): term for term in base}
    shown_of = linked(chinese)
    for target in linked(english):
        term = lower.get(target)
        if term is None or target not in shown_of:
            continue  # another check names it
        allowed = _allowed(term, base, also)
        if not any(word in shown_of[target] for word in allowed):
            shown = shown_of[target]
            yield f"{{term}} shows {shown!r} for {term!r}, not {allowed[0]!r}"
    rest = OPAQUE.sub(" ", english)
    for term in sorted(base, key=len, reverse=True):
        pattern = rf"(?<![\w-]){re.escape(term)}(?:s|'s)?(?![\w-])"
        rest, n = re.subn(pattern, " ", rest, flags=0 if _is_name(term) else re.I)
        allowed = _allowed(term, base, also)
        if n and term not in excused and not any(word in chinese for word in allowed):
            yield f"the term {term!r} is {allowed[0]!r} in the glossary"


def _allowed(
    term: str, base: Mapping[str, str], also: Mapping[str, list[str]]
) -> list[str]:
    """The Chinese term, others that are allowed, and a name as it is."""
    return [base[term], *also.get(term, []), *([term] if _is_name(term) else [])]


def _is_name(term: str) -> bool:
    """Whether Chinese engineers write it in Latin letters, too: AUC, iALS, p99."""
    return any(x.isupper() or x.isdigit() or x == "@" for x in term[1:])


def _typography(chinese: str) -> Iterator[str]:
    plain = _plain(chinese)
    for hit in SPACING.finditer(plain):
        yield f"spacing at {_around(plain, hit)!r}"
    for hit in HALF_WIDTH.finditer(plain):
        yield f"half-width punctuation at {_around(plain, hit)!r}"
    for token in _MARKDOWN.parseInline(_BLANK.sub("字", chinese)):
        texts = (x.content for x in token.children or [] if x.type == "text")
        if any(
            "**" in text or re.search(rf"\*{_HAN}|{_HAN}\*", text) for text in texts
        ):
            yield "emphasis does not close: move the punctuation out of the asterisks"


def _plain(text: str) -> str:
    """The text as a reader sees it, with a letter in place of numbers and code."""
    text = re.sub(r"\{term\}`([^`<]*?)\s*(?:<[^>]*>)?`", r"\1", text)
    text = re.sub(r"\{(?:ref|doc|download)\}`([^`<]*?)\s*<[^>]*>`", r"\1", text)
    text = re.sub(r"(\{cite\}`[^`]*`)", "", re.sub(r" (?=\{cite\})", "", text))
    text = re.sub(r"\{confirmed\}`[^`]*`", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)\s]*\)", r"\1", text)
    text = re.sub(r"</?[a-zA-Z][^>]*>", "", text)
    text = _NUMBERED.sub("", _BLANK.sub(_ANY, text))
    return OPAQUE.sub(_PLACE, text).replace("*", "")


def _around(text: str, hit: re.Match[str]) -> str:
    return text[max(0, hit.start() - 4) : hit.end() + 4]
