"""Models that use item features: content, cold items placed by features, blends.

The features of an item may be the embedding of its text, its genres, its word counts,
or all of them together. EASE with side information is in `recsys_lib.models.ease`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from recsys_lib.arguments import positive
from recsys_lib.arrays import Float64Array, FloatArray
from recsys_lib.models.history_model import (
    HistoryModel,
    checked_features,
    checked_histories,
)
from recsys_lib.ranking.similarity import normalize


@dataclass(frozen=True, eq=False)
class ContentModel:
    """Score an item by the cosine of its vector and the mean vector of the history.

    Attributes:
        vectors: (n_items, dim) unit vectors of the items.

    >>> model = ContentModel(np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> model.score(csr_matrix([[0.0, 3.0]])).tolist()
    [[0.0, 1.0]]
    """

    vectors: FloatArray

    def score(self, histories: csr_matrix) -> FloatArray:
        """Score as `HistoryModel.score` does: cosines; zeros for an empty history.

        The entries of a history are the weights of its items in the mean.
        """
        sums = checked_histories(histories, len(self.vectors)) @ self.vectors
        return np.asarray(normalize(sums) @ self.vectors.T)  # as of the means


def place_cold_items(
    vectors: npt.ArrayLike,
    features: npt.ArrayLike,
    cold: npt.ArrayLike,
    *,
    l2: float,
) -> Float64Array:
    """Predict the vectors of cold items from their features.

    A ridge regression from features to vectors is fitted to the warm items.

    Args:
        vectors: (n_items, dim) of a collaborative model: factors of iALS, or the
            columns of EASE's weights as rows. Those of cold items are ignored.
        features: (n_items, n_features).
        cold: (n_items,) bool, true for an item without interactions.
        l2: Ridge penalty, > 0; choose it on validation data.

    Returns:
        (n_items, dim): predictions for the cold items, the given vectors for the rest.

    Raises:
        ValueError: If shapes differ, no item is warm, something is not finite, or l2
            is not positive and finite.

    >>> place_cold_items([[2.0], [9.0]], [[1.0], [3.0]], [False, True], l2=1e-9)
    array([[2.],
           [2.]])
    """
    is_cold = np.asarray(cold, dtype=bool)
    known = checked_features(vectors, len(is_cold), name="vectors")
    table = checked_features(features, len(is_cold))
    if is_cold.all():
        raise ValueError(f"an item must be warm; got {len(is_cold)} cold ones")
    positive("l2", l2)
    ridge = Ridge(alpha=l2).fit(table[~is_cold], known[~is_cold])
    predicted = ridge.predict(table).reshape(known.shape)
    return np.where(is_cold[:, None], predicted, known)


@dataclass(frozen=True, eq=False)
class Blend:
    """Weighted sum of the standardised scores of several models.

    Attributes:
        models: One or more, over the same items.
        weights: One per model, >= 0, not all 0; choose them with `choose_weights`.

    Raises:
        ValueError: If there is not one such weight per model.
    """

    models: Sequence[HistoryModel]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        finite = all(0 <= weight < np.inf for weight in self.weights)
        if len(self.models) != len(self.weights) or not finite or not any(self.weights):
            got = f"got {list(self.weights)} for {len(self.models)} models"
            rule = "each model must have a finite weight >= 0, one of them > 0"
            raise ValueError(f"{rule}; {got}")

    def score(self, histories: csr_matrix) -> FloatArray:
        """Score as `HistoryModel.score` does; a model's constant scores count as 0."""
        parts = zip(self.models, self.weights, strict=True)
        return np.asarray(
            sum(w * standardize(m.score(histories)) for m, w in parts if w)
        )


def choose_weights(
    scores: Sequence[FloatArray],
    quality: Callable[[FloatArray], float],
    *,
    n_steps: int = 10,
) -> list[float]:
    """Choose the weights of a blend greedily.

    Each step adds the model that helps most. A model may be added several times, which
    increases its weight. The best blend of all steps is returned.

    Args:
        scores: (n, n_items) of each model, on validation data.
        quality: Maps blended scores to their quality; higher is better.
        n_steps: Models to add, >= 1.

    Returns:
        One weight per model, >= 0; they sum to 1.

    Raises:
        ValueError: If there are no scores, or n_steps < 1.

    Source: Caruana et al., ICML 2004, doi 10.1145/1015330.1015432.

    >>> good, bad = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    >>> choose_weights([bad, good], lambda s: s[0, 0])
    [0.0, 1.0]
    """
    if not scores or n_steps < 1:
        got = f"got {len(scores)} models and n_steps={n_steps}"
        raise ValueError(f"there must be a model, and n_steps >= 1; {got}")
    parts = [standardize(s) for s in scores]
    total, counts, blends = np.zeros_like(parts[0]), np.zeros(len(parts)), []
    for _ in range(n_steps):
        qualities = [quality(total + part) for part in parts]
        best = int(np.argmax(qualities))
        total, counts[best] = total + parts[best], counts[best] + 1
        blends.append((qualities[best], (counts / counts.sum()).tolist()))
    weights: list[float] = max(blends, key=lambda blend: blend[0])[1]
    return weights


def standardize(scores: FloatArray) -> FloatArray:
    """Shift and scale each row to mean 0 and deviation 1; a constant row becomes 0.

    >>> standardize(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(np.divide(centred, spread, out=centred * 0, where=spread > 1e-12))
