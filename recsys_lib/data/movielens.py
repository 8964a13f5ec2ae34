"""MovieLens: the book's 100k files, and the official releases of any size."""

from pathlib import Path

import pandas as pd

from recsys_lib.data.carried import MOVIELENS, checked_file, data_folder
from recsys_lib.data.dataset import Dataset, build_dataset
from recsys_lib.data.tables import read_delimited
from recsys_lib.data.titles import describe_items

GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
_RATING = ["user_id", "item_id", "rating", "timestamp"]
_MOVIE = ["item_id", "title", "genres"]
_MOVIE_100K = ["item_id", "title", "released", "video", "url", *GENRES_100K]
_PERSON_100K = ["user_id", "age", "gender", "occupation", "zip_code"]
_PERSON_1M = ["user_id", "gender", "age", "occupation", "zip_code"]
_RENAMED = {"movie_id": "item_id", "movie_title": "title"}
_LAYOUTS = [  # of the official releases: ratings, items and perhaps users
    {"u.data": _RATING, "u.item": _MOVIE_100K, "u.user": _PERSON_100K},
    {"ratings.dat": _RATING, "movies.dat": _MOVIE, "users.dat": _PERSON_1M},
    {"ratings.csv": _RATING, "movies.csv": _MOVIE},
]
RATING_FILES = [next(iter(layout)) for layout in _LAYOUTS]
_TYPES = dict.fromkeys(["user_id", "item_id", "timestamp"], "int64") | {
    **{"rating": "float32", "title": "str", "genres": "str", "zip_code": "str"}
}


def load_movielens(path: str | Path | None = None) -> Dataset:
    """Load MovieLens: the book's 100k files, or an official release of any size.

    Args:
        path: Folder with ``u.data`` (100k), ``ratings.dat`` (1M) or
            ``ratings.csv`` (20M, 25M, 32M, latest); None for `data_folder`.

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
        files = [folder / name for name in layout]
        if files[0].exists():
            columns = zip(files, layout.values(), strict=True)
            tables = [read_delimited(file, names, _TYPES) for file, names in columns]
            return _dataset(folder.name, tables, files)
    known = ", ".join([MOVIELENS[0], *RATING_FILES])
    raise FileNotFoundError(
        f"{folder} must hold one of {known}; got none: run `make data`"
    )


def _dataset(name: str, tables: list[pd.DataFrame], files: list[Path]) -> Dataset:
    ratings, items, *users = tables
    if set(GENRES_100K) <= set(items):
        separated = pd.Series({name: f"{name}|" for name in GENRES_100K}, dtype=object)
        items["genres"] = items[GENRES_100K].astype(bool).dot(separated)
    return build_dataset(name, ratings, describe_items(items), *users, files=files)
