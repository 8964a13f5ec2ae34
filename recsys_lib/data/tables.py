"""Read tables from files; an error names the file and the line."""

import csv
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

_SEPARATORS = {".csv": ",", ".dat": "::", ".data": "\t", ".item": "|", ".user": "|"}


def read_delimited(
    file: Path, columns: list[str], types: Mapping[str, str]
) -> pd.DataFrame:
    """Read a table in one of MovieLens' formats, which the suffix determines.

    Args:
        file: ``.csv`` has a header and is in UTF-8. ``.dat`` (separated by "::"),
            ``.data`` (tab), ``.item`` and ``.user`` ("|") have none, in Latin-1.
        columns: Names for all columns, in order.
        types: Type by column name; pandas infers the others.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a row has the wrong number of fields, or a field the wrong type.
            The message has the file and the line.
    """
    source: Any = file
    is_csv = file.suffix == ".csv"
    separator = _SEPARATORS[file.suffix]
    if separator == "::":  # pandas is ten times faster with one character
        source, separator = BytesIO(file.read_bytes().replace(b"::", b"\t")), "\t"
    try:
        return pd.read_csv(
            source,
            sep=separator,
            header=None,
            skiprows=1 if is_csv else 0,
            quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
            encoding="utf-8" if is_csv else "latin-1",
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
        required: Columns that must exist and be filled in every row.

    Returns:
        The rows; the index is the line of the file on which each row ends.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not such a table. The message has the file and, for
            a bad row, the line.
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            lines = [(reader.line_num, row) for row in reader if row]
        except (csv.Error, UnicodeDecodeError) as error:
            at = f"{file}, after line {reader.line_num}"
            raise ValueError(f"{at}: must be CSV in UTF-8; got: {error}") from error
    header, rows = lines[0][1] if lines else [], dict(lines[1:])
    if not rows or not set(required) <= set(header):
        wanted = f"a header with {', '.join(required)}, and rows"
        raise ValueError(f"{file} must have {wanted}; got {header}, {len(rows)} rows")
    lengths = pd.Series({line: len(row) for line, row in rows.items()})
    refuse_rows(file, lengths, lengths != len(header), f"{len(header)} fields")
    table = pd.DataFrame(list(rows.values()), columns=header, index=lengths.index)
    for name in required:
        is_empty = table[name].str.strip() == ""
        refuse_rows(file, table[name], is_empty, f"something in column {name}")
    return table


def refuse_rows(
    file: Path, values: "pd.Series[Any]", bad: "pd.Series[bool]", rule: str
) -> None:
    """Raise an error for the first bad row of a table from `read_strings`, if any.

    Args:
        file: That the table was read from.
        values: One column of it, or a value for each row.
        bad: Where the rule is broken.
        rule: What each row must have.

    Raises:
        ValueError: With the file, the line, the rule and the value.

    >>> ages = pd.Series(["7", "x"], index=[2, 3])
    >>> refuse_rows(Path("a.csv"), ages, ages == "x", "an age")
    Traceback (most recent call last):
    ValueError: a.csv, line 3: must have an age; got 'x'
    """
    if bad.any():
        at, got = f"{file}, line {bad.idxmax()}", values[bad].tolist()[0]
        raise ValueError(f"{at}: must have {rule}; got {got!r}")


def _bad_line(file: Path, types: Sequence[str]) -> str:
    """Find the first line that `read_delimited` cannot read: ", line 7," or ""."""
    separator = _SEPARATORS[file.suffix]
    is_csv = separator == ","
    text = file.read_text("utf-8" if is_csv else "latin-1", errors="replace")
    lines = text.splitlines()
    rows = list(csv.reader(lines)) if is_csv else [x.split(separator) for x in lines]
    numbers = [i for i, kind in enumerate(types) if kind != "str"]
    for line, row in enumerate(rows, start=1):
        is_good = len(row) == len(types) and all(_is_number(row[i]) for i in numbers)
        if not is_good and not (is_csv and line == 1):  # its header
            return f", line {line},"
    return ""


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text) is not None
