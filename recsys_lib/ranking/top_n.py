"""The n items of the highest score, for each user."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.ranking.similarity import Floats, Ints, _float_table


@dataclass(frozen=True, eq=False)
class TopN:
    """The n best items of each query, best first.

    Attributes:
        items: (n_queries, n) item codes, -1 in an empty slot.
        scores: (n_queries, n), -inf in an empty slot.
    """

    items: Ints
    scores: Floats


def top_n(scores: npt.ArrayLike, n: int, *, exclude: csr_matrix | None = None) -> TopN:
    """Pick the n highest scores of each row; of equal ones the lower index first.

    Args:
        scores: (n_queries, n_items); -inf is never picked.
        n: At most the number of items.
        exclude: (n_queries, n_items) sparse, non-zero where not to be picked.

    Returns:
        Slots that nothing is left for hold item -1 with score -inf.

    Raises:
        ValueError: If a score is NaN, or n or the shape of ``exclude`` does not fit.

    >>> top_n([[0.1, 0.9, 0.9]], 2).items.tolist()
    [[1, 2]]
    """
    allowed = _allowed_scores(scores, exclude)
    _check_n(n, allowed.shape[1])
    last = np.partition(allowed, -n, axis=1)[:, [-n]]
    rows, items = np.nonzero(allowed >= last)  # n or, with ties, more in each row
    values = allowed[rows, items]
    order = np.lexsort((-values, rows))  # stable: ties keep the order of their index
    picked = order[np.searchsorted(rows, np.arange(len(allowed)))[:, None] + range(n)]
    best = values[picked]  # (n_queries, n)
    return TopN(np.where(np.isneginf(best), -1, items[picked]), best)


def _allowed_scores(scores: npt.ArrayLike, exclude: csr_matrix | None) -> Floats:
    table = _float_table(scores)
    if np.isnan(table).any():
        raise ValueError(f"scores must not be NaN; got {np.isnan(table).sum()} NaN")
    if exclude is None:
        return table
    if exclude.shape != table.shape:
        raise ValueError(f"exclude must be {table.shape}; got {exclude.shape}")
    allowed = table.copy()
    allowed[exclude.nonzero()] = -np.inf
    return allowed


def _check_n(n: int, n_items: int) -> None:
    if not 1 <= n <= n_items:
        raise ValueError(f"n must lie in [1, {n_items} items]; got {n}")
