"""Implicit-feedback matrix factorisation by alternating least squares (iALS).

Every item has a vector. The vector of a user is computed from the history, so that any
history can be scored, also that of a user who is not in the training data.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recsys_lib.arrays import Float32Array, Float64Array
from recsys_lib.models.history_model import checked_histories, checked_interactions

_ROWS_PER_BLOCK = 256  # rows solved together, few enough to fit in the cache
_INIT_DEVIATION = 0.1  # of a vector's length at the start; Rendle et al. 2022, 4.2


@dataclass(frozen=True)
class IalsLoss:
    """The loss of iALS.

    It is the squared error from 1, summed over the observed user-item pairs, plus
    ``unobserved`` times the squared score, summed over all pairs, plus a ridge penalty.

    Attributes:
        unobserved: Weight of the second sum, > 0.
        l2: Ridge penalty, > 0, of each vector in proportion to the weight of its pairs.

    Raises:
        ValueError: If one of them is not positive and finite.
    """

    unobserved: float = 0.5
    l2: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.unobserved < np.inf and 0 < self.l2 < np.inf):
            got = f"got {self.unobserved} and {self.l2}"
            raise ValueError(f"unobserved and l2 must be positive and finite; {got}")

    def minimize(self, observed: csr_matrix, factors: Float64Array) -> Float64Array:
        """Compute the vectors of the rows, given those of the columns.

        Args:
            observed: (n, n_columns) of ones.
            factors: (n_columns, dim), vectors of the columns.

        Returns:
            (n, dim), the vectors of least loss.
        """
        everywhere = self.unobserved * factors.T @ factors  # (dim, dim)
        weight = np.diff(observed.indptr) + self.unobserved * len(factors)
        identity = np.eye(factors.shape[1])
        best = np.empty((observed.shape[0], factors.shape[1]))
        for start in range(0, len(best), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            rows = observed[block]
            of_rows = [factors[x] for x in np.split(rows.indices, rows.indptr[1:-1])]
            left = everywhere + np.stack([x.T @ x for x in of_rows])
            left += self.l2 * weight[block, None, None] * identity
            right = (rows @ factors)[:, :, None]  # (n_rows, dim, 1)
            best[block] = np.linalg.solve(left, right)[:, :, 0]
        return best


@dataclass(frozen=True, eq=False)
class FactorModel:
    """A score is the inner product of an item's vector and a user's vector.

    Attributes:
        items: (n_items, dim), the vectors of the items.
        loss: The loss that the vector of a history minimises.
    """

    items: Float32Array
    loss: IalsLoss

    def fold_in(self, histories: csr_matrix) -> Float32Array:
        """Compute the user vectors (n, dim) of n histories; zeros for an empty one.

        Raises:
            ValueError: As `HistoryModel.score` does.
        """
        checked = checked_histories(histories, len(self.items))
        observed = (checked != 0).astype(np.float64)
        factors = self.items.astype(np.float64)
        return self.loss.minimize(observed, factors).astype(np.float32)

    def score(self, histories: csr_matrix) -> Float32Array:
        """Score as `HistoryModel.score` does; zeros for an empty history."""
        return np.asarray(self.fold_in(histories) @ self.items.T)


def fit_ials(
    interactions: csr_matrix,
    *,
    dim: int = 32,
    loss: IalsLoss | None = None,
    n_rounds: int = 8,
    seed: int = 0,
) -> FactorModel:
    """Factorise by solving for the users and for the items in turn.

    Args:
        interactions: (n_users, n_items) sparse; only which entries are non-zero counts.
        dim: Length of a vector, >= 1.
        loss: The default `IalsLoss` if None; choose it on validation data.
        n_rounds: How often users and items are solved for, >= 1.
        seed: Of the items' initial vectors.

    Raises:
        ValueError: If dim or n_rounds < 1, or the matrix is empty or not finite.

    Source: Hu, Koren & Volinsky, ICDM 2008, doi 10.1109/ICDM.2008.22; penalty and
    initial vectors as in Rendle, Krichene, Zhang & Koren, RecSys 2022, arXiv
    2110.14037.

    >>> model = fit_ials(csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), dim=2)
    >>> model.score(csr_matrix([[1, 0, 0]])).argsort().tolist()
    [[2, 0, 1]]
    """
    if not (dim >= 1 and n_rounds >= 1):
        raise ValueError(f"dim and n_rounds must be >= 1; got {dim} and {n_rounds}")
    loss = IalsLoss() if loss is None else loss
    by_user = (checked_interactions(interactions) != 0).astype(np.float64)
    by_item = csr_matrix(by_user.T)
    start = np.random.default_rng(seed).normal(size=(by_user.shape[1], dim))
    items: Float64Array = start * (_INIT_DEVIATION / np.sqrt(dim))
    for _ in range(n_rounds):
        items = loss.minimize(by_item, loss.minimize(by_user, items))
    return FactorModel(items.astype(np.float32), loss)
