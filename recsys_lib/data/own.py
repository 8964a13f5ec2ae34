"""Load the book's MovieLens, or the reader's own data instead."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.artifacts import cache_files, sha256_of
from recsys_lib.data.catalogue import described, described_by_reviews
from recsys_lib.data.dataset import Dataset, build_dataset
from recsys_lib.data.faults import Faults
from recsys_lib.data.folders import find_tables, is_amazon, usual_names
from recsys_lib.data.interactions import (
    checked_interactions,
    checked_items,
    keep_good,
    read_roles,
)
from recsys_lib.data.movielens import is_movielens, load_movielens
from recsys_lib.data.new_items import find_new_items
from recsys_lib.data.options import Options, read_options
from recsys_lib.data.repeats import count_repeats
from recsys_lib.data.sampling import fit_to
from recsys_lib.data.splits import new_users, returning_users
from recsys_lib.data.stored import store_dataset, stored_dataset
from recsys_lib.data.structure import check_structure
from recsys_lib.data.titles import describe_items
from recsys_lib.data.user_texts import has_writers

FEWEST_USERS = 20  # who return, or are new, at each cut
_PAUSE_S = 3600  # a longer one begins a session
_CUTS = (0.45, 0.6, 0.66, 0.88)  # of the events; where chapter 6 tunes and tests
LARGEST_ITEMS, LARGEST_USERS = 4000, 7000  # tables of users by items fit in memory
LARGE_BYTES = 1 << 26  # files of this size are read once: what is used is cached
_ROLE_OF = {"item_id": "item", "genres": "metadata"}
_EVENT, _OPTIONAL = ("user", "item", "timestamp"), ("rating", "review")
_TEXTS = ("text", "title", "features", "description")
_ABOUT = (*_TEXTS, "metadata", "year")


def load_dataset(folder: str | Path = "", *, whole: bool = False) -> Dataset:
    """Load the book's MovieLens, or a folder of the reader's data.

    Args:
        folder: Empty for the book's MovieLens. Otherwise tables as of
            `load_interactions`, or an official release of MovieLens. A larger data set
            is reduced to 4,000 items and 7,000 users by `sampling.fit_to`.
        whole: Neither reduce it nor ask for the sizes that measurements need.

    Returns:
        Of the reader's data, only users with an interaction.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If an option or a row is wrong (the message has its file and line),
            or there are too few data to measure anything.

    Options are read from the environment by `options.read_options`.

    >>> load_dataset().name
    'ml-100k'
    """
    if not str(folder):
        return load_movielens()
    path, how = Path(folder), read_options()
    if whole:
        return _loaded(path, how)
    files = [path] if path.is_file() else sorted(path.glob("*"))
    files = [file for file in files if file.is_file()]
    if sum(file.stat().st_size for file in files) < LARGE_BYTES:
        return _fit_to_book(_loaded(path, how))

    def read(home: Path) -> None:
        store_dataset(_fit_to_book(_loaded(path, how)), home)

    name, hashes = path.resolve().name, {file.name: sha256_of(file) for file in files}
    return stored_dataset(cache_files("datasets", [name, hashes, how.sha256], read))


def _loaded(path: Path, how: Options) -> Dataset:
    """All of a reader's data, of whatever size."""
    if is_movielens(path):
        data = load_movielens(path, skip_bad_rows=how.skip_bad_rows)
    else:
        data = load_interactions(path, options=how)
    return _as_said(data, how)


def load_interactions(
    folder: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    options: Options | None = None,
) -> Dataset:
    """Load a reader's tables of items and interactions, or one table that has both.

    Args:
        folder: Holds a table of items (item; text, or some of title, features and
            description; optional metadata: tags separated by "|", which become
            ``genres``), such as ``items.csv``, and one of interactions (user, item,
            timestamp, optional rating, 1 by default, optional review, kept as
            ``text``), such as ``interactions.csv``. Or a single file with all of these
            columns. Formats are those of `tables.read_table`, names of files those of
            `folders.find_tables`, names of columns those of `columns.ROLES`. Ids are
            strings. RecBole's atomic files and Amazon's reviews of 2014, 2018 and 2023
            are such tables; of Amazon's metadata, which describe other products, too,
            only products with a review are used, and reviews only of products with a
            text. Where nothing describes the items, their texts are made by
            `catalogue.described_by_reviews`.
        columns: Role -> column, where the reader's names are not the usual ones.
        options: How else to read, with columns that `columns` replace.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a column or a field is missing, an item repeats or is unknown,
            or a number is invalid. The message has the file and the line.
    """
    path, how = Path(folder), options or Options()
    how = replace(how, columns=columns) if columns else how
    faults, files = Faults(skip=how.skip_bad_rows), _files(path)
    items, events = _read(files, how, faults)
    named, liked = _named(items, events), ""
    if how.events:
        events, liked = _liked_events(files[-1], events, how.events)
    left_out = ""
    if items is not None:
        if is_amazon(files[0]):
            items, events, left_out = _of_both(files[0], items, events)
        items = described(items)
    known = None if items is None else items["item_id"]
    rows, unit = checked_interactions(
        files[-1], events, known, files[0].name, faults=faults
    )
    faults.settle()
    if items is None:
        items, rows, left_out = described_by_reviews(rows)
        _refuse_nothing(files[0], items)
    notes = [
        f"{len(rows):,} interactions of {files[-1].name}, times in {unit}",
        *(named, liked, left_out, faults.listed()),
    ]
    data = build_dataset(
        path.name.partition(".")[0] if path.is_file() else path.resolve().name,
        rows,
        describe_items(items.reset_index(drop=True)),
        files=files,
        understood="; ".join(filter(None, notes)),
    )
    threshold = 1.0 if how.events else None
    sha256 = {**data.sha256, **how.sha256}
    return replace(data, sha256=sha256, threshold=threshold)


def _as_said(data: Dataset, how: Options) -> Dataset:
    """Data with the reader's threshold, noun, and way to count repeats."""
    if how.events and data.threshold is None:
        raise ValueError("LIKED: event=... needs a table with a column of events")
    events, repeated = count_repeats(data.interactions, how.repeats)
    data = replace(
        data,
        interactions=events,
        understood="; ".join(filter(None, [data.understood, repeated])),
        noun=how.noun,
        nouns=how.nouns,
        sha256={**data.sha256, **how.sha256},
    )
    if how.threshold is None:
        return data
    liked = events["rating"] >= how.threshold
    if liked.all() or not liked.any():
        low, high = events["rating"].min(), events["rating"].max()
        raise ValueError(
            f"LIKED: {how.given['LIKED']} must hold for some interactions and not for "
            f"others; got ratings from {low:g} to {high:g}"
        )
    said = f"liked: ratings of at least {how.threshold:g}, {liked.sum():,} interactions"
    return replace(
        data, threshold=how.threshold, understood=f"{data.understood}; {said}"
    )


def _liked_events(
    file: Path, events: pd.DataFrame, liked: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """Interactions rated 1 where their user has such an event with the item, else 0."""
    known = events["event"].value_counts()
    if unknown := [x for x in liked if x not in known.index]:
        found = ", ".join(map(str, known.index[:8]))
        raise ValueError(
            f"LIKED: {file} must have the event {unknown[0]}; got {found} in column "
            f"{events.attrs['columns']['event']}"
        )
    is_liked = events["event"].isin(liked)
    pair = pd.MultiIndex.from_frame(events[["user", "item"]])
    rating = pd.Series(pair.isin(pair[is_liked.to_numpy()]), index=events.index)
    said = f"liked: pairs with an event {' or '.join(liked)}, {is_liked.sum():,} events"
    return events.assign(rating=rating.map({True: "1", False: "0"})), said


def _files(path: Path) -> list[Path]:
    """The reader's tables: of items and of interactions, or one that has both."""
    if path.is_file():
        return [path]
    if found := find_tables(path):
        return found
    there = sorted(x.name for x in path.iterdir()) if path.is_dir() else []
    raise FileNotFoundError(
        f"{path} must hold interactions.csv and items.csv, or tables named like these "
        f"({usual_names()}), or MovieLens as published (u.data, ratings.dat, "
        f"ratings.csv and its other files); got {', '.join(there[:8]) or None}"
    )


def _read(
    files: Sequence[Path], how: Options, faults: Faults
) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """The tables of items and of interactions; None if nothing describes items."""
    columns = how.columns
    needed = (*_EVENT, "event") if how.events else _EVENT
    if len(files) == 2:
        items = read_roles(files[0], ("item",), _ABOUT, columns=columns, faults=faults)
        if not set(items).intersection(_TEXTS):
            read_roles(files[0], ("item", "text"), columns=columns)  # says so
        items = _checked(files[0], items, faults)
        events = read_roles(files[1], needed, _OPTIONAL, columns=columns, faults=faults)
        return items, events
    both = read_roles(
        files[0], needed, (*_OPTIONAL, *_ABOUT), columns=columns, faults=faults
    )
    events, items = _divided(both)
    if set(items).intersection(_TEXTS):
        return _checked(files[0], items, faults), events
    if "review" in events:
        return None, events
    got = ", ".join(map(str, both))
    raise ValueError(
        f"{files[0]} must have a title, a text or a review of each item, or stand "
        f"beside a table named like items.csv; got columns for {got}"
    )


def _divided(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and items of a table that has both.

    A text or title describes the item where most rows of an item repeat the first of
    the item; otherwise it is the user's, and a text is a review.
    """
    again = table["item"].duplicated()
    items, repeated = table[~again], table[again]
    users = {x for x in _TEXTS if x in table and not _describes(x, items, repeated)}
    about = [x for x in _ABOUT if x in table and x not in users]
    if "review" in table and any(table[x].equals(table["review"]) for x in about):
        table = table.drop(columns="review")
    events = [x for x in (*_EVENT, "event", *_OPTIONAL) if x in table]
    return table[events], items[["item", *about]]


def _describes(role: str, items: pd.DataFrame, repeated: pd.DataFrame) -> bool:
    """Whether texts in the first rows of items are repeated in their other rows."""
    filled = repeated[repeated[role].str.strip() != ""]
    if filled.empty:
        return bool((items[role].str.strip() != "").all())
    first = filled["item"].map(items.set_index("item")[role])
    return float(np.mean(filled[role].array == first.array)) >= 0.5


def _checked(file: Path, items: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    """Items with an id of their own and a text; Amazon's without one are left out."""
    told = ["text"] if "text" in items else [x for x in _TEXTS if x in items]
    empty = items[told].apply(lambda x: x.str.strip() == "").all(axis=1).to_numpy()
    if is_amazon(file):
        items = items[~empty & ~items["item"].duplicated()]
        _refuse_nothing(file, items)
    else:
        rule = f"something in column {' or '.join(told)}"
        items = keep_good(file, items, told[0], empty, rule, faults)
    items = checked_items(file, items, faults=faults)
    faults.settle()
    return items


def _of_both(
    file: Path, items: pd.DataFrame, events: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Reviewed products of Amazon's metadata, and the reviews of these products."""
    items = items[items["item_id"].isin(events["item"])]
    _refuse_nothing(file, items)
    rest = events[events["item"].isin(items["item_id"])]
    n = len(events) - len(rest)
    return items, rest, f"{n:,} interactions with items without a text left out"


def _refuse_nothing(file: Path, items: pd.DataFrame) -> None:
    if items.empty:
        raise ValueError(
            f"{file} must describe items that have interactions; got none that does: "
            "are the metadata of these reviews there, with the same ids?"
        )


def _named(*tables: pd.DataFrame | None) -> str:
    """The columns that were read, for `Dataset.understood`."""
    found: dict[str, str] = {}
    for table in tables:
        if table is not None:
            roles = [_ROLE_OF.get(x, x) for x in map(str, table)]
            columns = table.attrs.get("columns", {})
            found |= {role: columns.get(role, role) for role in roles}
    pairs = [x if x == column else f"{x}={column}" for x, column in found.items()]
    return f"columns {', '.join(pairs)}"


def liked_from(dataset: Dataset) -> float:
    """Lowest rating that counts as liked: as the reader says, otherwise the median.

    >>> liked_from(load_dataset())
    4.0
    """
    if dataset.threshold is not None:
        return dataset.threshold
    return float(dataset.interactions["rating"].median())


def lacks(dataset: Dataset) -> frozenset[str]:
    """Name what a reader's data do not have that some part of the book needs.

    Args:
        dataset: The reader's.

    Returns:
        "movielens", always: the published benchmark values are of other data;
        "labels", always: labelled reviews are of the book's garments alone;
        "queries", always: queries in two languages are for films of MovieLens alone;
        "metadata" if all items have the same genres or the same year;
        "ratings" if no rating is below `liked_from`, so that no dislikes are known;
        "times" if fewer than 20 users come back after a cut in time and an hour;
        "new-users" if fewer than 20 come after a cut in time;
        "reviews" if fewer than 20 users wrote texts of their own;
        "new-items" if `find_new_items` finds too few.

    >>> sorted(lacks(load_dataset()))
    ['labels', 'movielens', 'queries', 'reviews']
    """
    found, events = {"movielens", "labels", "queries"}, dataset.interactions
    if min(dataset.items[column].nunique() for column in ("year", "genres")) < 2:
        found.add("metadata")
    if not (events["rating"] < liked_from(dataset)).any():
        found.add("ratings")
    back = (returning_users(events, share, pause_s=_PAUSE_S) for share in _CUTS)
    if min(back) < FEWEST_USERS:
        found.add("times")
    if min(new_users(events, share) for share in _CUTS) < FEWEST_USERS:
        found.add("new-users")
    if not has_writers(events):
        found.add("reviews")
    if find_new_items(events, dataset.n_items) is None:
        found.add("new-items")
    return frozenset(found)


def _fit_to_book(dataset: Dataset) -> Dataset:
    """Drop users without interactions, and what the chapters' tables cannot hold."""
    drawn = fit_to(dataset, n_items=LARGEST_ITEMS, n_users=LARGEST_USERS)
    try:
        check_structure(drawn)
    except ValueError as error:
        if drawn.n_items == dataset.n_items and drawn.n_users < LARGEST_USERS:
            raise
        raise ValueError(
            f"{error}, in {drawn.n_items:,} of {dataset.n_items:,} items and "
            f"{drawn.n_users:,} of {dataset.n_users:,} users, as many as the book's "
            f"tables hold; a denser part of the data may do, such as one category"
        ) from error
    return drawn
