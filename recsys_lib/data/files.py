"""Open a reader's file as text: packed or plain, in the encoding that it has.

An encoding is recognised by its byte order mark or by what all bytes allow. Bytes that
several encodings would read differently are refused, so that no text is misread.
"""

import codecs
import contextlib
import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_CHUNK = 1 << 22
_MARKS = {  # byte order marks
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HIGH = re.compile(rb"[\x80-\xff]+")
_WESTERN = re.compile(  # letters and marks of Western European texts in Windows-1252
    r"[\u00a0-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]*"
)
PACKED = (".gz", ".zip")


@contextlib.contextmanager
def open_bytes(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, or the only one in it if it is packed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds more than one file.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(file) as inside:
                yield inside  # type: ignore[misc]
        elif start == b"PK\x03\x04":
            with zipfile.ZipFile(file) as archive:
                names = [x for x in archive.namelist() if not x.endswith("/")]
                names = [x for x in names if not x.startswith("__MACOSX")]
                if len(names) != 1:
                    got = f"got {', '.join(names[:5]) or 'none'}"
                    raise ValueError(f"{file} must hold one file; {got}")
                with archive.open(names[0]) as inside:
                    yield inside
        else:
            with file.open("rb") as plain:
                yield plain
    except (EOFError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} is packed and damaged: {error}") from error


@contextlib.contextmanager
def open_text(file: Path) -> Iterator[IO[str]]:
    """Open a file as text in the encoding of `encoding_of`; line ends are kept."""
    encoding = encoding_of(file)
    with open_bytes(file) as stream:
        yield io.TextIOWrapper(stream, encoding=encoding, newline="")


def encoding_of(file: Path) -> str:
    """Find the encoding of a text file: UTF-8, UTF-16, Latin-1 or Windows-1252.

    Returns:
        A name for `open`: "utf-8", "utf-8-sig", "utf-16" (with its mark), "utf-16-le",
        "utf-16-be" or "cp1252", of which Latin-1 is a part here.

    Raises:
        ValueError: If it is none of them for sure.
    """
    with open_bytes(file) as stream:
        start = stream.read(_CHUNK)
        for mark, name in _MARKS.items():
            if start.startswith(mark):
                return name
        if b"\0" in start:
            return _utf16(file, start)
        decoder = codecs.getincrementaldecoder("utf-8")()
        western, done = True, 0
        chunk, utf8 = start, True
        while chunk:
            if b"\0" in chunk:
                raise ValueError(f"{file} must be text; got a zero byte")
            if utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    utf8 = False
            western = western and _is_western(chunk)
            done += len(chunk)
            chunk = stream.read(_CHUNK)
        if utf8:
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                utf8 = False
    if utf8:
        return "utf-8"
    if western:
        return "cp1252"
    wanted = "UTF-8, UTF-16, Latin-1 or Windows-1252"
    raise ValueError(f"{file} must be in {wanted}; got another: save it as UTF-8")


def _utf16(file: Path, start: bytes) -> str:
    """UTF-16 without a mark: ASCII letters have a zero byte on one side."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if even + odd > len(start) // 5 and min(even, odd) * 20 < max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    raise ValueError(f"{file} must be text; got a zero byte")


def _is_western(chunk: bytes) -> bool:
    """Whether bytes above 127 look like single letters among ASCII, as in "café".

    In encodings of other scripts, such as GBK or Windows-1251, they come in sequences.
    """
    if chunk.isascii():
        return True
    found = _HIGH.findall(chunk)
    in_sequences = sum(len(x) for x in found if len(x) > 1)
    if in_sequences * 2 > sum(map(len, found)):
        return False
    try:
        return all(_WESTERN.fullmatch(x.decode("cp1252")) for x in found)
    except UnicodeDecodeError:
        return False
