"""EASE, an item-to-item regression in closed form, and its variants."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.history_model import Array, ItemToItem, item_gram
from recsys_lib.models.hybrid import _table


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


def fit_side_ease(
    interactions: csr_matrix,
    features: npt.ArrayLike,
    *,
    l2: float = 500.0,
    weight: float = 1.0,
) -> ItemToItem:
    """EASE for which each feature is one more user, who met the items that have it.

    Args:
        interactions: (n_users, n_items) sparse.
        features: (n_items, n_features).
        l2: Ridge penalty, > 0.
        weight: Of the features, >= 0; 0 is EASE. Choose both on a validation cut.

    Raises:
        ValueError: If shapes differ, something is not finite, or an option is out of
            its range.

    Source: Jeunen, Van Balen & Goethals, RecSys 2020, doi 10.1145/3383313.3418480.

    >>> met, said = csr_matrix([[1, 1, 0]]), [[0.0], [1.0], [1.0]]
    >>> (fit_side_ease(met, said, l2=1.0).weights > 0).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    about, n_items = _table("features", features), interactions.shape[1]
    if len(about) != n_items:
        got = f"got {len(about)} and {n_items}"
        raise ValueError(f"features and interactions must share items; {got}")
    if not 0 <= weight < np.inf:
        raise ValueError(f"weight must be finite and >= 0; got {weight}")
    return solve_ease(item_gram(interactions) + weight * about @ about.T, l2=l2)
