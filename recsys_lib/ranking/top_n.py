"""The n items with the highest scores, for each query."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class TopN:
    """The n best items of each query, best first.

    Attributes:
        items: (n_queries, n) item codes, -1 in an empty slot.
        scores: (n_queries, n), -inf in an empty slot.
    """

    items: IntArray
    scores: FloatArray


def top_n(scores: npt.ArrayLike, n: int, *, exclude: csr_matrix | None = None) -> TopN:
    """Select the n highest scores of each row; among ties, the lower index first.

    Args:
        scores: (n_queries, n_items); a score of -inf is never selected.
        n: In [1, n_items].
        exclude: (n_queries, n_items) sparse, non-zero for items not to select.

    Returns:
        The best items, and empty slots after them where fewer than n can be selected.

    Raises:
        ValueError: If a score is NaN, n is out of range or the shapes differ.

    >>> top_n([[0.1, 0.9, 0.9]], 2).items.tolist()
    [[1, 2]]
    """
    allowed = _allowed_scores(scores, exclude)
    if not 1 <= n <= allowed.shape[1]:
        raise ValueError(f"n must lie in [1, {allowed.shape[1]} items]; got {n}")
    last = np.partition(allowed, -n, axis=1)[:, [-n]]
    rows, items = np.nonzero(allowed >= last)  # n or, with ties, more in each row
    values = allowed[rows, items]
    order = np.lexsort((-values, rows))  # stable: ties stay in the order of their index
    first = np.searchsorted(rows, np.arange(len(allowed)))
    selected = order[first[:, None] + range(n)]  # (n_queries, n)
    best = values[selected]
    return TopN(np.where(np.isneginf(best), -1, items[selected]), best)


def _allowed_scores(scores: npt.ArrayLike, exclude: csr_matrix | None) -> FloatArray:
    table = np.asarray(scores)
    table = table.astype(np.result_type(table, np.float32), copy=False)
    if table.ndim != 2:
        raise ValueError(f"scores must be (n_queries, n_items); got {table.shape}")
    if np.isnan(table).any():
        raise ValueError(f"scores must not be NaN; got {np.isnan(table).sum()} NaN")
    if exclude is None:
        return table
    if exclude.shape != table.shape:
        raise ValueError(f"exclude must be {table.shape}; got {exclude.shape}")
    allowed = table.copy()
    allowed[exclude.nonzero()] = -np.inf
    return allowed
