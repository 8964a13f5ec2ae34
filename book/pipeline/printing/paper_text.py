"""Text of the PDF that can be searched: characters in place of radicals.

A Chinese font has one glyph for a character such as U+5927 and for the radical that
looks like it, U+2F24. Chromium writes into the PDF that the glyph means the radical, so
that a search for the character finds nothing.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The character that a glyph means stands at the end of a line of a font's table.
_RADICAL = re.compile(rb"<(2[EF][0-9A-Fa-f]{2})>(?=\s*$)", re.M)
# Unicode decomposes the radicals of U+2F00 to U+2FD5, but few of the simplified ones.
_SIMPLIFIED = dict(
    zip(
        "\u2ea0\u2ec1\u2ec4\u2ec5\u2ec6\u2ec9\u2ecb\u2ed3\u2ed4\u2ed8\u2eda\u2edb\u2edc"
        "\u2edd\u2ee2\u2ee3\u2ee4\u2ee5\u2ee6\u2ee8\u2ee9\u2eec\u2eee\u2ef0",
        "民虎西见角贝车长门青页风飞食马骨鬼鱼鸟麦黄齐齿龙",
        strict=True,
    )
)


def plain_table(table: bytes) -> bytes:
    r"""A font's table of characters, with characters in place of radicals.

    >>> plain_table(b"<32> <2F24>\n<33> <2ED3>\n<2F24> <6A21>")
    b'<32> <5927>\n<33> <957F>\n<2F24> <6A21>'
    """

    def character(hit: re.Match[bytes]) -> bytes:
        radical = chr(int(hit[1], 16))
        plain = _SIMPLIFIED.get(radical) or unicodedata.normalize("NFKC", radical)
        return f"<{ord(plain):04X}>".encode()

    return _RADICAL.sub(character, table)


def make_searchable(pdf: Path) -> None:
    """Mend the tables of all fonts of a PDF, in place."""
    from pypdf import PdfWriter  # of the extra `publish`

    writer = PdfWriter(clone_from=pdf)
    for font in _fonts(writer):
        table = font["/ToUnicode"].get_object()
        table.set_data(plain_table(table.get_data()))
    writer.write(pdf)


def _fonts(writer: Any) -> Iterator[Any]:
    """The fonts with a table, of the pages and of the drawings on them, each once."""
    waiting = [page["/Resources"] for page in writer.pages if "/Resources" in page]
    seen = set[int]()
    while waiting:
        resources = waiting.pop().get_object()
        for part in _parts(resources, "/XObject"):
            if id(part) not in seen and "/Resources" in part:
                seen.add(id(part))
                waiting.append(part["/Resources"])
        for font in _parts(resources, "/Font"):
            if id(font) not in seen and "/ToUnicode" in font:
                seen.add(id(font))
                yield font


def _parts(resources: Any, kind: str) -> Iterator[Any]:
    parts = resources.get(kind)
    if parts is not None:
        yield from (x.get_object() for x in parts.get_object().values())
