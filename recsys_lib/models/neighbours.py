"""Popularity and item-to-item neighbours: ItemKNN and SAR."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.history_model import (
    Array,
    ItemToItem,
    check_items,
    checked_interactions,
    item_gram,
)

_DAY_S = 24 * 60 * 60


@dataclass(frozen=True, eq=False)
class Popularity:
    """Every user gets the same scores: ``counts`` (n_items,)."""

    counts: Array

    def score(self, histories: csr_matrix) -> Array:
        """Scores (n, n_items) for n histories, which it ignores but for their number.

        Raises:
            ValueError: If the histories have other items than the model.
        """
        check_items(histories, len(self.counts))
        return np.tile(self.counts, (histories.shape[0], 1))


def fit_popularity(interactions: csr_matrix) -> Popularity:
    """Count how many users met each item.

    Args:
        interactions: (n_users, n_items) sparse; what matters is which are non-zero.

    >>> fit_popularity(csr_matrix([[1, 0], [5, 1]])).counts.tolist()
    [2.0, 1.0]
    """
    met = checked_interactions(interactions) != 0
    return Popularity(np.asarray(met.sum(axis=0), dtype=np.float32).ravel())


def fit_item_knn(
    interactions: csr_matrix, *, k: int = 100, shrink: float = 0.0
) -> ItemToItem:
    """Score an item by its cosine with the items of the history that it is nearest to.

    Args:
        interactions: (n_users, n_items) sparse.
        k: Neighbours kept for each item, ties by lower code.
        shrink: Added to the product of the norms: distrusts items met by few.

    Returns:
        A model with sparse weights, at most k in each column, none on the diagonal.

    Raises:
        ValueError: If k < 1 or shrink < 0, or the matrix is empty or not finite.

    Source: Deshpande & Karypis, TOIS 22(1), 2004, doi 10.1145/963770.963776.

    >>> model = fit_item_knn(csr_matrix([[1, 1, 0], [1, 1, 0], [1, 0, 1]]), k=1)
    >>> (model.weights.toarray() > 0).astype(int).tolist()
    [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    """
    if not (k >= 1 and shrink >= 0):
        raise ValueError(f"k must be >= 1 and shrink >= 0; got k={k}, shrink={shrink}")
    together = item_gram(interactions)
    norms = np.sqrt(together.diagonal())
    bottom = np.outer(norms, norms) + shrink
    similar = np.divide(together, bottom, out=np.zeros_like(together), where=bottom > 0)
    np.fill_diagonal(similar, 0)
    far = np.argsort(-similar, axis=0, kind="stable")[k:]
    np.put_along_axis(similar, far, 0, axis=0)
    return ItemToItem(csr_matrix(similar, dtype=np.float32))


def fit_sar(
    interactions: csr_matrix,
    *,
    measure: Literal["jaccard", "cooccurrence", "lift"] = "jaccard",
    threshold: int = 1,
) -> ItemToItem:
    """Smart adaptive recommendations: how often two items are met by one user.

    Its histories are affinities, from `time_decayed_affinity`.

    Args:
        interactions: (n_users, n_items) sparse; what matters is which are non-zero.
        measure: What the counts of common users are divided by.
        threshold: Pairs with fewer common users count as never met together.

    Raises:
        ValueError: If the measure is unknown, or the matrix is empty or not finite.

    Source: Recommenders (github.com/recommenders-team/recommenders), SAR.

    >>> fit_sar(csr_matrix([[1, 1], [1, 0]])).weights.tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    together = item_gram(checked_interactions(interactions) != 0)
    met = together.diagonal()
    bottoms = {
        "jaccard": met[:, None] + met - together,
        "cooccurrence": np.ones_like(together),
        "lift": np.outer(met, met),
    }
    if measure not in bottoms:
        raise ValueError(f"measure must be in {list(bottoms)}; got {measure!r}")
    bottom = bottoms[measure]
    counted = (together >= threshold) & (bottom > 0)
    similar = np.divide(together, bottom, out=np.zeros_like(together), where=counted)
    return ItemToItem(similar.astype(np.float32))


def time_decayed_affinity(
    interactions: pd.DataFrame,
    shape: tuple[int, int],
    *,
    half_life_days: float = 30.0,
    now: float | None = None,
) -> csr_matrix:
    """Ratings that lose half their weight every half-life.

    Args:
        interactions: Columns user, item, rating, timestamp in seconds.
        shape: (n_users, n_items).
        half_life_days: Of the weight of a rating, > 0.
        now: Seconds at which weights are 1; the latest timestamp by default.

    Returns:
        (n_users, n_items) float32; a pair that repeats is summed.

    Raises:
        ValueError: If the half-life is not positive, a row is later than now, or a
            code lies outside the shape.
    """
    if not half_life_days > 0:
        raise ValueError(f"half_life_days must be positive; got {half_life_days}")
    times = interactions["timestamp"]
    age_s = (times.max() if now is None else now) - times
    if (age_s < 0).any():
        raise ValueError(f"timestamps must not be later than {now}; got {times.max()}")
    affinity = interactions["rating"] * 2.0 ** (-age_s / (half_life_days * _DAY_S))
    weighted = interactions[["user", "item"]].assign(affinity=affinity)
    return interaction_matrix(weighted, shape, values="affinity")
