"""Read a reader's tables as strings; errors name the file, the line and the value."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_lib.data.files import PACKED, encoding_of, open_bytes, open_text

_CHUNK = 100_000  # rows in memory as Python strings
_SEPARATORS = (",", ";", "\t", "|")
_END = "\x1a"  # some programs end a text file with it
Row = tuple[int, list[str]]  # line of the file on which it ends, fields


def read_table(
    file: Path,
    *,
    names: Sequence[str] | None = None,
    separator: str | None = None,
    wanted: Callable[[list[str]], Sequence[str]] = list,
) -> pd.DataFrame:
    """Read a table: CSV and its kin, JSON lines or Parquet, plain, gzip or zip.

    Args:
        file: Text in an encoding that `files.encoding_of` recognises. The separator of
            CSV (, ; tab |) is found in the header; blank lines are skipped.
        names: Columns of a file without a header.
        separator: Of a file without a header; its fields have no quotes.
        wanted: Columns to return, chosen from the header.

    Returns:
        The columns as strings; the index is the line on which each row ends, or the
        number of the row of Parquet.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such table, a column repeats, or a row has
            another number of fields. The message has the file and the line.
    """
    if kind_of(file) == "parquet":
        return _parquet(file, wanted)
    with open_text(file) as stream:
        try:
            if kind_of(file) == "jsonl":
                header, rows = _json_lines(file, stream)
            elif names is None:
                header, rows = _csv(file, stream)
            else:
                header, rows = list(names), _split(stream, separator or "\t")
            chosen = _chosen(file, header, wanted)
            return _strings(file, rows, header, chosen)
        except UnicodeDecodeError as error:
            at = f"{file} must be text in {encoding_of(file)}"
            raise ValueError(f"{at}; got {error}: save it as UTF-8") from error


def kind_of(file: Path) -> str:
    """Kind of a table by its name: "csv", "jsonl" or "parquet"."""
    suffixes = [x.lower() for x in file.suffixes if x.lower() not in PACKED]
    if any(x in (".parquet", ".pq") for x in suffixes):
        return "parquet"
    last = suffixes[-1] if suffixes else ""
    return "jsonl" if last in (".jsonl", ".json", ".ndjson") else "csv"


def refuse_rows(
    file: Path, values: "pd.Series[Any]", bad: "pd.Series[bool] | Any", rule: str
) -> None:
    """Raise an error for the first bad row of a table from `read_table`, if any.

    Args:
        file: That the table was read from.
        values: One column of it, or a value for each row.
        bad: Where the rule is broken.
        rule: What each row must have.

    Raises:
        ValueError: With the file, the line, the rule, the value and the number of such
            rows.

    >>> ages = pd.Series(["7", "x"], index=[2, 3])
    >>> refuse_rows(Path("a.csv"), ages, ages == "x", "an age")
    Traceback (most recent call last):
    ValueError: a.csv, line 3: must have an age; got 'x'
    """
    where = np.flatnonzero(np.asarray(bad))
    if where.size:
        first, place = int(where[0]), values.index.name or "line"
        more = f" (and {where.size - 1:,} more rows)" if where.size > 1 else ""
        raise ValueError(
            f"{file}, {place} {values.index[first]}: must have {rule}; "
            f"got {values.iloc[first]!r}{more}"
        )


def _csv(file: Path, stream: IO[str]) -> tuple[list[str], Iterator[Row]]:
    """The header of a CSV file, and its rows."""
    first, blank = stream.readline(), 0  # blank lines before the header
    while first and not first.strip():
        first, blank = stream.readline(), blank + 1
    if not first:
        raise ValueError(f"{file} must have a header and rows; got nothing")
    fields = {s: len(next(csv.reader([first], delimiter=s))) for s in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda s: fields[s])
    reader = csv.reader(_chain(first, stream), delimiter=separator, strict=True)
    header = [name.strip() for name in next(reader)]
    return header, _read(file, reader, blank)


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _read(file: Path, reader: Any, before: int) -> Iterator[Row]:
    try:
        for row in reader:
            if row and not (len(row) == 1 and not row[0].strip(f" \t{_END}")):
                yield reader.line_num + before, row
    except csv.Error as error:
        at = f"{file}, after line {reader.line_num + before}"
        raise ValueError(f"{at}: must be CSV; got: {error}") from error


def _split(stream: IO[str], separator: str) -> Iterator[Row]:
    """Rows of a file without quotes."""
    for number, line in enumerate(stream, start=1):
        if text := line.rstrip(f"\r\n{_END}"):
            yield number, text.split(separator)


def _json_lines(file: Path, stream: IO[str]) -> tuple[list[str], Iterator[Row]]:
    """The keys of JSON lines, and their rows; a key may be missing in a line."""
    objects = [
        (number, _object(file, number, line))
        for number, line in enumerate(stream, start=1)
        if line.strip()
    ]
    header = list(dict.fromkeys(key for _, one in objects for key in one))
    rows = ((n, [_text(one.get(key)) for key in header]) for n, one in objects)
    return header, rows


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        at = f"{file}, line {number}"
        raise ValueError(f"{at}: must be a JSON object; got {str(found)[:80]!r}")
    return found


def _text(value: Any) -> str:
    """A field of JSON as a string; the parts of a list joined by "|"."""
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, list):
        return "|".join(_text(x) for x in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def _chosen(
    file: Path, header: list[str], wanted: Callable[[list[str]], Sequence[str]]
) -> list[str]:
    named = [name for name in header if name]
    chosen = list(wanted(named))
    repeated = sorted({name for name in chosen if header.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{file} must have each column once; got {', '.join(repeated)} again in "
            f"{', '.join(header)}"
        )
    return chosen


def _strings(
    file: Path, rows: Iterator[Row], header: list[str], chosen: list[str]
) -> pd.DataFrame:
    """Lay out rows in columns, a part of them at a time."""
    places = [header.index(name) for name in chosen]
    parts: list[list[pa.Array]] = [[] for _ in chosen]
    lines = []
    while chunk := list(islice(rows, _CHUNK)):
        lines.append(np.array([line for line, _ in chunk], dtype=np.int64))
        if wrong := next((r for r in chunk if len(r[1]) != len(header)), None):
            raise ValueError(
                f"{file}, line {wrong[0]}: must have {len(header)} fields "
                f"({', '.join(header)}); got {len(wrong[1])}"
            )
        for part, place in zip(parts, places, strict=True):
            part.append(pa.array([row[place] for _, row in chunk], pa.large_string()))
    if not lines:
        raise ValueError(f"{file} must have rows below its header; got none")
    index = pd.Index(np.concatenate(lines))
    columns = {
        name: pd.Series(pa.chunked_array(part), index=index, dtype="str")
        for name, part in zip(chosen, parts, strict=True)
    }
    return pd.DataFrame(columns, index=index)


def _parquet(file: Path, wanted: Callable[[list[str]], Sequence[str]]) -> pd.DataFrame:
    """Columns of Parquet as strings, a batch of rows at a time."""
    try:
        with open_bytes(file) as stream:
            packed = not isinstance(stream, io.BufferedReader)
            opened = pq.ParquetFile(pa.BufferReader(stream.read()) if packed else file)
            chosen = _chosen(file, opened.schema_arrow.names, wanted)
            parts = [
                pd.DataFrame({x: _as_text(batch.column(x)) for x in chosen})
                for batch in opened.iter_batches(_CHUNK, columns=chosen)
            ]
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{file} must be Parquet; got: {error}") from error
    if not sum(map(len, parts)):
        raise ValueError(f"{file} must have rows; got none")
    table = pd.concat(parts, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table


def _as_text(column: pa.Array) -> "pd.Series[str]":
    """A column of Parquet as strings, an empty one where a value is missing."""
    if pa.types.is_list(column.type) or pa.types.is_dictionary(column.type):
        return pd.Series([_text(x) for x in column.to_pylist()], dtype="str")
    written = column.cast(pa.large_string()).fill_null("")
    return pd.Series(written, dtype="str")
