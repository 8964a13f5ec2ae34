"""Popularity, and the item-to-item neighbourhood models ItemKNN and SAR."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arrays import Float32Array, Float64Array
from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.history_model import (
    ItemToItem,
    checked_histories,
    checked_interactions,
    item_gram,
)

_DAY_S = 24 * 60 * 60


@dataclass(frozen=True, eq=False)
class Popularity:
    """The same scores for every user.

    Attributes:
        counts: (n_items,) users who interacted with each item.
    """

    counts: Float32Array

    def score(self, histories: csr_matrix) -> Float32Array:
        """Score as `HistoryModel.score` does; the counts for every history."""
        n = checked_histories(histories, len(self.counts)).shape[0]
        return np.tile(self.counts, (n, 1))


def fit_popularity(interactions: csr_matrix) -> Popularity:
    """Count the users who interacted with each item.

    Args:
        interactions: (n_users, n_items) sparse; only which entries are non-zero counts.

    Raises:
        ValueError: If the matrix is empty or not finite.

    >>> fit_popularity(csr_matrix([[1, 0], [5, 1]])).counts.tolist()
    [2.0, 1.0]
    """
    seen = checked_interactions(interactions) != 0
    return Popularity(np.asarray(seen.sum(axis=0), dtype=np.float32).ravel())


def fit_item_knn(
    interactions: csr_matrix, *, k: int = 100, shrink: float = 0.0
) -> ItemToItem:
    """Score an item by its cosine similarity to its neighbours in the history.

    Args:
        interactions: (n_users, n_items) sparse.
        k: Neighbours of each item, >= 1; of equally similar ones the lower code.
        shrink: Added to the denominator of the cosine, >= 0. It lowers the similarity
            of items with few users.

    Returns:
        A model with sparse weights: at most k in each column, none on the diagonal.

    Raises:
        ValueError: If k < 1 or shrink < 0, or the matrix is empty or not finite.

    Source: Deshpande & Karypis, TOIS 22(1), 2004, doi 10.1145/963770.963776.

    >>> model = fit_item_knn(csr_matrix([[1, 1, 0], [1, 1, 0], [1, 0, 1]]), k=1)
    >>> (model.weights.toarray() > 0).astype(int).tolist()
    [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    """
    if not (k >= 1 and shrink >= 0):
        raise ValueError(f"k must be >= 1 and shrink >= 0; got k={k}, shrink={shrink}")
    gram = item_gram(interactions)
    norms = np.sqrt(gram.diagonal())
    denominator = np.outer(norms, norms) + shrink
    similar = _ratio(gram, denominator)
    np.fill_diagonal(similar, 0)
    far = np.argsort(-similar, axis=0, kind="stable")[k:]
    np.put_along_axis(similar, far, 0, axis=0)
    return ItemToItem(csr_matrix(similar, dtype=np.float32))


def fit_sar(interactions: csr_matrix) -> ItemToItem:
    """Smart Adaptive Recommendations (SAR) with Jaccard similarity between items.

    Score histories of `time_decayed_affinity` with it.

    Args:
        interactions: (n_users, n_items) sparse; only which entries are non-zero counts.

    Raises:
        ValueError: If the matrix is empty or not finite.

    Source: Recommenders (github.com/recommenders-team/recommenders), SAR.

    >>> fit_sar(csr_matrix([[1, 1], [1, 0]])).weights.tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    common = item_gram(checked_interactions(interactions) != 0)
    n_users = common.diagonal()
    jaccard = _ratio(common, n_users[:, None] + n_users - common)
    return ItemToItem(jaccard.astype(np.float32))


def time_decayed_affinity(
    interactions: pd.DataFrame, shape: tuple[int, int], *, half_life_days: float = 30.0
) -> csr_matrix:
    """Sum the ratings of each user-item pair, weighted by their age.

    A rating loses half its weight every half-life before the latest timestamp.

    Args:
        interactions: Columns user, item, rating, timestamp in seconds.
        shape: (n_users, n_items).
        half_life_days: In days, > 0.

    Returns:
        (n_users, n_items) float32.

    Raises:
        ValueError: If the half-life is not positive, or a code lies outside the shape.
    """
    if not half_life_days > 0:
        raise ValueError(f"half_life_days must be positive; got {half_life_days}")
    age_s = interactions["timestamp"].max() - interactions["timestamp"]
    affinity = interactions["rating"] * 2.0 ** (-age_s / (half_life_days * _DAY_S))
    weighted = interactions[["user", "item"]].assign(affinity=affinity)
    return interaction_matrix(weighted, shape, values="affinity")


def _ratio(numerator: Float64Array, denominator: Float64Array) -> Float64Array:
    """Divide; 0 where the denominator is 0."""
    zeros = np.zeros_like(numerator)
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)
