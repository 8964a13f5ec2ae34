"""The data of the book, and of the reader, in one shape: `Dataset`.

Users and items are numbered from 0 without gaps, in the order of their original ids, so
that row i of ``items`` (and of any table of vectors) belongs to code i.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib import tables
from recsys_lib.kept import sha256_of
from recsys_lib.titles import GENRES_100K, describe_items

_CARRIED = [f"MovieLens100k_{x}.parquet.brotli" for x in ("data", "items", "users")]
_REVIEWS = "WomensClothingE-CommerceReviews.parquet.brotli"
SHA256: dict[str, str] = {
    _CARRIED[0]: "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2",
    _CARRIED[1]: "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f",
    _CARRIED[2]: "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f",
    _REVIEWS: "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd",
}
_REVIEW_COLUMNS = [
    *("clothing_id", "age", "title", "text", "rating", "recommended"),
    *("positive_feedback", "division", "department", "class_name"),
]
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


@dataclass(frozen=True, eq=False)
class Dataset:
    """Who met what, and when.

    Attributes:
        name: Such as "ml-100k".
        interactions: Columns user, item (codes), rating, timestamp (seconds since
            1970), in file order.
        items: Row i describes item i: item_id, title, year (missing: NA), genres
            (tuple of str), text (title, year and genres in a sentence each).
        users: Row i describes user i: user_id and what else the source tells.
        sha256: Hash of each file read, by file name.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    sha256: Mapping[str, str]

    @property
    def n_users(self) -> int:
        """Number of users, those without interactions included."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Size of the catalogue, items without interactions included."""
        return len(self.items)


@dataclass(frozen=True, eq=False)
class ClothingReviews:
    """Reviews of garments: one text per row.

    Attributes:
        reviews: Columns item (code), clothing_id, age, title ("" if none), text,
            rating (1-5), recommended (bool), positive_feedback, division,
            department, class_name ("" if unknown). The rating gives ``recommended``
            away: never a feature for predicting it.
        sha256: Hash of the file read, by file name.
    """

    reviews: pd.DataFrame
    sha256: Mapping[str, str]

    @property
    def n_items(self) -> int:
        """Number of garments that have a review."""
        return int(self.reviews["item"].max()) + 1


def data_folder() -> Path:
    """Where the data lie: ``$RECSYS_DATA``, or ``data`` beside the library.

    >>> isinstance(data_folder(), Path)
    True
    """
    default = Path(__file__).resolve().parent.parent / "data"
    return Path(os.environ.get("RECSYS_DATA") or default)


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
        files = [tables.checked_file(folder / name, SHA256[name]) for name in _CARRIED]
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


def load_clothing_reviews(path: str | Path | None = None) -> ClothingReviews:
    """Load the Women's E-Commerce Clothing Reviews, rows without a text left out.

    Args:
        path: Folder of the carried file; None for `data_folder`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it has another hash.

    >>> len(load_clothing_reviews().reviews)
    22641
    """
    folder = data_folder() if path is None else Path(path)
    file = tables.checked_file(folder / _REVIEWS, SHA256[_REVIEWS])
    raw = pd.read_parquet(file).set_axis(_REVIEW_COLUMNS, axis="columns")
    raw = raw[raw["text"].notna()].reset_index(drop=True)
    raw["recommended"] = raw["recommended"].astype(bool)
    named = ["title", "division", "department", "class_name"]
    raw[named] = raw[named].fillna("")
    raw.insert(0, "item", np.unique(raw["clothing_id"], return_inverse=True)[1])
    return ClothingReviews(raw, {_REVIEWS: SHA256[_REVIEWS]})


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


def most_rated(dataset: Dataset, n_items: int) -> Dataset:
    """Keep the items that most users met, and what happened to them.

    Args:
        dataset: Its items keep their order, and its users their codes.
        n_items: How many, in [1, dataset.n_items].

    Raises:
        ValueError: If there are not so many.

    >>> most_rated(load_movielens(), 2).items.title.tolist()
    ['Star Wars', 'Contact']
    """
    if not 1 <= n_items <= dataset.n_items:
        raise ValueError(f"n_items must lie in [1, {dataset.n_items}]; got {n_items}")
    events = dataset.interactions
    met = np.bincount(events["item"], minlength=dataset.n_items)
    kept = np.sort(np.argsort(-met, kind="stable")[:n_items])
    events = events[events["item"].isin(kept)].reset_index(drop=True)
    events["item"] = np.searchsorted(kept, events["item"])
    items = dataset.items.iloc[kept].reset_index(drop=True)
    return replace(dataset, interactions=events, items=items)


def interaction_matrix(
    frame: pd.DataFrame, shape: tuple[int, int], *, values: str = "binary"
) -> csr_matrix:
    """Lay interactions out as a sparse matrix of users by items.

    Args:
        frame: Columns user and item, codes within the shape.
        shape: (n_users, n_items).
        values: "binary" (1 where the two met, however often), or a column of the
            frame, summed where a pair repeats.

    Returns:
        (n_users, n_items) float32.

    Raises:
        ValueError: If a code lies outside the shape.

    >>> pair = pd.DataFrame({"user": [0, 0], "item": [1, 1], "rating": [2.0, 3.0]})
    >>> interaction_matrix(pair, (1, 2), values="rating").toarray().tolist()
    [[0.0, 5.0]]
    """
    codes = [frame["user"].to_numpy(), frame["item"].to_numpy()]
    for name, code, size in zip(("user", "item"), codes, shape, strict=True):
        if len(code) and not 0 <= code.min() <= code.max() < size:
            raise ValueError(
                f"{name} codes must lie in [0, {size}); got {code.min()}..{code.max()}"
            )
    binary = values == "binary"
    data = np.ones(len(frame)) if binary else frame[values].to_numpy(np.float64)
    matrix = csr_matrix((data, (codes[0], codes[1])), shape=shape)
    if binary:
        matrix.data[:] = 1
    return matrix.astype(np.float32)


def _assemble(
    name: str, frames: Sequence[pd.DataFrame], files: Sequence[Path]
) -> Dataset:
    """Number what is in the frames of ratings, items and (perhaps) users."""
    ratings, items = frames[0], frames[1].sort_values("item_id", ignore_index=True)
    users = pd.DataFrame({"user_id": np.unique(ratings["user_id"])})
    if len(frames) > 2:
        users = frames[2].sort_values("user_id", ignore_index=True)
    interactions = pd.DataFrame(
        {
            "user": _codes(ratings["user_id"], users["user_id"]),
            "item": _codes(ratings["item_id"], items["item_id"]),
            "rating": ratings["rating"].to_numpy(np.float32),
            "timestamp": ratings["timestamp"].to_numpy(np.int64),
        }
    )
    hashes = {file.name: sha256_of(file) for file in files}
    return Dataset(name, interactions, describe_items(items), users, hashes)


def _codes(ids: "pd.Series[Any]", ordered: "pd.Series[Any]") -> Any:
    codes = pd.Index(ordered).get_indexer(pd.Index(ids))
    if (codes < 0).any():
        raise ValueError(
            f"every {ids.name} of an interaction must be described; got "
            f"{(codes < 0).sum()} that are not, such as {ids[codes < 0].iloc[0]} "
            f"in row {np.argmax(codes < 0) + 1}"
        )
    return codes
