"""Load the book's MovieLens, or the reader's own data instead."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data.dataset import Dataset, build_dataset, most_rated
from recsys_lib.data.movielens import RATING_FILES, load_movielens
from recsys_lib.data.tables import read_strings, refuse_rows
from recsys_lib.data.titles import describe_items

SMALLEST = {
    "users with over 10 interactions": 50,
    "items with interactions": 200,
    "interactions": 2000,
}
LARGEST_ITEMS, LARGEST_USERS = 4000, 7000  # tables of users by items fit in memory
_OWN_FILES = ["interactions.csv", "items.csv"]


def load_dataset(folder: str | Path = "") -> Dataset:
    """Load the book's MovieLens, or a folder of the reader's data.

    Args:
        folder: Empty for the book's MovieLens. Otherwise it holds ``items.csv`` and
            ``interactions.csv``, or an official release of MovieLens. A larger data
            set is reduced to its 4,000 most rated items and 7,000 users at random.

    Returns:
        Of the reader's data, only users with an interaction.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If a row is wrong (the message has its file and line), or there are
            too few data to measure anything.

    >>> load_dataset().name
    'ml-100k'
    """
    if not str(folder):
        return load_movielens()
    path = Path(folder)
    found = {p.name for p in path.iterdir()} if path.is_dir() else set()
    if found.intersection(_OWN_FILES):
        return _fit_to_book(load_interactions(path))
    if found.intersection(RATING_FILES):
        return _fit_to_book(load_movielens(path))
    raise FileNotFoundError(
        f"{path} must hold {' and '.join(_OWN_FILES)}, or MovieLens as published "
        f"({', '.join(RATING_FILES)}); got {', '.join(sorted(found)[:8]) or None}"
    )


def load_interactions(folder: str | Path) -> Dataset:
    """Load a reader's ``items.csv`` and ``interactions.csv``, both in UTF-8.

    Args:
        folder: Holds ``items.csv`` (item, text, optional metadata: tags separated by
            "|", which become ``genres``) and ``interactions.csv`` (user, item,
            timestamp in seconds, optional rating, 1 by default). Ids are strings.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a column or a field is missing, an item repeats or is unknown,
            or a number is invalid. The message has the file and the line.
    """
    files = [Path(folder) / name for name in ("items.csv", "interactions.csv")]
    items = read_strings(files[0], ["item", "text"])
    events = read_strings(files[1], ["user", "item", "timestamp"])
    ids = items["item"]
    refuse_rows(files[0], ids, ids.duplicated(), "an item id of its own")
    unknown = ~events["item"].isin(ids)
    refuse_rows(files[1], events["item"], unknown, "an item of items.csv")
    for column, default in (("timestamp", ""), ("rating", "1")):
        given = events.get(column, pd.Series(default, index=events.index))
        events[column] = pd.to_numeric(given, errors="coerce")
        too_large = ~(events[column].abs() < 1e11)  # as milliseconds since 1970 are
        rule = f"a {column} that is a number below 1e11"
        refuse_rows(files[1], given, too_large, rule)
    names = {"item": "item_id", "user": "user_id", "metadata": "genres"}
    items, events = items.rename(columns=names), events.rename(columns=names)
    items = describe_items(items.assign(title=items["text"]))
    return build_dataset(Path(folder).name, events, items, files=files)


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
        "metadata" if all items have the same genres or the same year;
        "ratings" if no rating is below the median, so that no dislikes are known.

    >>> sorted(lacks(load_dataset()))
    ['movielens']
    """
    found = {"movielens"}
    if min(dataset.items[column].nunique() for column in ("year", "genres")) < 2:
        found.add("metadata")
    if not (dataset.interactions["rating"] < liked_from(dataset)).any():
        found.add("ratings")
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
