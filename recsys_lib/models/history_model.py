"""The contract of models that score interaction histories, and their common checks.

A model is fitted to a sparse matrix of users by items. It scores histories: rows over
the same items, of any user, in the training data or not.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse

from recsys_lib.arrays import Float32Array, Float64Array, FloatArray


class HistoryModel(Protocol):
    """A model that scores every item of the catalogue for each history."""

    def score(self, histories: csr_matrix) -> FloatArray:
        """Score all items for each history; a higher score is better.

        Args:
            histories: (n, n_items) sparse, non-zero where a user interacted with an
                item. Rows may be empty, and n may be 0.

        Returns:
            (n, n_items), finite. The scores of an empty history do not depend on any
            user: they are popularity or zeros.

        Raises:
            ValueError: If the number of columns is not that of the catalogue, or a
                value is not finite.
        """


@dataclass(frozen=True, eq=False)
class ItemToItem:
    """A linear model: the scores are the history times a matrix of item weights.

    Attributes:
        weights: (n_items, n_items), dense or sparse. Row i holds what an interaction
            with item i adds to the score of each item.
    """

    weights: Float32Array | csr_matrix

    def score(self, histories: csr_matrix) -> Float32Array:
        """Score as `HistoryModel.score` does; zeros for an empty history."""
        scores = checked_histories(histories, self.weights.shape[0]) @ self.weights
        dense = scores.toarray() if issparse(scores) else scores
        return np.asarray(dense, dtype=np.float32)


def checked_interactions(interactions: csr_matrix) -> csr_matrix:
    """Return the training matrix in compressed rows.

    Raises:
        ValueError: If it is empty or not finite.
    """
    matrix = csr_matrix(interactions)
    n_bad = _n_not_finite(matrix.data)
    if 0 in matrix.shape or n_bad:
        got = f"got shape {matrix.shape}, {n_bad} not finite"
        raise ValueError(f"interactions must be finite and not empty; {got}")
    return matrix


def checked_histories(histories: csr_matrix, n_items: int) -> csr_matrix:
    """Return the histories in compressed rows.

    Raises:
        ValueError: If they do not have ``n_items`` columns, or are not finite.
    """
    matrix = csr_matrix(histories)
    if matrix.shape[1] != n_items:
        got = f"got {matrix.shape[1]}"
        raise ValueError(f"histories must have {n_items} columns; {got}")
    if n_bad := _n_not_finite(matrix.data):
        raise ValueError(f"histories must be finite; got {n_bad} NaN or infinite")
    return matrix


def checked_features(
    features: npt.ArrayLike, n_items: int, *, name: str = "features"
) -> Float64Array:
    """Return one row of numbers per item, (n_items, n).

    Raises:
        ValueError: If there is not one row per item, or a number is not finite.
    """
    table = np.asarray(features, dtype=np.float64)
    n_bad = _n_not_finite(table)
    if table.ndim != 2 or len(table) != n_items or n_bad:
        got = f"got shape {table.shape}, {n_bad} not finite"
        raise ValueError(f"{name} must be ({n_items}, n) and finite; {got}")
    return table


def item_gram(interactions: csr_matrix) -> Float64Array:
    """Compute the Gram matrix X'X of the items, (n_items, n_items).

    For a matrix of ones, it counts the users that two items have in common.
    """
    matrix = checked_interactions(interactions).astype(np.float64)
    return np.asarray((matrix.T @ matrix).toarray())


def _n_not_finite(values: FloatArray) -> int:
    return int((~np.isfinite(values)).sum())
