"""Check a reader's interactions and items, whatever file they were read from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib.arrays import FloatArray
from recsys_lib.data.columns import ROLES, find_columns
from recsys_lib.data.dataset import positions
from recsys_lib.data.faults import Faults
from recsys_lib.data.tables import read_table
from recsys_lib.data.timestamps import read_numbers, read_times

_LARGEST_RATING = 1e6


def read_roles(
    file: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    columns: Mapping[str, str] | None = None,
    names: list[str] | None = None,
    separator: str | None = None,
    faults: Faults | None = None,
) -> pd.DataFrame:
    """Read the columns of a table that have these roles, under their roles' names.

    Args:
        file: As of `tables.read_table`.
        required: Roles whose columns must be there and filled in every row.
        optional: Roles to read where there is a column.
        columns: Role -> column, where the reader's names are not the usual ones.
        names: Columns of a file without a header.
        separator: Of a file without a header.
        faults: Notes the bad rows; by default they are refused.

    Returns:
        A column for each role; ``attrs["columns"]`` has their names in the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column or a field is missing. The message has the file and,
            for a field, the line.
    """
    found: dict[str, str] = {}

    def wanted(header: list[str]) -> list[str]:
        found.update(find_columns(header, (*required, *optional), columns))
        if missing := [role for role in required if role not in found]:
            usual = "; ".join(f"{x}: {', '.join(ROLES[x][:4])}" for x in missing)
            raise ValueError(
                f"{file} must have a column for {', '.join(missing)}; got a header of "
                f"{', '.join(header) or 'nothing'}. Usual names are {usual}. "
                f'COLUMNS="{missing[0]}=<column>" names another.'
            )
        return list(dict.fromkeys(found.values()))

    noted = faults or Faults()
    table = read_table(
        file, names=names, separator=separator, wanted=wanted, faults=noted
    )
    roles = pd.DataFrame({role: table[name] for role, name in found.items()})
    roles.attrs["columns"] = dict(found)
    for role in required:
        is_empty = roles[role].str.strip() == ""
        rule = f"something in column {found[role]}"
        roles = keep_good(file, roles, role, is_empty, rule, noted)
    if found.get("metadata", "").endswith(":token_seq"):
        roles["metadata"] = roles["metadata"].map(_listed)
    if faults is None:
        noted.settle()
    return roles


def keep_good(
    file: Path, table: pd.DataFrame, role: str, bad: Any, rule: str, faults: Faults
) -> pd.DataFrame:
    """The rows of a table that follow a rule; the others are noted.

    Args:
        file: That it was read from.
        table: As of `read_roles`.
        role: The column that the rule is about.
        bad: (n_rows,) bool.
        rule: What each row must have, for the message.
        faults: Notes the bad rows.
    """
    if not np.any(bad):
        return table
    name = table.attrs.get("columns", {}).get(role, role)
    table = table[faults.good(file, table[role].rename(name), bad, rule)]
    if table.empty:
        faults.settle()
        raise ValueError(f"{file} must have a good row; got none, {faults.listed()}")
    return table


def checked_interactions(
    file: Path,
    table: pd.DataFrame,
    items: "pd.Series[str] | None",
    of: str,
    *,
    faults: Faults | None = None,
) -> tuple[pd.DataFrame, str]:
    """Interactions with numbers in place of their times and ratings.

    Args:
        file: That they were read from.
        table: Columns user, item, timestamp and perhaps rating and review, as strings.
        items: Ids of the items that have a description; None for any.
        of: The file of the items, for the message.
        faults: Notes the bad rows; by default they are refused.

    Returns:
        Columns user_id, item_id, timestamp (seconds), rating (1 by default), text if
        there are reviews, and how the times were written.

    Raises:
        ValueError: If an item is unknown or a number is wrong. The message has the file
            and the line.
    """
    noted = faults or Faults()
    if items is not None:
        unknown = positions(table["item"], items) < 0
        table = keep_good(file, table, "item", unknown, f"an item of {of}", noted)
    try:
        times = read_times(table["timestamp"])
    except ValueError as error:
        noted.settle()
        raise ValueError(f"{file}: {error}") from error
    rule, seconds = f"a timestamp in {times.unit}", times.seconds[~times.bad]
    table = keep_good(file, table, "timestamp", times.bad, rule, noted)
    rating: FloatArray = np.ones(len(table))
    if "rating" in table:
        rating = read_numbers(table["rating"])
        wrong = ~(np.abs(rating) < _LARGEST_RATING)
        rule = f"a rating that is a number below {_LARGEST_RATING:g}"
        table = keep_good(file, table, "rating", wrong, rule, noted)
        rating, seconds = rating[~wrong], seconds[~wrong]
    if faults is None:
        noted.settle()
    frame = pd.DataFrame(
        {
            "user_id": table["user"].array,
            "item_id": table["item"].array,
            "timestamp": seconds,
            "rating": rating,
        }
    )
    if "review" in table:
        frame["text"] = table["review"].array
    return frame, times.unit


def checked_items(
    file: Path, table: pd.DataFrame, *, faults: Faults | None = None
) -> pd.DataFrame:
    """Items whose ids are their own, with the column item_id.

    Raises:
        ValueError: If an id repeats, with the file and the line.
    """
    noted, repeats = faults or Faults(), table["item"].duplicated()
    table = keep_good(file, table, "item", repeats, "an item id of its own", noted)
    if faults is None:
        noted.settle()
    return table.rename(columns={"item": "item_id", "metadata": "genres"})


def _listed(sequence: str) -> str:
    """A sequence of RecBole, words or quoted phrases, separated by "|"."""
    quoted = re.findall(r"'([^']*)'", sequence) if sequence.startswith("'") else []
    return "|".join(quoted or sequence.split())


def as_integers(ids: "pd.Series[str]") -> "pd.Series[int] | pd.Series[str]":
    """Ids as integers if all of them are written as such, so that 9 is before 10."""
    if ids.str.fullmatch(r"0|[1-9][0-9]{0,17}").all():
        return ids.astype("int64")
    return ids
