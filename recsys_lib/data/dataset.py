"""A data set: interactions with their users and items, and the matrix they form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from recsys_lib.arrays import IntArray
from recsys_lib.artifacts import sha256_of


@dataclass(frozen=True, eq=False)
class Dataset:
    """User-item interactions with their items and users.

    Users and items have codes from 0 without gaps, in the order of their original ids.
    Row i of ``items``, and of any table of item vectors, belongs to code i.

    Attributes:
        name: Such as "ml-100k".
        interactions: Columns user, item (codes), rating, timestamp (seconds since
            1970), in file order; of some sources text: the user's review of the
            item, "" where there is none.
        items: Row i describes item i: item_id, title, year (missing: NA), genres
            (tuple of str), text (title, year and genres as short sentences).
        users: Row i describes user i: user_id and what else the source has.
        sha256: Hash of each file read, by file name.
        understood: How the files were read, in a few sentences.
        threshold: Lowest rating that counts as liked, if the reader says so.
        noun: What an item is called, such as "film".
        nouns: The plural.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    sha256: Mapping[str, str]
    understood: str = ""
    threshold: float | None = None
    noun: str = "item"
    nouns: str = "items"

    @property
    def n_users(self) -> int:
        """Number of users, including those without interactions."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items, including those without interactions."""
        return len(self.items)


def build_dataset(
    name: str,
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    users: pd.DataFrame | None = None,
    *,
    files: Sequence[Path],
    understood: str = "",
) -> Dataset:
    """Make a `Dataset` from tables with original ids.

    Args:
        name: Of the data set.
        interactions: Columns user_id, item_id, rating, timestamp and perhaps text.
        items: The columns of `Dataset.items`.
        users: Column user_id and more; by default the users of the interactions.
        files: The files that the tables were read from; they are hashed.
        understood: As of `Dataset`.

    Raises:
        ValueError: If an interaction has a user or an item without a row.
    """
    items = items.sort_values("item_id", ignore_index=True)
    if users is None:
        users = pd.DataFrame({"user_id": pd.unique(interactions["user_id"])})
    users = users.sort_values("user_id", ignore_index=True)
    coded = pd.DataFrame(
        {
            "user": _codes(interactions["user_id"], users["user_id"]),
            "item": _codes(interactions["item_id"], items["item_id"]),
            "rating": interactions["rating"].to_numpy(np.float32),
            "timestamp": interactions["timestamp"].to_numpy(np.int64),
        }
    )
    if "text" in interactions:
        coded["text"] = interactions["text"].fillna("").astype("str").array
    hashes = {x.name: sha256_of(x) for x in files}
    return Dataset(name, coded, items, users, hashes, understood)


def most_rated(dataset: Dataset, n_items: int, *, before: float = np.inf) -> Dataset:
    """Reduce a data set to the items with the most ratings, and their interactions.

    Args:
        dataset: Its items keep their order, and its users their codes.
        n_items: How many, in [1, dataset.n_items].
        before: Time in seconds; later ratings do not count in the choice of the items,
            but stay if their item is chosen.

    Raises:
        ValueError: If n_items is out of range.

    >>> from recsys_lib.data.movielens import load_movielens
    >>> most_rated(load_movielens(), 2).items.title.tolist()
    ['Star Wars', 'Contact']
    """
    if not 1 <= n_items <= dataset.n_items:
        raise ValueError(f"n_items must lie in [1, {dataset.n_items}]; got {n_items}")
    events = dataset.interactions
    early = events["item"][events["timestamp"] < before]
    n_ratings = np.bincount(early, minlength=dataset.n_items)
    selected = np.sort(np.argsort(-n_ratings, kind="stable")[:n_items])
    events = events[events["item"].isin(selected)].reset_index(drop=True)
    events["item"] = np.searchsorted(selected, events["item"])
    items = dataset.items.iloc[selected].reset_index(drop=True)
    return replace(dataset, interactions=events, items=items)


def interaction_matrix(
    frame: pd.DataFrame, shape: tuple[int, int], *, values: str = "binary"
) -> csr_matrix:
    """Arrange interactions as a sparse matrix of users by items.

    Args:
        frame: Columns user and item, codes within the shape.
        shape: (n_users, n_items).
        values: "binary" (1 for each pair that occurs, however often), or a column of
            the frame, summed where a pair repeats.

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


def positions(ids: "pd.Series[Any]", ordered: "pd.Series[Any]") -> IntArray:
    """Where each id stands among other ids, each of which occurs once.

    Args:
        ids: (n,) strings or integers.
        ordered: (m,) of the same kind.

    Returns:
        (n,) in [0, m); -1 where an id is not among them.

    >>> positions(pd.Series(["b", "z"]), pd.Series(["a", "b"])).tolist()
    [1, -1]
    """
    if ids.dtype == "str" and ordered.dtype == "str":  # without objects of Python
        found = pc.index_in(pa.array(ids), value_set=_whole(pa.array(ordered)))
        codes: IntArray = found.fill_null(-1).to_numpy().astype(np.int64)
    else:
        codes = pd.Index(ordered).get_indexer(pd.Index(ids))
    return codes


def _whole(array: Any) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _codes(ids: "pd.Series[Any]", ordered: "pd.Series[Any]") -> IntArray:
    codes = positions(ids, ordered)
    if (codes < 0).any():
        raise ValueError(
            f"every {ids.name} of an interaction must have a row of its own; got "
            f"{(codes < 0).sum()} without, such as {ids[codes < 0].iloc[0]} "
            f"in row {np.argmax(codes < 0) + 1}"
        )
    return codes
