"""Items that are new at the end of a log, and the users who found them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arrays import BoolArray, Float64Array, IntArray
from recsys_lib.data.dataset import interaction_matrix

DAY_S = 86_400
_WINDOWS = (0.1, 0.2, 0.3)  # of the log's span; the first that has enough
_FEWEST_ITEMS, _FEWEST_USERS = 10, 20


@dataclass(frozen=True, eq=False)
class NewItems:
    """Items whose first interaction falls into the last days of a log.

    Attributes:
        days: Length of the window at the end of the log.
        users: (n_users,) codes of users with a past who interacted with a new item.
        histories: (n_users, n_items) interactions before the window.
        items: (n_new,) codes of the new items, ascending.
        relevant: (n_users, n_new) bool, the new items of each user.
        so_far: (n_users, n_new) interactions of each new item before the user's first
            with any: its popularity at that time.
    """

    days: float
    users: IntArray
    histories: csr_matrix
    items: IntArray
    relevant: BoolArray
    so_far: Float64Array


def find_new_items(interactions: pd.DataFrame, n_items: int) -> NewItems | None:
    """Find the items that are new in the last tenth of the log's days, or fifth, or .3.

    Args:
        interactions: Columns user, item and timestamp (seconds).
        n_items: Number of items.

    Returns:
        Of the shortest window with at least 10 new items, and 20 users with a past of
        whom each interacted with a new item and not with all; None if no window has.

    >>> log = {"user": [0, 0], "item": [0, 1], "timestamp": [0, 864000]}
    >>> find_new_items(pd.DataFrame(log), 2) is None
    True
    """
    times = interactions["timestamp"]
    first = interactions.groupby("item")["timestamp"].min()
    span = times.max() - times.min()
    for share in _WINDOWS:
        start = times.max() - share * span
        items = np.sort(first.index[first > start].to_numpy())
        past = interactions[times <= start]
        later = interactions[interactions["item"].isin(items)]
        later = later[later["user"].isin(past["user"])]
        counted = later.groupby("user")["item"].nunique()
        users = np.sort(counted.index[counted < len(items)].to_numpy())
        if len(items) >= _FEWEST_ITEMS and len(users) >= _FEWEST_USERS:
            return _new(interactions, n_items, users, items, start, share * span)
    return None


def _new(
    interactions: pd.DataFrame,
    n_items: int,
    users: IntArray,
    items: IntArray,
    start: float,
    length_s: float,
) -> NewItems:
    """The matrices of one window."""
    past = interactions[interactions["timestamp"] <= start]
    of_new = interactions[interactions["item"].isin(items)]
    asked = of_new[of_new["user"].isin(users)]
    relevant = _coded(asked, users, items).toarray() > 0
    began = asked.groupby("user")["timestamp"].min().to_numpy()  # users ascending
    so_far = np.zeros(relevant.shape)
    for column, item in enumerate(items):
        at = np.sort(of_new["timestamp"][of_new["item"] == item])
        so_far[:, column] = np.searchsorted(at, began)  # strictly earlier ones
    known = past[past["user"].isin(users)]
    histories = _coded(known, users, np.arange(n_items))
    return NewItems(length_s / DAY_S, users, histories, items, relevant, so_far)


def _coded(rows: pd.DataFrame, users: IntArray, items: IntArray) -> csr_matrix:
    codes = {"user": np.searchsorted(users, rows["user"])}
    codes |= {"item": np.searchsorted(items, rows["item"])}
    return interaction_matrix(pd.DataFrame(codes), (len(users), len(items)))
