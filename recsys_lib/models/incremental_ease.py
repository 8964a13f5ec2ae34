"""EASE that is updated exactly with each new interaction, without a refit."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve
from scipy.sparse import csr_matrix, vstack

from recsys_lib.arrays import BoolArray, Float32Array
from recsys_lib.models.ease import ridge_inverse
from recsys_lib.models.history_model import (
    checked_histories,
    checked_interactions,
    item_gram,
)

_MAX_DRIFT = 1e-10  # of the inverse; beyond it the model is refitted
_CHECK_EVERY = 256  # updates from one check of the drift to the next


class IncrementalEase:
    """EASE that takes in new interactions and stays equal to a refit.

    When k users get new interactions, the rank of the change of X'X is at most 2k.
    Woodbury's identity then updates the inverse in O(k n_items^2) instead of
    O(n_items^3). Rounding errors add up; the model is refitted when they grow.

    Args:
        interactions: (n_users, n_items) sparse; only which entries are non-zero counts.
        l2: Ridge penalty, > 0.

    Attributes:
        seen: (n_users, n_items) bool, all interactions so far.
        gram: X'X, (n_items, n_items).
        inverse: (X'X + l2 I)^-1.
        n_refits: How often the inverse was computed from scratch.

    Raises:
        ValueError: If l2 is not positive and finite, or the matrix is empty or not
            finite.

    Source: Steck, arXiv 1905.03375; Hager, SIAM Review 31(2), 1989.

    >>> model = IncrementalEase(csr_matrix([[1, 1], [1, 0]]), l2=2.0)
    >>> model.add([1], [1]), model.gram.tolist()
    (2, [[2.0, 2.0], [2.0, 2.0]])
    """

    def __init__(self, interactions: csr_matrix, *, l2: float = 500.0) -> None:
        seen = checked_interactions(interactions) != 0
        self.seen, self.gram = np.asarray(seen.toarray()), item_gram(seen)
        self._l2 = l2
        shape = (len(self.gram), 4)
        self._probes = np.random.default_rng(0).choice([-1.0, 1.0], shape)
        self.n_refits = self._n_updates = 0
        self.refit()

    def add(self, users: npt.ArrayLike, items: npt.ArrayLike) -> int:
        """Add the interactions of (n,) users with (n,) items; known ones are ignored.

        Returns:
            Rank of the change; from n_items on, the model is refitted.

        Raises:
            ValueError: If the two differ in length, or a code lies outside the matrix.
        """
        codes = np.array([users, items], dtype=np.int64)  # (2, n)
        if ((codes < 0) | (codes >= np.array([self.seen.shape]).T)).any():
            raise ValueError(f"codes must lie in {self.seen.shape}; got {codes.T}")
        new = codes[:, ~self.seen[tuple(codes)]]
        changed = np.unique(new[0])
        before = self.seen[changed]
        self.seen[tuple(new)] = True
        before = before[before.any(axis=1)]  # a new user had none
        if len(changed):
            self._update(self.seen[changed], before)
        return len(changed) + len(before)

    def drift(self) -> float:
        """Estimate how far ``(X'X + l2 I) inverse`` is from the identity matrix.

        Returns:
            Root mean square of the difference, over four random sums of its columns.
        """
        solved = self.inverse @ self._probes
        off = self.gram @ solved + self._l2 * solved - self._probes
        return float(np.sqrt((off**2).mean()))

    def refit(self) -> None:
        """Compute the inverse from scratch."""
        self.inverse = ridge_inverse(self.gram, l2=self._l2)
        self.n_refits += 1

    def score(self, histories: csr_matrix) -> Float32Array:
        """Score as `HistoryModel.score` does; popularity for an empty history."""
        histories = checked_histories(histories, len(self.gram))
        scores = -(histories @ self.inverse) / self.inverse.diagonal()
        scores += histories.toarray()  # the weight of an item on itself is 0
        scores[np.diff(histories.indptr) == 0] = self.gram.diagonal()
        return np.asarray(scores, dtype=np.float32)

    def _update(self, after: BoolArray, before: BoolArray) -> None:
        old, new = (csr_matrix(x, dtype=np.float64) for x in (before, after))
        delta = (new.T @ new - old.T @ old).tocoo()
        self.gram[delta.row, delta.col] += delta.data
        rows = vstack([new, old])
        signs = np.repeat([1.0, -1.0], [len(after), len(before)])
        self._n_updates += 1
        if len(signs) < len(self.gram):
            moved = rows @ self.inverse  # (rank, n_items)
            small = np.diag(signs) + moved @ rows.T  # (rank, rank)
            self.inverse -= moved.T @ solve(small, moved)
        else:
            self.refit()
        if self._n_updates % _CHECK_EVERY == 0 and self.drift() > _MAX_DRIFT:
            self.refit()
