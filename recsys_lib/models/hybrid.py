"""Item features and interactions in one model: ridge map, side information, blend.

Each is a `recsys_lib.models.history_model.HistoryModel`. The features of an item may be
the vector of its text, its genres, its counted words, or all of them together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from recsys_lib.models.history_model import HistoryModel
from recsys_lib.ranking.similarity import normalize

Floats = npt.NDArray[np.floating[Any]]


def place_cold_items(
    places: npt.ArrayLike,
    features: npt.ArrayLike,
    cold: npt.ArrayLike,
    *,
    l2: float,
) -> Floats:
    """Give cold items the place in a space that their features make likely.

    A ridge regression from features to places is fitted to the warm items.

    Args:
        places: (n_items, dim) of a collaborative space: factors of iALS, or, item by
            item, the columns of EASE's weights. Those of cold items are ignored.
        features: (n_items, n_features).
        cold: (n_items,) bool, true for an item without interactions.
        l2: Ridge penalty, > 0; choose it on a validation cut.

    Returns:
        (n_items, dim): the places, those of cold items predicted.

    Raises:
        ValueError: If shapes differ, no item is warm, something is not finite, or l2
            is not positive and finite.

    >>> place_cold_items([[2.0], [9.0]], [[1.0], [3.0]], [False, True], l2=1e-9)
    array([[2.],
           [2.]])
    """
    known, about = _table("places", places), _table("features", features)
    hidden = np.asarray(cold, dtype=bool)
    if not len(known) == len(about) == len(hidden):
        got = f"got {len(known)}, {len(about)} and {len(hidden)}"
        raise ValueError(f"places, features and cold must be of the same items; {got}")
    if hidden.all():
        raise ValueError(f"an item must be warm; got {len(hidden)} cold ones")
    if not 0 < l2 < np.inf:
        raise ValueError(f"l2 must be positive and finite; got {l2}")
    ridge = Ridge(alpha=l2).fit(about[~hidden], known[~hidden])
    predicted = ridge.predict(about).reshape(known.shape)
    return np.where(hidden[:, None], predicted, known)


@dataclass(frozen=True, eq=False)
class Blend:
    """Weighted sum of models' scores, each row brought to mean 0 and deviation 1.

    Attributes:
        models: One or more.
        weights: One a model, >= 0, not all 0; choose them with `choose_weights`.

    Raises:
        ValueError: If there is not one such weight a model.
    """

    models: Sequence[HistoryModel]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        finite = all(0 <= weight < np.inf for weight in self.weights)
        if len(self.models) != len(self.weights) or not finite or not any(self.weights):
            got = f"got {list(self.weights)} for {len(self.models)}"
            raise ValueError(f"each model must have a weight >= 0, one above; {got}")

    def score(self, histories: csr_matrix) -> Floats:
        """Blended scores (n, n_items); constant scores count 0."""
        parts = zip(self.models, self.weights, strict=True)
        return np.asarray(
            sum(w * standardize(m.score(histories)) for m, w in parts if w)
        )


def choose_weights(
    scores: Sequence[Floats], quality: Callable[[Floats], float], *, n_steps: int = 10
) -> list[float]:
    """Weights of a blend, one model added at a time: the one that helps most.

    A model may be added again and again, which is how it comes to a larger weight; the
    best of the blends passed on the way counts.

    Args:
        scores: One (n, n_items) a model, of a validation cut.
        quality: What the blended scores are worth there; higher is better.
        n_steps: Models added, >= 1; weights are multiples of one part in so many.

    Returns:
        One weight a model, >= 0, that sum to 1.

    Raises:
        ValueError: If there are no scores, or n_steps < 1.

    Source: Caruana et al., ICML 2004, doi 10.1145/1015330.1015432.

    >>> good, bad = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    >>> choose_weights([bad, good], lambda s: s[0, 0])
    [0.0, 1.0]
    """
    if not scores or n_steps < 1:
        got = f"got {len(scores)} and n_steps={n_steps}"
        raise ValueError(f"scores must be some and n_steps >= 1; {got}")
    parts = [standardize(s) for s in scores]
    total, added, passed = np.zeros_like(parts[0]), np.zeros(len(parts)), []
    for _ in range(n_steps):
        worth = [quality(total + part) for part in parts]
        best = int(np.argmax(worth))
        total, added[best] = total + parts[best], added[best] + 1
        passed.append((worth[best], (added / added.sum()).tolist()))
    weights: list[float] = max(passed, key=lambda step: step[0])[1]
    return weights


def standardize(scores: Floats) -> Floats:
    """Bring each row to mean 0 and deviation 1; a constant row becomes zeros.

    >>> standardize(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(np.divide(centred, spread, out=centred * 0, where=spread > 1e-12))


def _table(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"{name} must be (n_items, dim), finite; got {table.shape}")
    return table


@dataclass(frozen=True, eq=False)
class ContentModel:
    """Scores an item by its cosine with the mean vector of the history.

    Attributes:
        vectors: (n_items, dim) unit vectors.

    >>> model = ContentModel(np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> model.score(csr_matrix([[0.0, 3.0]])).tolist()
    [[0.0, 1.0]]
    """

    vectors: Floats

    def score(self, histories: csr_matrix) -> Floats:
        """Cosines (n, n_items); 0 for an empty history."""
        return np.asarray(normalize(histories @ self.vectors) @ self.vectors.T)
