"""Check a reader's interactions and items, whatever file they were read from."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data.columns import ROLES, find_columns
from recsys_lib.data.tables import read_table, refuse_rows
from recsys_lib.data.timestamps import read_times

_LARGEST_RATING = 1e6


def read_roles(
    file: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    columns: Mapping[str, str] | None = None,
    names: list[str] | None = None,
    separator: str | None = None,
) -> pd.DataFrame:
    """Read the columns of a table that have these roles, under their roles' names.

    Args:
        file: As of `tables.read_table`.
        required: Roles whose columns must be there and filled in every row.
        optional: Roles to read where there is a column.
        columns: Role -> column, where the reader's names are not the usual ones.
        names: Columns of a file without a header.
        separator: Of a file without a header.

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

    table = read_table(file, names=names, separator=separator, wanted=wanted)
    roles = pd.DataFrame({role: table[name] for role, name in found.items()})
    for role in required:
        is_empty = (roles[role].str.strip() == "").to_numpy()
        rule = f"something in column {found[role]}"
        refuse_rows(file, roles[role], is_empty, rule)
    return roles


def checked_interactions(
    file: Path, table: pd.DataFrame, items: "pd.Series[str]", of: str
) -> tuple[pd.DataFrame, str]:
    """Interactions with numbers in place of their times and ratings.

    Args:
        file: That they were read from.
        table: Columns user, item, timestamp and perhaps rating and review, as strings.
        items: Ids of the items that have a description.
        of: The file of the items, for the message.

    Returns:
        Columns user_id, item_id, timestamp (seconds), rating (1 by default), text if
        there are reviews, and how the times were written.

    Raises:
        ValueError: If an item is unknown or a number is wrong. The message has the file
            and the line.
    """
    unknown = ~table["item"].isin(items)
    refuse_rows(file, table["item"], unknown, f"an item of {of}")
    try:
        times = read_times(table["timestamp"])
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    refuse_rows(file, table["timestamp"], times.bad, f"a timestamp in {times.unit}")
    rating = np.ones(len(table))
    if "rating" in table:
        rating = pd.to_numeric(table["rating"], errors="coerce").to_numpy(float)
        wrong = ~(np.abs(rating) < _LARGEST_RATING)
        rule = f"a rating that is a number below {_LARGEST_RATING:g}"
        refuse_rows(file, table["rating"], wrong, rule)
    frame = pd.DataFrame(
        {
            "user_id": table["user"].array,
            "item_id": table["item"].array,
            "timestamp": times.seconds,
            "rating": rating,
        }
    )
    if "review" in table:
        frame["text"] = table["review"].array
    return frame, times.unit


def checked_items(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Items whose ids are their own, with the column item_id.

    Raises:
        ValueError: If an id repeats, with the file and the line.
    """
    ids = table["item"]
    refuse_rows(file, ids, ids.duplicated(), "an item id of its own")
    return table.rename(columns={"item": "item_id", "metadata": "genres"})


def as_integers(ids: "pd.Series[str]") -> "pd.Series[int] | pd.Series[str]":
    """Ids as integers if all of them are written as such, so that 9 is before 10."""
    if ids.str.fullmatch(r"0|[1-9][0-9]{0,17}").all():
        return ids.astype("int64")
    return ids
