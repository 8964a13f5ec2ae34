"""Recommend from who met what: popularity, item neighbours, EASE, SAR.

A model is fitted to a sparse matrix of users by items and scores histories: rows of the
same items, of users it has met or not. All but popularity are linear in the history,
and hold (n_items, n_items) numbers while fitting: a catalogue of thousands, not of
hundreds of thousands.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse

Array = npt.NDArray[np.float32]


class HistoryModel(Protocol):
    """Any model of this module, or of others that score histories."""

    def score(self, histories: csr_matrix) -> npt.NDArray[np.floating[Any]]:
        """Scores (n, n_items) of n histories."""


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
