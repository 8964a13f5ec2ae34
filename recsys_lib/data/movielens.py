"""The data of the book, and of the reader, in one shape: `Dataset`.

Users and items are numbered from 0 without gaps, in the order of their original ids, so
that row i of ``items`` (and of any table of vectors) belongs to code i.
"""

from pathlib import Path

import pandas as pd

from recsys_lib.data import carried, tables
from recsys_lib.data.carried import _CARRIED, SHA256, data_folder
from recsys_lib.data.dataset import Dataset, _assemble
from recsys_lib.data.titles import GENRES_100K

_RATING = ["user_id", "item_id", "rating", "timestamp"]
_MOVIE = ["item_id", "title", "genres"]
_MOVIE_100K = ["item_id", "title", "released", "video", "url", *GENRES_100K]
_PERSON_100K = ["user_id", "age", "gender", "occupation", "zip_code"]
_PERSON_1M = ["user_id", "gender", "age", "occupation", "zip_code"]
_RENAMED = {"movie_id": "item_id", "movie_title": "title"}
_LAYOUTS = [  # the official ones: ratings, items and perhaps users
    {"u.data": _RATING, "u.item": _MOVIE_100K, "u.user": _PERSON_100K},
    {"ratings.dat": _RATING, "movies.dat": _MOVIE, "users.dat": _PERSON_1M},
    {"ratings.csv": _RATING, "movies.csv": _MOVIE},
]
_TYPES = dict.fromkeys(["user_id", "item_id", "timestamp"], "int64") | {
    **{"rating": "float32", "title": "str", "genres": "str", "zip_code": "str"}
}


def load_movielens(path: str | Path | None = None) -> Dataset:
    """Load MovieLens: the carried 100k files, or an official folder of any size.

    Args:
        path: Folder with ``u.data`` (100k), ``ratings.dat`` (1M) or
            ``ratings.csv`` (20M, 25M, 32M, latest); None for `data_folder`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a carried file has another hash, or a table cannot be read.

    Source: Harper & Konstan, ACM TiiS 5(4), 2015, doi 10.1145/2827872.

    >>> load_movielens().items.text[63]
    'The Shawshank Redemption (1994). Drama.'
    """
    folder = data_folder() if path is None else Path(path)
    if (folder / _CARRIED[0]).exists():
        files = [carried.checked_file(folder / name, SHA256[name]) for name in _CARRIED]
        frames = [pd.read_parquet(file).rename(columns=_RENAMED) for file in files]
        return _assemble("ml-100k", frames, files)
    for layout in _LAYOUTS:
        files = [folder / name for name in layout]
        if files[0].exists():
            kinds = zip(files, layout.values(), strict=True)
            frames = [
                tables.read_delimited(file, columns, _TYPES) for file, columns in kinds
            ]
            return _assemble(folder.name, frames, files)
    known = f"{_CARRIED[0]}, u.data, ratings.dat or ratings.csv"
    raise FileNotFoundError(f"{folder} must hold {known}; got none: run `make data`")
