"""EASE, a linear item-to-item regression in closed form, and its variants."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arguments import positive
from recsys_lib.arrays import Float64Array
from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.history_model import ItemToItem, checked_features, item_gram


def fit_ease(interactions: csr_matrix, *, l2: float = 500.0) -> ItemToItem:
    """Regress every item on all others in closed form: weights with a zero diagonal.

    Args:
        interactions: (n_users, n_items) sparse.
        l2: Ridge penalty, > 0; choose it on validation data.

    Raises:
        ValueError: If l2 is not positive and finite, or the matrix is empty or not
            finite.

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
    """EASE in which two items of one session count for more than two far apart in time.

    A user who interacted with two items t seconds apart adds
    ``apart + (1 - apart) exp(-t / decay_s)`` to their entry of X'X. In EASE it is 1.

    Args:
        interactions: Columns user, item, timestamp in seconds; each user-item pair
            occurs once.
        shape: (n_users, n_items).
        l2: Ridge penalty, > 0.
        decay_s: Time constant of the decay in seconds, > 0.
        apart: Weight of a pair that is infinitely far apart, in [0, 1]; 1 gives EASE.

    Raises:
        ValueError: If an option is out of its range, a pair repeats, or a code lies
            outside the shape.

    >>> log = {"user": [0, 0, 0], "item": [0, 1, 2], "timestamp": [0, 5, 9000]}
    >>> near = fit_temporal_ease(pd.DataFrame(log), (1, 3), l2=1.0).weights[0]
    >>> bool(near[1] > near[2] > 0)
    True
    """
    if not (decay_s > 0 and 0 <= apart <= 1):
        got = f"got {decay_s} and {apart}"
        raise ValueError(f"decay_s must be positive and apart in [0, 1]; {got}")
    repeated = interactions.duplicated(["user", "item"]).sum()
    if repeated:
        raise ValueError(f"each user-item pair must occur once; got {repeated} repeats")
    gram = apart * item_gram(interaction_matrix(interactions, shape))
    by_user = interactions.sort_values("user", kind="stable")
    ends = np.flatnonzero(np.diff(by_user["user"])) + 1
    columns = (np.split(by_user[x].to_numpy(), ends) for x in ("item", "timestamp"))
    for items, times in zip(*columns, strict=True):
        near = np.exp(-np.abs(times[:, None] - times) / decay_s)
        gram[np.ix_(items, items)] += (1 - apart) * near
    return solve_ease(gram, l2=l2)


def fit_side_ease(
    interactions: csr_matrix,
    features: npt.ArrayLike,
    *,
    l2: float = 500.0,
    weight: float = 1.0,
) -> ItemToItem:
    """EASE with side information: each feature acts as one more user.

    That user interacted with the items that have the feature.

    Args:
        interactions: (n_users, n_items) sparse.
        features: (n_items, n_features).
        l2: Ridge penalty, > 0.
        weight: Weight of the features, >= 0; 0 gives EASE. Choose both on validation
            data.

    Raises:
        ValueError: If shapes differ, something is not finite, or an option is out of
            its range.

    Source: Jeunen, Van Balen & Goethals, RecSys 2020, doi 10.1145/3383313.3418480.

    >>> seen, features = csr_matrix([[1, 1, 0]]), [[0.0], [1.0], [1.0]]
    >>> (fit_side_ease(seen, features, l2=1.0).weights > 0).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    table = checked_features(features, interactions.shape[1])
    if not 0 <= weight < np.inf:
        raise ValueError(f"weight must be finite and >= 0; got {weight}")
    return solve_ease(item_gram(interactions) + weight * table @ table.T, l2=l2)


def solve_ease(gram: Float64Array, *, l2: float) -> ItemToItem:
    """Solve EASE for a Gram matrix X'X of the items, or a substitute for it.

    Args:
        gram: (n_items, n_items), symmetric.
        l2: Ridge penalty, > 0.

    Raises:
        ValueError: If l2 is not positive and finite.
    """
    inverse = ridge_inverse(gram, l2=l2)
    weights = (-inverse / inverse.diagonal()).astype(np.float32)
    np.fill_diagonal(weights, 0)
    return ItemToItem(weights)


def ridge_inverse(gram: Float64Array, *, l2: float) -> Float64Array:
    """Compute ``(gram + l2 I)^-1``, from which EASE's weights follow.

    Raises:
        ValueError: If l2 is not positive and finite.
    """
    positive("l2", l2)
    return np.asarray(np.linalg.inv(gram + l2 * np.eye(len(gram))))
