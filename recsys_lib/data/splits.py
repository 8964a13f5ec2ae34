"""Split interactions into training and test data: at random, by time, by items.

Every row keeps its values and its index, so that it can be found in the original frame.
For validation data, split ``train`` again.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arrays import BoolArray, IntArray
from recsys_lib.data.dataset import interaction_matrix


@dataclass(frozen=True, eq=False)
class Split:
    """The two parts of a frame of interactions, both in its row order."""

    train: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True, eq=False)
class HeldOutItems:
    """Items without interactions in training, and the users who interacted with them.

    Attributes:
        train: Interactions with the other items.
        histories: (n_users, n_items) of `train`; the columns of `items` are empty.
        items: (n_held_out,) codes of the items held out, ascending.
        relevant: (n_users, n_held_out) bool, true where the user interacted with the
            item.
    """

    train: pd.DataFrame
    histories: csr_matrix
    items: IntArray
    relevant: BoolArray


@dataclass(frozen=True, eq=False)
class FutureTest:
    """The past for training, and what its users interact with later.

    The columns of the matrices are the items of `train` alone.

    Attributes:
        train: Interactions before the cut.
        items: (n_items,) codes of the items of `train`, ascending.
        histories: (n_users, n_items) of `train`. A value is the rank of the interaction
            in the user's time, from 1.
        wanted: (n_users, n_items) interactions after the cut, of users with a history.
        first: (n_users, n_items) the earliest of each row of `wanted`.
        divided: Share of `wanted` in the sitting that the cut divides, in [0, 1].
        first_sitting: Share of `wanted` in the user's first sitting there, in [0, 1].
    """

    train: pd.DataFrame
    items: IntArray
    histories: csr_matrix
    wanted: csr_matrix
    first: csr_matrix
    divided: float
    first_sitting: float


def stratified_split(
    interactions: pd.DataFrame,
    *,
    ratio: float = 0.75,
    by: Literal["item", "user"] = "item",
    seed: int = 42,
) -> Split:
    """Draw the same share of each item's (or user's) rows for training.

    Args:
        interactions: Columns item and user. The draw depends on the order of the rows.
        ratio: Share of each stratum in training, in (0, 1). The number of rows is
            rounded half to even: above .5, a stratum of one row is all training.
        by: Column that defines the strata.
        seed: On MovieLens 100k, 42 with by="item" is the recommenders benchmark.

    Raises:
        ValueError: If ratio lies outside (0, 1) or a part is empty.

    Source: Recommenders (github.com/recommenders-team/recommenders),
    ``python_stratified_split``.

    >>> frame = pd.DataFrame({"user": range(8), "item": [0] * 4 + [1] * 4})
    >>> stratified_split(frame).test["item"].tolist()
    [0, 1]
    """
    _check_share("ratio", ratio)
    # the generator of the benchmark, which NumPy still has to reproduce old results
    draws = np.random.RandomState(seed).random_sample(len(interactions))
    strata = interactions[by]
    rank = pd.Series(draws, index=strata.index).groupby(strata).rank("first")
    size = strata.groupby(strata).transform("size")
    return _divide(interactions, rank.le((ratio * size).round()))


def temporal_split(interactions: pd.DataFrame, *, ratio: float = 0.75) -> Split:
    """Train on the past, test on strictly later interactions.

    Args:
        interactions: Column timestamp.
        ratio: Share of the rows in training, in (0, 1). It may come out smaller: all
            rows with the timestamp at the cut go to the test data.

    Raises:
        ValueError: If ratio lies outside (0, 1) or a part is empty.

    >>> frame = pd.DataFrame({"timestamp": [30, 10, 20, 40]})
    >>> temporal_split(frame, ratio=0.5).train["timestamp"].tolist()
    [10, 20]
    """
    _check_share("ratio", ratio)
    times = interactions["timestamp"]
    cut = np.sort(times)[int(ratio * len(times)) :][:1]
    return _divide(interactions, times.lt(cut[0]) if len(cut) else times.notna())


def future_test(
    interactions: pd.DataFrame,
    n_users: int,
    *,
    ratio: float = 0.75,
    pause_s: float = 3600,
) -> FutureTest:
    """Split all users at one time; test those with a past, on items of the past.

    Args:
        interactions: Columns user, item and timestamp (seconds), each pair once.
        n_users: Rows of the matrices.
        ratio: Share of the rows before the cut, as in `temporal_split`.
        pause_s: A longer pause between two interactions of a user ends a sitting.

    Raises:
        ValueError: As `temporal_split` does, or if no user with a past interacts with
            an item of the past after the cut.

    >>> log = {"user": [0, 0, 1, 0], "item": [5, 7, 6, 6], "timestamp": [0, 9, 10, 11]}
    >>> test = future_test(pd.DataFrame(log), 2, ratio=0.8)
    >>> test.items[test.wanted.indices].tolist()
    [6]
    """
    split = temporal_split(interactions, ratio=ratio)
    known = split.test["user"].isin(split.train["user"])
    known &= split.test["item"].isin(split.train["item"])
    if not known.any():
        got = f"got {len(split.test)} rows after the cut"
        raise ValueError(f"a user with a past must want an item of the past; {got}")
    past, test = (
        x.sort_values("timestamp", kind="stable")
        for x in (split.train, split.test[known])
    )
    items = np.unique(past["item"])
    ordered = interactions.sort_values("timestamp", kind="stable")
    breaks = ordered.groupby("user")["timestamp"].diff().gt(pause_s)
    sitting = breaks.groupby(ordered["user"]).cumsum()
    of_test, user = sitting[test.index], test["user"]
    ended = user.map(sitting[past.index].groupby(past["user"]).max())

    def matrix(rows: pd.DataFrame, values: npt.ArrayLike) -> csr_matrix:
        columns = np.searchsorted(items, rows["item"])
        return csr_matrix((values, (rows["user"], columns)), (n_users, len(items)))

    earliest = test.drop_duplicates("user")
    return FutureTest(
        split.train,
        items,
        matrix(past, past.groupby("user").cumcount() + 1.0),
        matrix(test, np.ones(len(test))),
        matrix(earliest, np.ones(len(earliest))),
        float((of_test == ended).mean()),
        float((of_test == of_test.groupby(user).transform("min")).mean()),
    )


def cold_item_split(
    interactions: pd.DataFrame, *, fraction: float = 0.2, seed: int = 0
) -> Split:
    """Hold out whole items: no item of the test data has a row in training.

    Args:
        interactions: Column item.
        fraction: Share of the items to hold out with all their rows, in (0, 1).
        seed: Of the draw of items.

    Raises:
        ValueError: If fraction lies outside (0, 1) or a part is empty.

    >>> frame = pd.DataFrame({"item": [0, 0, 1, 1]})
    >>> cold_item_split(frame, fraction=0.5).test["item"].nunique()
    1
    """
    _check_share("fraction", fraction)
    items = np.unique(interactions["item"])
    n_held_out = round(fraction * len(items))
    held_out = np.random.default_rng(seed).permutation(items)[:n_held_out]
    return _divide(interactions, ~interactions["item"].isin(held_out))


def hold_out_items(
    interactions: pd.DataFrame,
    shape: tuple[int, int],
    *,
    fraction: float = 0.2,
    seed: int = 0,
) -> HeldOutItems:
    """Hold out whole items by `cold_item_split`, as matrices that models take.

    Args:
        interactions: Columns user and item.
        shape: (n_users, n_items).
        fraction: Share of the items to hold out, in (0, 1).
        seed: Of the draw of items.

    Raises:
        ValueError: As `cold_item_split` and `interaction_matrix` do.

    >>> frame = pd.DataFrame({"user": [0, 1, 1], "item": [0, 0, 1]})
    >>> hold_out_items(frame, (2, 2), fraction=0.5).relevant.shape
    (2, 1)
    """
    split = cold_item_split(interactions, fraction=fraction, seed=seed)
    items = np.unique(split.test["item"])
    relevant = interaction_matrix(split.test, shape)[:, items].toarray() > 0
    histories = interaction_matrix(split.train, shape)
    return HeldOutItems(split.train, histories, items, relevant)


def returning_users(
    interactions: pd.DataFrame, share: float, *, pause_s: float = 0
) -> int:
    """Count users who interact before a cut in time, and later with items of then.

    Args:
        interactions: Columns user, item and timestamp (seconds).
        share: Of the rows before the cut, as in `temporal_split`.
        pause_s: Only users count who interact after a longer pause after the cut.

    >>> log = {"user": [0, 1, 0, 1], "item": [5, 6, 5, 7], "timestamp": [0, 1, 2, 3]}
    >>> returning_users(pd.DataFrame(log), 0.5)
    1
    """
    early, late = _around(interactions, share)
    ordered = interactions.sort_values("timestamp", kind="stable")
    pauses = ordered.groupby("user")["timestamp"].diff()
    is_late = ordered["timestamp"] > early["timestamp"].max()
    begins = ordered["user"][is_late & (pauses > pause_s)]
    known = late["user"][late["user"].isin(early["user"])]
    return len(np.intersect1d(known, begins))


def new_users(interactions: pd.DataFrame, share: float) -> int:
    """Count users who come after a cut in time, and interact with items of before.

    The arguments are those of `returning_users`.

    >>> log = {"user": [0, 1, 2], "item": [5, 5, 7], "timestamp": [0, 1, 2]}
    >>> new_users(pd.DataFrame(log), 0.3)
    0
    >>> new_users(pd.DataFrame(log), 0.4)
    1
    """
    early, late = _around(interactions, share)
    return int(late["user"][~late["user"].isin(early["user"])].nunique())


def _around(
    interactions: pd.DataFrame, share: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows before a cut in time, and later rows whose items occur before it."""
    _check_share("share", share)
    times = interactions["timestamp"]
    is_early = times < np.sort(times)[int(share * len(times))]
    early, late = interactions[is_early], interactions[~is_early]
    return early, late[late["item"].isin(early["item"])]


def _divide(interactions: pd.DataFrame, in_train: "pd.Series[bool]") -> Split:
    if in_train.all() or not in_train.any():
        got = f"{in_train.sum()} of {len(in_train)} in train"
        raise ValueError(f"both parts must have rows; got {got}")
    return Split(interactions[in_train], interactions[~in_train])


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"{name} must lie in (0, 1); got {share}")
