"""What a chapter runs on: the book's MovieLens, or the reader's data in its place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data import tables
from recsys_lib.data.dataset import Dataset, _assemble, most_rated
from recsys_lib.data.movielens import load_movielens

SMALLEST = {"users of over ten items": 50, "items": 200, "interactions": 2000}
LARGEST_ITEMS, LARGEST_USERS = 4000, 7000  # tables of users by items fit in memory
_OWN = {"items.csv", "interactions.csv"}
_PUBLISHED = {"u.data", "ratings.dat", "ratings.csv"}


def load_dataset(folder: str | Path = "") -> Dataset:
    """Load the book's own MovieLens, or a folder of the reader's.

    Args:
        folder: Empty for the book's own. Otherwise it holds ``items.csv`` and
            ``interactions.csv``, or MovieLens in one of its official layouts. Of a
            larger set the most rated 4,000 items are kept, and 7,000 users drawn.

    Returns:
        Of the reader's data, the users who met an item.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: Naming file and line where a row is wrong, or if the data are too
            few to measure anything.

    >>> load_dataset().name
    'ml-100k'
    """
    if not str(folder):
        return load_movielens()
    path = Path(folder)
    found = {p.name for p in path.iterdir()} if path.is_dir() else set()
    if found & _OWN:
        return _fitted(load_interactions(path))
    if found & _PUBLISHED:
        return _fitted(load_movielens(path))
    raise FileNotFoundError(
        f"{path} must hold {' and '.join(sorted(_OWN))}, or MovieLens as published "
        f"({', '.join(sorted(_PUBLISHED))}); got {', '.join(sorted(found)[:8]) or None}"
    )


def liked_from(dataset: Dataset) -> float:
    """Rating from which an item counts as liked: the median, 4 stars on MovieLens.

    >>> liked_from(load_dataset())
    4.0
    """
    return float(dataset.interactions["rating"].median())


def lacks(dataset: Dataset) -> frozenset[str]:
    """Name what the reader's data do not have that a part of the book needs.

    Args:
        dataset: The reader's.

    Returns:
        "movielens" (the benchmark's digits are of other data); "metadata" if no two
        items differ in genres or no two in year; and "ratings" if none lies below
        the median, so that nothing is known to be disliked.

    >>> sorted(lacks(load_dataset()))
    ['movielens']
    """
    found = {"movielens"}
    if min(dataset.items[column].nunique() for column in ("year", "genres")) < 2:
        found.add("metadata")
    if not (dataset.interactions["rating"] < liked_from(dataset)).any():
        found.add("ratings")
    return frozenset(found)


def _fitted(dataset: Dataset) -> Dataset:
    """Keep users who met something, and no more than the chapters' tables can hold."""
    if dataset.n_items > LARGEST_ITEMS:
        dataset = most_rated(dataset, LARGEST_ITEMS)
    users = np.unique(dataset.interactions["user"])
    if len(users) > LARGEST_USERS:
        drawn = np.random.default_rng(0).choice(users, LARGEST_USERS, replace=False)
        users = np.sort(drawn)
    events = dataset.interactions
    events = events[events["user"].isin(users)].reset_index(drop=True)
    events["user"] = np.searchsorted(users, events["user"])
    items = events["item"].nunique()
    active = int((events["user"].value_counts() > 10).sum())
    sizes = zip(SMALLEST, (active, items, len(events)), strict=True)
    found = dict(sizes)
    if any(found[name] < least for name, least in SMALLEST.items()):
        wanted = ", ".join(f"{least} {name}" for name, least in SMALLEST.items())
        got = ", ".join(f"{n} {name}" for name, n in found.items())
        raise ValueError(f"{dataset.name} must have {wanted} that met; got {got}")
    kept = dataset.users.iloc[users].reset_index(drop=True)
    return replace(dataset, interactions=events, users=kept)


def load_interactions(folder: str | Path) -> Dataset:
    """Load a reader's own data: ``items.csv`` and ``interactions.csv``, in UTF-8.

    Args:
        folder: Holds ``items.csv`` (item, text, optional metadata: tags parted by
            "|", which become ``genres``) and ``interactions.csv`` (user, item,
            timestamp in seconds, optional rating, 1 by default). Ids are strings.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming file and line, if a column or field is missing, an item
            repeats or is unknown, a number is not one.
    """
    files = [Path(folder) / name for name in ("items.csv", "interactions.csv")]
    items = tables.read_strings(files[0], ["item", "text"])
    events = tables.read_strings(files[1], ["user", "item", "timestamp"])
    ids = items["item"]
    tables.refuse_rows(files[0], ids, ids.duplicated(), "an item id of its own")
    unknown = ~events["item"].isin(ids)
    tables.refuse_rows(files[1], events["item"], unknown, "an item of items.csv")
    for column, default in (("timestamp", ""), ("rating", "1")):
        given = events.get(column, pd.Series(default, index=events.index))
        events[column] = pd.to_numeric(given, errors="coerce")
        small = events[column].abs() < 1e11  # milliseconds since 1970 are not
        tables.refuse_rows(
            files[1], given, ~small, f"a {column} that is a number below 1e11"
        )
    names = {"item": "item_id", "user": "user_id", "metadata": "genres"}
    items, events = items.rename(columns=names), events.rename(columns=names)
    items["title"] = items["text"]
    return _assemble(Path(folder).name, [events, items], files)
