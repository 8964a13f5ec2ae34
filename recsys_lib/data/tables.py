"""Read tables from files, and refuse what is wrong in them by file and line."""

import csv
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd


def read_delimited(
    file: Path, columns: list[str], types: Mapping[str, str]
) -> pd.DataFrame:
    """Read a table of MovieLens, whose suffix tells its layout.

    Args:
        file: A ``.csv`` has a header and is in UTF-8; ``.dat`` (parted by "::"),
            ``.data`` (tab), ``.item`` and ``.user`` ("|") have none, in Latin-1.
        columns: Names to give, all columns in order.
        types: Types by column name; other columns are inferred.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming file and line, if a row has other fields, or one is not of
            its type.
    """
    source: Any = file
    modern = file.suffix == ".csv"
    if file.suffix == ".dat":  # pandas is ten times faster on one character
        source = BytesIO(file.read_bytes().replace(b"::", b"\t"))
    try:
        return pd.read_csv(
            source,
            sep={".csv": ",", ".item": "|", ".user": "|"}.get(file.suffix, "\t"),
            header=None,
            skiprows=1 if modern else 0,
            quoting=csv.QUOTE_MINIMAL if modern else csv.QUOTE_NONE,
            encoding="utf-8" if modern else "latin-1",
            dtype={i: types[name] for i, name in enumerate(columns) if name in types},
            keep_default_na=False,
        ).set_axis(columns, axis="columns")
    except ValueError as error:
        at = f"{file}{_bad_line(file, [types.get(c, 'str') for c in columns])}"
        raise ValueError(f"{at} must hold {columns}; got: {error}") from error


def read_strings(file: Path, required: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file in UTF-8 as strings.

    Args:
        file: Has a header; blank lines are skipped.
        required: Columns that must be there, with something in every row.

    Returns:
        The rows; the index is the line of the file on which each ends.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file and, for a bad row, its line.
    """
    lines, rows = [], []
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            for row in filter(None, reader):
                lines.append(reader.line_num)
                rows.append(row)
        except (csv.Error, UnicodeDecodeError) as error:
            at = f"{file}, after line {reader.line_num}"
            raise ValueError(f"{at}: must be CSV in UTF-8; got: {error}") from error
    if len(rows) < 2 or not set(required) <= set(rows[0]):
        raise ValueError(
            f"{file} must have a header with {', '.join(required)}, and rows; "
            f"got {rows[:1]} and {max(len(rows) - 1, 0)} rows"
        )
    return _checked(file, pd.Series(rows[1:], index=lines[1:]), rows[0], required)


def refuse_rows(
    file: Path, values: "pd.Series[Any]", bad: "pd.Series[bool]", rule: str
) -> None:
    """Raise for the first bad row of a table from `read_strings`, if there is one.

    Raises:
        ValueError: With the file, the line, what the row must have, and its value.

    >>> ages = pd.Series(["7", "x"], index=[2, 3])
    >>> refuse_rows(Path("a.csv"), ages, ages == "x", "an age")
    Traceback (most recent call last):
    ValueError: a.csv, line 3: must have an age; got 'x'
    """
    if bad.any():
        at, got = f"{file}, line {bad.idxmax()}", values[bad].tolist()[0]
        raise ValueError(f"{at}: must have {rule}; got {got!r}")


def _bad_line(file: Path, kinds: Sequence[str]) -> str:
    """Where the first row of MovieLens' table is that is not as it should be."""
    parts = {".csv": ",", ".dat": "::", ".item": "|", ".user": "|"}
    part = parts.get(file.suffix, "\t")
    numbers = [i for i, kind in enumerate(kinds) if kind != "str"]
    text = file.read_text("utf-8" if part == "," else "latin-1", errors="replace")
    lines = text.splitlines()
    rows = list(csv.reader(lines)) if part == "," else [x.split(part) for x in lines]
    for line, row in enumerate(rows, start=1):
        right = len(row) == len(kinds) and all(_is_number(row[i]) for i in numbers)
        if not right and not (part == "," and line == 1):  # its header
            return f", line {line},"
    return ""


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text) is not None


def _checked(
    file: Path, rows: "pd.Series[Any]", header: list[str], required: Sequence[str]
) -> pd.DataFrame:
    counts = rows.map(len)
    refuse_rows(file, counts, counts != len(header), f"{len(header)} fields")
    table = pd.DataFrame(rows.to_list(), columns=header, index=rows.index)
    for column in required:
        empty = table[column].str.strip() == ""
        refuse_rows(file, table[column], empty, f"something in column {column}")
    return table
