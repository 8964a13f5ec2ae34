"""Read a reader's tables as strings; errors name the file, the line and the value."""

import ast
import contextlib
import csv
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_lib.arrays import IntArray
from recsys_lib.data.faults import Faults
from recsys_lib.data.files import PACKED, encoding_of, open_bytes, open_text

_CHUNK = 100_000  # rows in memory as Python strings
_LOGGED = 1_000_000  # rows between two lines of progress
_FIRST_LINES = 1000  # whose keys are the header of JSON lines
ATOMIC = (".inter", ".item", ".user")  # of RecBole
_TYPED = re.compile(r":(token|float)(_seq)?$")
_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_logger = logging.getLogger(__name__)
_SEPARATORS = (",", ";", "\t", "|")
_END = "\x1a"  # some programs end a text file with it
_BREAK = re.compile(r"\r\n|\r|\n")
Chunk = tuple[IntArray, list[list[str]]]  # lines on which rows end, and their fields


def read_table(
    file: Path,
    *,
    names: Sequence[str] | None = None,
    separator: str | None = None,
    wanted: Callable[[list[str]], Sequence[str]] = list,
    faults: Faults | None = None,
) -> pd.DataFrame:
    """Read a table: CSV and its kin, JSON lines, RecBole's atomic files or Parquet.

    Args:
        file: Plain, gzip or zip; text in an encoding that `files.encoding_of`
            recognises. The separator of CSV (, ; tab |) is found in the header; blank
            lines are skipped.
        names: Columns of a file without a header.
        separator: Of a file without a header; its fields have no quotes.
        wanted: Columns to return, chosen from the header.
        faults: Notes the rows that are none; by default they are refused.

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
    noted = faults or Faults()
    try:
        if kind_of(file) == "jsonl":
            table = _json_lines(file, wanted, noted)
        else:
            with open_text(file) as stream:
                if names is not None:
                    header, rows = list(names), _split(stream, separator or "\t")
                elif kind_of(file) == "atomic":
                    header, rows = _atomic(file, stream)
                else:
                    header, rows = _csv(file, stream)
                chosen = _chosen(file, header, wanted)
                table = _strings(file, rows, header, chosen, noted)
    except UnicodeDecodeError as error:
        at = f"{file} must be text in {encoding_of(file)}"
        raise ValueError(f"{at}; got {error}: save it as UTF-8") from error
    if faults is None:
        noted.settle()
    return table


def kind_of(file: Path) -> str:
    """Kind of a table by its name: "csv", "jsonl", "atomic" (RecBole) or "parquet"."""
    suffixes = [x.lower() for x in file.suffixes if x.lower() not in PACKED]
    if any(x in (".parquet", ".pq") for x in suffixes):
        return "parquet"
    last = suffixes[-1] if suffixes else ""
    if last in ATOMIC:
        return "atomic"
    return "jsonl" if last in (".jsonl", ".json", ".ndjson") else "csv"


def _csv(file: Path, stream: IO[str]) -> tuple[list[str], Iterator[Chunk]]:
    """The header of a CSV file, and its rows."""
    first, blank = stream.readline(), 0  # blank lines before the header
    while first and not first.strip():
        first, blank = stream.readline(), blank + 1
    if not first:
        raise ValueError(f"{file} must have a header and rows; got nothing")
    fields = {s: len(next(csv.reader([first], delimiter=s))) for s in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda s: fields[s])
    reader = csv.reader(chain([first], stream), delimiter=separator, strict=True)
    header = [name.strip() for name in next(reader)]
    return header, _read(file, reader, blank)


def _atomic(file: Path, stream: IO[str]) -> tuple[list[str], Iterator[Chunk]]:
    """The typed header of an atomic file, such as `user_id:token`, and its rows."""
    header = stream.readline().rstrip("\r\n").split("\t")
    if not all(_TYPED.search(name) for name in header):
        wanted = "a header of names with types, such as user_id:token"
        raise ValueError(f"{file} must have {wanted}; got {', '.join(header)}")
    return header, _split(stream, "\t", before=1)


def _read(file: Path, reader: Any, before: int) -> Iterator[Chunk]:
    """Rows of a CSV reader that are not blank, with the lines on which they end."""
    start = before + reader.line_num
    try:
        while rows := list(islice(reader, _CHUNK)):
            end = before + reader.line_num
            if end - start == len(rows):
                lines = np.arange(start, end) + 1
            else:  # some fields have line breaks
                breaks = [sum(len(_BREAK.findall(x)) for x in row) for row in rows]
                lines = start + np.cumsum(np.array(breaks) + 1)
            if min(map(len, rows)) < 2:
                filled = [bool("".join(row).strip(f" \t{_END}")) for row in rows]
                rows = list(compress(rows, filled))
                lines = lines[np.array(filled)]
            yield lines, rows
            start = end
    except csv.Error as error:
        at = f"{file}, after line {reader.line_num + before}"
        raise ValueError(f"{at}: must be CSV; got: {error}") from error


def _split(stream: IO[str], separator: str, before: int = 0) -> Iterator[Chunk]:
    """Rows of a file without quotes, below some lines."""
    return _in_chunks(
        (number, text.split(separator))
        for number, line in enumerate(stream, start=before + 1)
        if (text := line.rstrip(f"\r\n{_END}"))
    )


def _in_chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[Chunk]:
    while chunk := list(islice(rows, _CHUNK)):
        numbers, fields = zip(*chunk, strict=True)
        yield np.array(numbers, dtype=np.int64), list(fields)


class _LateKeyError(Exception):
    """A wanted key first appears far down in a file."""


def _json_lines(
    file: Path, wanted: Callable[[list[str]], Sequence[str]], faults: Faults
) -> pd.DataFrame:
    """Wanted keys of JSON lines as columns; a key may be missing in a line."""
    keys: dict[str, None] = {}
    while True:
        noted = Faults()
        with open_text(file) as stream:
            objects = _objects(file, stream, noted)
            first = list(islice(objects, _FIRST_LINES))
            for _, one in first:
                keys.update(dict.fromkeys(one))
            if not keys:
                noted.settle()
            chosen = _chosen(file, list(keys), wanted)
            rows = _fields(file, chain(first, objects), keys, chosen, wanted, noted)
            try:
                table = _strings(file, _in_chunks(rows), chosen, chosen, noted)
            except _LateKeyError:
                continue  # from the first line again, with this key
        faults.take(noted)
        return table


def _fields(
    file: Path,
    objects: Iterable[tuple[int, dict[str, Any]]],
    keys: dict[str, None],
    chosen: list[str],
    wanted: Callable[[list[str]], Sequence[str]],
    faults: Faults,
) -> Iterator[tuple[int, list[str]]]:
    for number, one in objects:
        if not one.keys() <= keys.keys():
            keys.update(dict.fromkeys(one))
            if set(wanted(list(keys))) != set(chosen):
                raise _LateKeyError
        row = [_text(one.get(key)) for key in chosen]
        try:
            "".join(row).encode()
        except UnicodeEncodeError as error:
            faults.add(file, number, f"must be text; got {error}")
        else:
            yield number, row


def _objects(
    file: Path, stream: IO[str], faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip(f" \t\r\n{_END}"):
            continue
        found = _object(line)
        if isinstance(found, dict) and all(isinstance(key, str) for key in found):
            yield number, found
        else:
            got = f"got {str(found)[:80]!r}"
            faults.add(file, number, f"must be a JSON object; {got}")


def _object(line: str) -> Any:
    """What a line says: JSON, or a dictionary of Python as in Amazon's files of 2014.

    Of neither, the error of JSON.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        if line.startswith("{'"):
            with warnings.catch_warnings(), contextlib.suppress(*_NO_LITERAL):
                warnings.simplefilter("ignore")  # of escapes such as \d
                return ast.literal_eval(line)
        return error


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
    file: Path,
    chunks: Iterator[Chunk],
    header: list[str],
    chosen: list[str],
    faults: Faults,
) -> pd.DataFrame:
    """Lay out rows in columns, a part of them at a time."""
    places = [header.index(name) for name in chosen]
    parts: list[list[pa.Array]] = [[] for _ in chosen]
    index, n_rows = [], 0
    for lines, rows in chunks:
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        if (wrong := lengths != len(header)).any():
            must = f"must have {len(header)} fields ({', '.join(header)})"
            for row in np.flatnonzero(wrong):
                faults.add(file, int(lines[row]), f"{must}; got {lengths[row]}")
            lines, rows = lines[~wrong], list(compress(rows, ~wrong))
        index.append(lines)
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
        for part, place in zip(parts, places, strict=True):
            part.append(pa.array(columns[place], pa.large_string()))
        n_rows += len(rows)
        log_rows(file, n_rows, len(rows))
    if not n_rows:
        faults.settle()
        raise ValueError(f"{file} must have rows below its header; got none")
    found = pd.Index(np.concatenate(index))
    series = {
        name: pd.Series(pa.chunked_array(part), index=found, dtype="str")
        for name, part in zip(chosen, parts, strict=True)
    }
    return pd.DataFrame(series, index=found)


def log_rows(file: Path, n_rows: int, step: int) -> None:
    """Log each million rows of a file as progress, at level INFO."""
    if n_rows // _LOGGED > (n_rows - step) // _LOGGED:
        _logger.info("%s: %s rows", file.name, f"{n_rows:,}")


def _parquet(file: Path, wanted: Callable[[list[str]], Sequence[str]]) -> pd.DataFrame:
    """Columns of Parquet as strings, a batch of rows at a time."""
    try:
        with open_bytes(file) as stream:
            packed = not isinstance(stream, io.BufferedReader)
            opened = pq.ParquetFile(pa.BufferReader(stream.read()) if packed else file)
            chosen = _chosen(file, opened.schema_arrow.names, wanted)
            parts = []
            for batch in opened.iter_batches(_CHUNK, columns=chosen):
                fields = {x: _as_text(batch.column(x)) for x in chosen}
                parts.append(pd.DataFrame(fields))
                log_rows(file, sum(map(len, parts)), len(batch))
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
