"""EASE kept exact under new events, by rank-two updates."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve
from scipy.sparse import csr_matrix, vstack

from recsys_lib.models.history_model import (
    Array,
    check_items,
    checked_interactions,
    item_gram,
)

Bools = npt.NDArray[np.bool_]


class IncrementalEase:
    """EASE that takes in interactions as they come, and equals the refit.

    k users who met something new change X'X by a matrix of rank 2k at most; Woodbury's
    identity then changes the inverse in O(k n_items^2) in place of O(n_items^3).

    Args:
        interactions: (n_users, n_items) sparse; what matters is which are non-zero.
        l2: Ridge penalty, > 0.
        drift_bound: `drift` beyond which it refits, > 0.
        check_every: Updates from one look at the drift to the next, >= 1.

    Attributes:
        met: (n_users, n_items) bool, what was taken in.
        gram: X'X, (n_items, n_items).
        inverse: (X'X + l2 I)^-1, up to rounding, which adds up.
        n_refits: Times the inverse was computed anew.

    Raises:
        ValueError: If an option is out of its range, or the matrix empty or not finite.

    Source: Steck, arXiv 1905.03375; Hager, SIAM Review 31(2), 1989.

    >>> model = IncrementalEase(csr_matrix([[1, 1], [1, 0]]), l2=2.0)
    >>> model.add([1], [1]), model.gram.tolist()
    (2, [[2.0, 2.0], [2.0, 2.0]])
    """

    def __init__(
        self,
        interactions: csr_matrix,
        *,
        l2: float = 500.0,
        drift_bound: float = 1e-10,
        check_every: int = 256,
    ) -> None:
        if not (0 < l2 < np.inf and drift_bound > 0 and check_every >= 1):
            got = f"got {l2}, {drift_bound}, {check_every}"
            raise ValueError(f"l2, drift_bound, check_every must be positive; {got}")
        met = checked_interactions(interactions) != 0
        self.met, self.gram = np.asarray(met.toarray()), item_gram(met)
        self._l2, self._bound, self._every = l2, drift_bound, check_every
        shape = (len(self.gram), 4)
        self._probes = np.random.default_rng(0).choice([-1.0, 1.0], shape)
        self.n_refits = self._n_updates = 0
        self.refit()

    def add(self, users: npt.ArrayLike, items: npt.ArrayLike) -> int:
        """Take in (n,) users and the (n,) items they met; known pairs change nothing.

        Returns:
            Rank of the change; from n_items on it is a refit.

        Raises:
            ValueError: If the two differ in length, or a code lies outside the matrix.
        """
        codes = np.array([users, items], dtype=np.int64)  # (2, n)
        if ((codes < 0) | (codes >= np.array([self.met.shape]).T)).any():
            raise ValueError(f"codes must lie in {self.met.shape}; got {codes.T}")
        fresh = codes[:, ~self.met[tuple(codes)]]
        touched = np.unique(fresh[0])
        before = self.met[touched]
        self.met[tuple(fresh)] = True
        before = before[before.any(axis=1)]  # a new user had none
        if len(touched):
            self._change(self.met[touched], before)
        return len(touched) + len(before)

    def drift(self) -> float:
        """Estimate how far ``(X'X + l2 I) inverse`` is from the unit matrix.

        Returns:
            Root mean square over a few random sums of columns.
        """
        solved = self.inverse @ self._probes
        off = self.gram @ solved + self._l2 * solved - self._probes
        return float(np.sqrt((off**2).mean()))

    def refit(self) -> None:
        """Compute the inverse anew."""
        self.inverse = np.linalg.inv(self.gram + self._l2 * np.eye(len(self.gram)))
        self.n_refits += 1

    def score(self, histories: csr_matrix) -> Array:
        """Scores (n, n_items) of n histories; popularity for an empty one.

        Raises:
            ValueError: If the histories have other items than the model.
        """
        check_items(histories, len(self.gram))
        scores = -(histories @ self.inverse) / self.inverse.diagonal()
        scores += histories.toarray()  # no item speaks for itself
        scores[np.diff(histories.indptr) == 0] = self.gram.diagonal()
        return np.asarray(scores, dtype=np.float32)

    def _change(self, after: Bools, before: Bools) -> None:
        old, new = (csr_matrix(x, dtype=np.float64) for x in (before, after))
        delta = (new.T @ new - old.T @ old).tocoo()
        self.gram[delta.row, delta.col] += delta.data
        rows, signs = (
            vstack([new, old]),
            np.repeat([1.0, -1.0], [len(after), len(before)]),
        )
        self._n_updates += 1
        if len(signs) < len(self.gram):
            moved = rows @ self.inverse  # (rank, n_items)
            small = np.diag(signs) + moved @ rows.T  # (rank, rank)
            self.inverse -= moved.T @ solve(small, moved)
        else:
            self.refit()
        if self._n_updates % self._every == 0 and self.drift() > self._bound:
            self.refit()
