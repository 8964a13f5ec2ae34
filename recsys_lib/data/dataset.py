"""A data set: interactions, items and users, and the matrix of the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.artifacts import sha256_of
from recsys_lib.data.titles import describe_items


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


def most_rated(dataset: Dataset, n_items: int) -> Dataset:
    """Keep the items that most users met, and what happened to them.

    Args:
        dataset: Its items keep their order, and its users their codes.
        n_items: How many, in [1, dataset.n_items].

    Raises:
        ValueError: If there are not so many.

    >>> from recsys_lib.data.movielens import load_movielens
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
