"""Few numbers for each item and each user: iALS, matrix factorisation in closed steps.

An item is a vector, a user is the vector that explains the history best: so any
history can be scored, that of a user who was not there at the fit included.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.models.history_model import check_items, checked_interactions

Array = npt.NDArray[np.float32]
_Floats = npt.NDArray[np.float64]
_SOLVED_TOGETHER = 256  # rows, so that their matrices fit in the cache
_START_DEVIATION = 0.1  # of a factor's length at the start; Rendle et al. 2022, 4.2


@dataclass(frozen=True)
class IalsLoss:
    """What iALS minimises, but for the number of factors.

    The squared error is summed over the pairs that met (which should score 1) and,
    ``unobserved`` times, over all pairs (which should score 0).

    Attributes:
        unobserved: Weight of a pair for which nothing is known, > 0.
        l2: Ridge penalty, > 0; a row is penalised in proportion to its weight.

    Raises:
        ValueError: If one of them is not positive and finite.
    """

    unobserved: float = 0.5
    l2: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.unobserved < np.inf and 0 < self.l2 < np.inf):
            got = f"got {self.unobserved} and {self.l2}"
            raise ValueError(f"unobserved and l2 must be positive and finite; {got}")

    def minimize(self, met: csr_matrix, factors: _Floats) -> _Floats:
        """Best vectors (n, dim) of the rows of ``met``, its columns' being given.

        Args:
            met: (n, n_columns) of ones.
            factors: (n_columns, dim).
        """
        everywhere = self.unobserved * factors.T @ factors  # (dim, dim)
        weight = np.diff(met.indptr) + self.unobserved * len(factors)
        identity = np.eye(factors.shape[1])
        best = np.empty((met.shape[0], factors.shape[1]))
        for start in range(0, len(best), _SOLVED_TOGETHER):
            block = slice(start, start + _SOLVED_TOGETHER)
            rows = met[block]
            of_met = [factors[x] for x in np.split(rows.indices, rows.indptr[1:-1])]
            left = everywhere + np.stack([x.T @ x for x in of_met])
            left += self.l2 * weight[block, None, None] * identity
            right = (rows @ factors)[:, :, None]  # (n_rows, dim, 1)
            best[block] = np.linalg.solve(left, right)[:, :, 0]
        return best


@dataclass(frozen=True, eq=False)
class FactorModel:
    """A score is the product of an item's and a user's vector.

    Attributes:
        items: (n_items, dim), one vector an item.
        loss: By which a history is turned into a vector.
    """

    items: Array
    loss: IalsLoss

    def fold_in(self, histories: csr_matrix) -> Array:
        """Vectors (n, dim) of n histories; zeros for an empty one.

        Raises:
            ValueError: If the histories have other items than the model.
        """
        check_items(histories, len(self.items))
        met = (csr_matrix(histories) != 0).astype(np.float64)
        factors = self.items.astype(np.float64)
        return self.loss.minimize(met, factors).astype(np.float32)

    def score(self, histories: csr_matrix) -> Array:
        """Scores (n, n_items) of n histories; errors as of `fold_in`."""
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
        interactions: (n_users, n_items) sparse; what matters is which are non-zero.
        dim: Numbers a vector, >= 1.
        loss: `IalsLoss` with its defaults if None; choose it on a validation cut.
        n_rounds: Times that users and items are solved for, >= 1.
        seed: Of the items' first vectors.

    Raises:
        ValueError: If dim or n_rounds < 1, or the matrix is empty or not finite.

    Source: Hu, Koren & Volinsky, ICDM 2008, doi 10.1109/ICDM.2008.22; penalty and
    start as in Rendle, Krichene, Zhang & Koren, RecSys 2022, arXiv 2110.14037.

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
    items: npt.NDArray[Any] = start * (_START_DEVIATION / np.sqrt(dim))
    for _ in range(n_rounds):
        items = loss.minimize(by_item, loss.minimize(by_user, items))
    return FactorModel(items.astype(np.float32), loss)
