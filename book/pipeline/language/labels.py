"""Labels of figures and tables in another language, put in as the pages are printed.

The drawings keep text as text, so no cell has to run again and no font is needed when
a chapter is executed. The layout was made for the English: a label in another language
may not be wider, and stands where the English one stands: at its start, end or middle.
"""

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from book.pipeline.language.catalogues import ENGLISH, find, language

LABELS = "labels"
FONTS = "'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"
_GROUP = re.compile(r'(<g id="text_\d+">\s*)((?:<text [^>]*>[^<]*</text>\s*)+)')
_TEXT = re.compile(r"<text ([^>]*)>([^<]*)</text>")
_MOVED = re.compile(
    r'transform="translate\(([-\d.]+) ([-\d.]+)\)( rotate\(([-\d.]+)\))?"'
)
_SIZE = re.compile(r"font-size: ([\d.]+)px")
_HEAD = re.compile(r"(<th\b[^>]*>)([^<>]+)(?=</th>)")
_NUMBER = re.compile(  # whole, also before the x of "1.4x"
    r"(?<![\w@/.-])\d+(?:[.,]\d+)*(?=x\b|[^\w/@.,-]|[.,](?!\d)|$)"
)
_NARROW, _WIDE = frozenset("ijlI.,:;|!'ft()[]r -"), frozenset("mwMW@%")


def label_of(text: str) -> str:
    """A label with `{n}` for its numbers, which differ from run to run.

    >>> label_of("history of 10"), label_of("recall@10"), label_of("1/2 of the heads")
    ('history of {n}', 'recall@10', '1/2 of the heads')
    >>> label_of("TF-IDF, 1.4x"), label_of("ViViT-B/16x2, 11x"), label_of("in 1,682.")
    ('TF-IDF, {n}x', 'ViViT-B/16x2, {n}x', 'in {n}.')
    """
    return _NUMBER.sub("{n}", " ".join(text.split()))


def labels_in(drawn: str) -> Iterator[str]:
    """Labels with words in a drawing, or at the heads of an HTML output's tables."""
    for group in _GROUP.finditer(drawn):
        lines = [html.unescape(line) for _, line in _TEXT.findall(group[2])]
        if _has_words(label := " ".join(lines)):
            yield label
    if "<table" in drawn:
        heads = (html.unescape(head[2]).strip() for head in _HEAD.finditer(drawn))
        yield from (head for head in heads if _has_words(head) and "_" not in head)


def _has_words(label: str) -> bool:
    return re.search(r"[^\W\d_]{2}", label) is not None


def width_em(text: str) -> float:
    """About how wide a text is, as a part of the size of its letters.

    >>> round(width_em("延迟 ms"), 1)
    3.8
    """
    return sum(map(_letter_em, text.replace("{n}", "0")))


def _letter_em(letter: str) -> float:
    if ord(letter) > 0x2E7F:
        return 1
    if letter in _NARROW:
        return 0.33
    return 0.9 if letter in _WIDE else 0.68 if letter.isupper() else 0.61


def translated_label(text: str) -> str | None:
    """The label in the language in use, with its own numbers; None if there is none."""
    text = " ".join(text.split())
    found = find(label_of(text), LABELS)
    if found is None:
        return None
    numbers = iter(_NUMBER.findall(text))
    return re.sub(r"\{n\}", lambda _: next(numbers, ""), found.text)


def translated_table(table: str) -> str:
    """An HTML output with the heads of its tables in the language in use."""
    if language() == ENGLISH or "<table" not in table:
        return table

    def head(hit: re.Match[str]) -> str:
        said = translated_label(html.unescape(hit[2]))
        return hit[0] if said is None else hit[1] + html.escape(said, quote=False)

    return _HEAD.sub(head, table)


def translated_drawing(svg: str) -> str:
    """A drawing with its labels in the language in use."""
    if language() == ENGLISH:
        return svg

    def group(hit: re.Match[str]) -> str:
        lines = _TEXT.findall(hit[2])
        said = translated_label(html.unescape(" ".join(line for _, line in lines)))
        return hit[0] if said is None else f"{hit[1]}{_group(lines, said)}\n"

    return _GROUP.sub(group, svg).replace("sans-serif", FONTS)


def _group(lines: Sequence[tuple[str, str]], said: str) -> str:
    if len(lines) == 1:
        return f"<text {lines[0][0]}>{html.escape(said, quote=False)}</text>"
    block = _block(lines)
    if block is None:  # lines that are no block: the first has it all
        return f"<text {lines[0][0]}>{html.escape(said, quote=False)}</text>"
    return block.written(said)


@dataclass(frozen=True)
class _Block:
    """Lines of one label: where they stand along and across the text's direction."""

    attributes: str
    size: float
    angle: float  # of the text, in degrees
    anchor: str
    along: float
    across: Sequence[float]
    width: float

    def written(self, said: str) -> str:
        """The new lines, in the middle of the old ones."""
        lines = _wrapped(said, self.width / self.size)
        step = self.across[1] - self.across[0]
        first = sum(self.across) / len(self.across) - step * (len(lines) - 1) / 2
        return "\n".join(
            self._line(line, first + step * n) for n, line in enumerate(lines)
        )

    def _line(self, line: str, across: float) -> str:
        turn = math.radians(self.angle)
        x = self.along * math.cos(turn) - across * math.sin(turn)
        y = self.along * math.sin(turn) + across * math.cos(turn)
        place = f'transform="translate({x:.6f} {y:.6f})'
        place += f' rotate({self.angle:g})"' if self.angle else '"'
        made = _MOVED.sub(place, self.attributes)
        made = made.replace('style="', f'style="text-anchor: {self.anchor}; ', 1)
        return f"<text {made}>{html.escape(line, quote=False)}</text>"


def _block(lines: Sequence[tuple[str, str]]) -> _Block | None:
    places = [_MOVED.search(attributes) for attributes, _ in lines]
    size = _SIZE.search(lines[0][0])
    if size is None or not all(places):
        return None
    found = [place for place in places if place]
    angle = float(found[0][4] or 0)
    turn = math.radians(angle)
    points = [(float(p[1]), float(p[2])) for p in found]
    starts = [x * math.cos(turn) + y * math.sin(turn) for x, y in points]
    across = [y * math.cos(turn) - x * math.sin(turn) for x, y in points]
    size_px = float(size[1])
    widths = [size_px * width_em(html.unescape(line)) for _, line in lines]
    ends = [start + width for start, width in zip(starts, widths, strict=True)]
    middles = [start + width / 2 for start, width in zip(starts, widths, strict=True)]
    kinds = {"start": starts, "middle": middles, "end": ends}
    anchor = min(kinds, key=lambda kind: _spread(kinds[kind]))
    along = sum(kinds[anchor]) / len(lines)
    return _Block(lines[0][0], size_px, angle, anchor, along, across, max(widths))


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _wrapped(text: str, width: float) -> list[str]:
    """Lines of at most this width in em; Chinese breaks between any two characters."""
    lines = [""]
    for part in re.findall(r"[\u2e80-\uffef]|[^\u2e80-\uffef\s]+|\s+", text):
        if lines[-1] and width_em(lines[-1] + part.rstrip()) > width + 0.3:
            lines.append("")
        lines[-1] += part if lines[-1] else part.lstrip()
    return [line.rstrip() for line in lines if line.strip()]
