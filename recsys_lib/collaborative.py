"""Recommend from who met what: popularity, item neighbours, EASE, SAR.

A model is fitted to a sparse matrix of users by items and scores histories: rows of the
same items, of users it has met or not. All but popularity are linear in the history,
and hold (n_items, n_items) numbers while fitting: a catalogue of thousands, not of
hundreds of thousands.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from recsys_lib.datasets import interaction_matrix

Array = npt.NDArray[np.float32]
_DAY_S = 24 * 60 * 60


class HistoryModel(Protocol):
    """Any model of this module, or of others that score histories."""

    def score(self, histories: csr_matrix) -> npt.NDArray[np.floating[Any]]:
        """Scores (n, n_items) of n histories."""


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


@dataclass(frozen=True, eq=False)
class ItemToItem:
    """A score is a weighted sum over the history: ``weights`` (n_items, n_items).

    Attributes:
        weights: Row i is what having met item i adds to each item's score; dense, or
            sparse where only neighbours count.
    """

    weights: Array | csr_matrix

    def score(self, histories: csr_matrix) -> Array:
        """Scores (n, n_items) for n histories, a sparse matrix (n, n_items).

        Raises:
            ValueError: If the histories have other items than the model.
        """
        check_items(histories, self.weights.shape[0])
        scores = csr_matrix(histories) @ self.weights
        dense = scores.toarray() if issparse(scores) else scores
        return np.asarray(dense, dtype=np.float32)


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


def fit_ease(interactions: csr_matrix, *, l2: float = 500.0) -> ItemToItem:
    """Regress every item on all others in closed form: weights with a zero diagonal.

    Args:
        interactions: (n_users, n_items) sparse.
        l2: Ridge penalty, > 0; choose it on a validation cut of the training data.

    Raises:
        ValueError: If l2 or the matrix is not finite, or l2 <= 0, or it is empty.

    Source: Steck, WWW 2019, arXiv 1905.03375, equation 8.

    >>> fit_ease(csr_matrix([[1, 1], [1, 0]]), l2=2.0).weights.tolist()
    [[0.0, 0.25], [0.3333333432674408, 0.0]]
    """
    return solve_ease(item_gram(interactions), l2=l2)


def fit_temporal_ease(
    interactions: pd.DataFrame,
    shape: tuple[int, int],
    *,
    l2: float = 150.0,
    decay_s: float = 120.0,
    apart: float = 0.2,
) -> ItemToItem:
    """EASE where two items met in one sitting count for more than two met apart.

    A user who met two items t seconds apart counts
    ``apart + (1 - apart) exp(-t / decay_s)`` towards the pair, and 1 in EASE.

    Args:
        interactions: Columns user, item, timestamp in seconds; a pair but once.
        shape: (n_users, n_items).
        l2: Ridge penalty, > 0.
        decay_s: Seconds, > 0.
        apart: What a pair counts however far apart, in [0, 1]; 1 is EASE.

    Raises:
        ValueError: If an option is out of its range, a pair repeats, or a code lies
            outside the shape.

    >>> met = {"user": [0, 0, 0], "item": [0, 1, 2], "timestamp": [0, 5, 9000]}
    >>> near = fit_temporal_ease(pd.DataFrame(met), (1, 3), l2=1.0).weights[0]
    >>> bool(near[1] > near[2] > 0)
    True
    """
    if not (decay_s > 0 and 0 <= apart <= 1):
        got = f"got {decay_s} and {apart}"
        raise ValueError(f"decay_s must be positive, apart lie in [0, 1]; {got}")
    if interactions.duplicated(["user", "item"]).any():
        raise ValueError("a user must meet an item but once; got pairs that repeat")
    gram = apart * item_gram(interaction_matrix(interactions, shape))
    by_user = interactions.sort_values("user", kind="stable")
    ends = np.flatnonzero(np.diff(by_user["user"])) + 1
    columns = (np.split(by_user[x].to_numpy(), ends) for x in ("item", "timestamp"))
    for items, times in zip(*columns, strict=True):
        near = np.exp(-np.abs(times[:, None] - times) / decay_s)
        gram[np.ix_(items, items)] += (1 - apart) * near
    return solve_ease(gram, l2=l2)


def solve_ease(gram: npt.NDArray[np.float64], *, l2: float) -> ItemToItem:
    """EASE of products of items ``gram`` (n_items, n_items): X'X, or what replaces it.

    Raises:
        ValueError: If l2 is not positive and finite.
    """
    if not 0 < l2 < np.inf:
        raise ValueError(f"l2 must be positive and finite; got {l2}")
    return ItemToItem(ease_weights(np.linalg.inv(gram + l2 * np.eye(len(gram)))))


def ease_weights(inverse: npt.NDArray[np.floating[Any]]) -> Array:
    """Weights of EASE from ``inverse = (X'X + l2 I)^-1``: ``-inverse / its diagonal``.

    >>> ease_weights(np.array([[2.0, -1.0], [-1.0, 4.0]])).tolist()
    [[0.0, 0.25], [0.5, 0.0]]
    """
    weights = (-inverse / inverse.diagonal()).astype(np.float32)
    np.fill_diagonal(weights, 0)
    return weights


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


def checked_interactions(interactions: csr_matrix) -> csr_matrix:
    """The matrix in compressed rows.

    Raises:
        ValueError: If it is empty or not finite.
    """
    matrix = csr_matrix(interactions)
    if 0 in matrix.shape or not np.isfinite(matrix.data).all():
        raise ValueError(
            f"interactions must be finite and not empty; got shape {matrix.shape}, "
            f"{int((~np.isfinite(matrix.data)).sum())} not finite"
        )
    return matrix


def item_gram(interactions: csr_matrix) -> npt.NDArray[np.float64]:
    """Products of the items' columns, (n_items, n_items); of ones: common users."""
    matrix = checked_interactions(interactions).astype(np.float64)
    return np.asarray((matrix.T @ matrix).toarray())


def check_items(histories: csr_matrix, n_items: int) -> None:
    """Refuse histories (with a ValueError) of another number of items."""
    if histories.shape[1] != n_items:
        raise ValueError(
            f"histories must have {n_items} columns; got {histories.shape[1]}"
        )
