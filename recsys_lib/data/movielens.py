"""MovieLens: the book's 100k files, and the official releases of any size."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from recsys_lib.data.carried import MOVIELENS, checked_file, data_folder
from recsys_lib.data.dataset import Dataset, build_dataset
from recsys_lib.data.faults import Faults
from recsys_lib.data.interactions import (
    as_integers,
    checked_interactions,
    checked_items,
    read_roles,
)
from recsys_lib.data.tables import read_table
from recsys_lib.data.titles import describe_items

GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
_RATING = ["user", "item", "rating", "timestamp"]
_MOVIE = ["item", "title", "genres"]
_MOVIE_100K = ["item", "title", "released", "video", "url", *GENRES_100K]
_PERSON_100K = ["user", "age", "gender", "occupation", "zip_code"]
_PERSON_1M = ["user", "gender", "age", "occupation", "zip_code"]
_RENAMED = {"movie_id": "item_id", "movie_title": "title"}
_Columns = list[str] | None  # None if the file has a header
_LAYOUTS: list[dict[str, tuple[_Columns, str]]] = [  # ratings, items, perhaps users
    {
        "u.data": (_RATING, "\t"),
        "u.item": (_MOVIE_100K, "|"),
        "u.user": (_PERSON_100K, "|"),
    },
    {
        "ratings.dat": (_RATING, "::"),
        "movies.dat": (_MOVIE, "::"),
        "users.dat": (_PERSON_1M, "::"),
    },
    {"ratings.csv": (None, ","), "movies.csv": (None, ",")},
]
RATING_FILES = [next(iter(layout)) for layout in _LAYOUTS]


def is_movielens(folder: Path) -> bool:
    """Whether a folder holds MovieLens as published, by the names of its files."""
    names = {x.name for x in folder.iterdir()} if folder.is_dir() else set()
    return any(names.issuperset(list(layout)[:2]) for layout in _LAYOUTS)


def load_movielens(
    path: str | Path | None = None, *, skip_bad_rows: bool = False
) -> Dataset:
    """Load MovieLens: the book's 100k files, or an official release of any size.

    Args:
        path: Folder with ``u.data`` (100k), ``ratings.dat`` (1M, 10M) or
            ``ratings.csv`` (20M, 25M, 32M, latest); None for `data_folder`.
        skip_bad_rows: Whether bad rows of a release are left out and counted.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one of the book's files has changed, or a table cannot be read.

    Source: Harper & Konstan, ACM TiiS 5(4), 2015, doi 10.1145/2827872.

    >>> load_movielens().items.text[63]
    'The Shawshank Redemption (1994). Drama.'
    """
    folder = data_folder() if path is None else Path(path)
    if (folder / MOVIELENS[0]).exists():
        files = [checked_file(folder / name) for name in MOVIELENS]
        tables = [pd.read_parquet(file).rename(columns=_RENAMED) for file in files]
        return _dataset("ml-100k", tables, files)
    for layout in _LAYOUTS:
        if (folder / next(iter(layout))).exists():
            return _published(folder, layout, Faults(skip=skip_bad_rows))
    known = ", ".join([MOVIELENS[0], *RATING_FILES])
    raise FileNotFoundError(
        f"{folder} must hold one of {known}; got none: run `make data`"
    )


def _published(
    folder: Path, layout: dict[str, tuple[_Columns, str]], faults: Faults
) -> Dataset:
    """Read the files of a release; all sizes but 100k and 1M have no table of users."""
    files = [folder / name for name in layout]
    files = files[:2] + [file for file in files[2:] if file.exists()]
    (of_ratings, separator), (of_items, by), *of_users = layout.values()
    roles = ("user", "item", "rating", "timestamp")
    if of_items is None:
        items = read_roles(files[1], ("item", "title"), ("metadata",), faults=faults)
    else:
        items = read_table(files[1], names=of_items, separator=by, faults=faults)
        if of_items is _MOVIE_100K:
            items["genres"] = _listed(items[GENRES_100K] == "1")
    items = checked_items(files[1], items, faults=faults)
    faults.settle()
    ratings = read_roles(
        files[0], roles, names=of_ratings, separator=separator, faults=faults
    )
    rows, unit = checked_interactions(
        files[0], ratings, items["item_id"], files[1].name, faults=faults
    )
    faults.settle()
    rows["item_id"], items["item_id"] = (
        as_integers(x["item_id"]) for x in (rows, items)
    )
    rows["user_id"] = as_integers(rows["user_id"])
    users = []
    for file, (names, by_users) in zip(files[2:], of_users, strict=False):
        people = read_table(file, names=names, separator=by_users)
        people["user"] = as_integers(people["user"])
        users.append(people.rename(columns={"user": "user_id"}))
    items = describe_items(items.reset_index(drop=True))
    notes = [
        f"{len(rows):,} interactions of {files[0].name}, times in {unit}",
        faults.listed(),
    ]
    understood = "; ".join(filter(None, notes))
    return build_dataset(
        folder.resolve().name, rows, items, *users, files=files, understood=understood
    )


def _listed(flags: pd.DataFrame) -> "pd.Series[str]":
    """Names of the columns that are true in each row, separated by "|"."""
    separated = pd.Series({name: f"{name}|" for name in flags}, dtype=object)
    return flags.dot(separated)


def _dataset(name: str, tables: list[pd.DataFrame], files: list[Path]) -> Dataset:
    ratings, items, *users = tables
    items["genres"] = _listed(items[GENRES_100K].astype(bool))
    films = build_dataset(name, ratings, describe_items(items), *users, files=files)
    return replace(films, noun="film", nouns="films")
