"""Load the book's MovieLens, or the reader's own data instead."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data.columns import parse_columns
from recsys_lib.data.dataset import Dataset, build_dataset, most_rated
from recsys_lib.data.interactions import (
    checked_interactions,
    checked_items,
    read_roles,
)
from recsys_lib.data.movielens import RATING_FILES, load_movielens
from recsys_lib.data.new_items import find_new_items
from recsys_lib.data.tables import refuse_rows
from recsys_lib.data.titles import describe_items

SMALLEST = {
    "users with over 10 interactions": 50,
    "items with interactions": 200,
    "interactions": 2000,
}
LARGEST_ITEMS, LARGEST_USERS = 4000, 7000  # tables of users by items fit in memory
COLUMNS = "RECSYS_COLUMNS"  # environment: "user=customer item=sku", for `load_dataset`
_OWN_FILES = ["interactions.csv", "items.csv"]
_ITEM_STEMS = ("items", "item", "products", "catalog", "catalogue", "articles", "meta")
_EVENT_STEMS = ("interactions", "inter", "events", "ratings", "reviews", "clicks")
_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")


def load_dataset(folder: str | Path = "") -> Dataset:
    """Load the book's MovieLens, or a folder of the reader's data.

    Args:
        folder: Empty for the book's MovieLens. Otherwise tables as of
            `load_interactions`, or an official release of MovieLens. A larger data set
            is reduced to its 4,000 most rated items and 7,000 users at random.

    Returns:
        Of the reader's data, only users with an interaction.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If a row is wrong (the message has its file and line), or there are
            too few data to measure anything.

    The environment's RECSYS_COLUMNS, such as "user=customer item=sku", names columns
    whose names are not the usual ones.

    >>> load_dataset().name
    'ml-100k'
    """
    if not str(folder):
        return load_movielens()
    path, columns = Path(folder), parse_columns(os.environ.get(COLUMNS, ""))
    found = sorted(path.iterdir()) if path.is_dir() else []
    names = {file.name for file in found}
    if names.intersection(RATING_FILES) and not names.intersection(_OWN_FILES):
        return _fit_to_book(load_movielens(path))
    if path.is_file() or _tables(found, _EVENT_STEMS) or _tables(found, _ITEM_STEMS):
        return _fit_to_book(load_interactions(path, columns=columns))
    raise FileNotFoundError(
        f"{path} must hold {' and '.join(_OWN_FILES)}, or MovieLens as published "
        f"({', '.join(RATING_FILES)}); got {', '.join(sorted(names)[:8]) or None}"
    )


def load_interactions(
    folder: str | Path, *, columns: Mapping[str, str] | None = None
) -> Dataset:
    """Load a reader's tables of items and interactions, or one table that has both.

    Args:
        folder: Holds a table of items (item, text or title, optional metadata: tags
            separated by "|", which become ``genres``), such as ``items.csv``, and one
            of interactions (user, item, timestamp, optional rating, 1 by default), such
            as ``interactions.csv``. Or a single file with all of these columns. Formats
            are those of `tables.read_table`, names of columns the usual ones of
            `columns.ROLES`. Ids are strings.
        columns: Role -> column, where the reader's names are not the usual ones.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a column or a field is missing, an item repeats or is unknown,
            or a number is invalid. The message has the file and the line.
    """
    path = Path(folder)
    if path.is_file():
        files = [path]
    else:
        found = sorted(path.iterdir()) if path.is_dir() else []
        files = [
            _only(path, found, _ITEM_STEMS, "items.csv"),
            _only(path, found, _EVENT_STEMS, "interactions.csv"),
        ]
    of_items, of_events = files[0], files[-1]
    described = ("text", "title", "metadata")
    items = read_roles(of_items, ("item",), described, columns=columns)
    told = next((role for role in ("text", "title") if role in items), "text")
    if told not in items:
        read_roles(of_items, ("item", "text"), columns=columns)  # says what is missing
    is_empty = (items[told].str.strip() == "").to_numpy()
    refuse_rows(of_items, items[told], is_empty, f"something in column {told}")
    if path.is_file():
        items = items.drop_duplicates("item")
    items = checked_items(of_items, items)
    events = read_roles(
        of_events, ("user", "item", "timestamp"), ("rating",), columns=columns
    )
    rows, unit = checked_interactions(
        of_events, events, items["item_id"], of_items.name
    )
    texts = items.get("text", items.get("title"))
    titles = items.get("title", items.get("text"))
    items = describe_items(
        items.assign(title=titles, text=texts).reset_index(drop=True)
    )
    understood = f"{len(rows):,} interactions of {of_events.name}, times in {unit}"
    name = path.name.partition(".")[0] if path.is_file() else path.name
    data = build_dataset(name, rows, items, files=files, understood=understood)
    if not columns:
        return data
    chosen = " ".join(f"{role}={column}" for role, column in sorted(columns.items()))
    sha256 = hashlib.sha256(chosen.encode()).hexdigest()
    return replace(data, sha256={**data.sha256, "COLUMNS": sha256})


def _tables(files: Sequence[Path], stems: tuple[str, ...]) -> list[Path]:
    """The files of a folder that are named like one kind of table."""
    plain = {file: file.name.lower().split(".") for file in files if file.is_file()}
    return [
        file
        for file, (stem, *suffixes) in plain.items()
        if stem in stems and any(f".{x}" in _SUFFIXES for x in suffixes)
    ]


def _only(
    folder: Path, files: Sequence[Path], stems: tuple[str, ...], usual: str
) -> Path:
    """The only table of a kind in a folder."""
    found = _tables(files, stems)
    if len(found) > 1:
        got = ", ".join(file.name for file in found)
        raise ValueError(f"{folder} must hold one table like {usual}; got {got}")
    if not found:
        got = ", ".join(file.name for file in files[:8]) or "nothing"
        raise FileNotFoundError(
            f"{folder} must hold a table named like {usual} ({', '.join(stems)}; "
            f"{', '.join(_SUFFIXES)}, also .gz or .zip); got {got}"
        )
    return found[0]


def liked_from(dataset: Dataset) -> float:
    """Lowest rating that counts as liked: the median, 4 stars on MovieLens.

    >>> liked_from(load_dataset())
    4.0
    """
    return float(dataset.interactions["rating"].median())


def lacks(dataset: Dataset) -> frozenset[str]:
    """Name what a reader's data do not have that some part of the book needs.

    Args:
        dataset: The reader's.

    Returns:
        "movielens", always: the published benchmark values are of other data;
        "reviews", always: labelled reviews are of the book's garments alone;
        "metadata" if all items have the same genres or the same year;
        "ratings" if no rating is below the median, so that no dislikes are known;
        "new-items" if `find_new_items` finds too few.

    >>> sorted(lacks(load_dataset()))
    ['movielens', 'reviews']
    """
    found = {"movielens", "reviews"}
    if min(dataset.items[column].nunique() for column in ("year", "genres")) < 2:
        found.add("metadata")
    if not (dataset.interactions["rating"] < liked_from(dataset)).any():
        found.add("ratings")
    if find_new_items(dataset.interactions, dataset.n_items) is None:
        found.add("new-items")
    return frozenset(found)


def _fit_to_book(dataset: Dataset) -> Dataset:
    """Drop users without interactions, and what the chapters' tables cannot hold."""
    if dataset.n_items > LARGEST_ITEMS:
        dataset = most_rated(dataset, LARGEST_ITEMS)
    events = dataset.interactions
    users = np.unique(events["user"])
    if len(users) > LARGEST_USERS:
        drawn = np.random.default_rng(0).choice(users, LARGEST_USERS, replace=False)
        users = np.sort(drawn)
    events = events[events["user"].isin(users)].reset_index(drop=True)
    events["user"] = np.searchsorted(users, events["user"])
    _check_size(dataset.name, events)
    described = dataset.users.iloc[users].reset_index(drop=True)
    return replace(dataset, interactions=events, users=described)


def _check_size(name: str, events: pd.DataFrame) -> None:
    active = int((events["user"].value_counts() > 10).sum())
    sizes = (active, events["item"].nunique(), len(events))
    if any(n < least for n, least in zip(sizes, SMALLEST.values(), strict=True)):
        wanted = ", ".join(f"{least} {what}" for what, least in SMALLEST.items())
        got = ", ".join(f"{n} {what}" for n, what in zip(sizes, SMALLEST, strict=True))
        raise ValueError(f"{name} must have at least {wanted}; got {got}")
