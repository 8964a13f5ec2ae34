import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix, csr_matrix

from recsys_lib.models.ease import (
    fit_ease,
    fit_side_ease,
    fit_temporal_ease,
    solve_ease,
)
from recsys_lib.models.history_model import ItemToItem, checked_features, item_gram
from recsys_lib.models.hybrid import Blend, ContentModel
from recsys_lib.models.ials import fit_ials
from recsys_lib.models.incremental_ease import IncrementalEase
from recsys_lib.models.neighbours import fit_item_knn, fit_popularity, fit_sar
from recsys_lib.models.training import TrainingOptions
from recsys_lib.models.two_tower import fit_two_tower
from recsys_lib.ranking.similarity import normalize

# nobody interacted with the last item
SEEN = csr_matrix([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]], dtype=np.float32)


def features(n_items):
    return np.eye(n_items, 3)


def towers(interactions, table):
    return fit_two_tower(interactions, table, TrainingOptions(epochs=2))


FITS = {
    "popularity": fit_popularity,
    "ItemKNN": fit_item_knn,
    "SAR": fit_sar,
    "EASE": fit_ease,
    "iALS": fit_ials,
    "incremental EASE": IncrementalEase,
    "EASE of a Gram matrix": lambda x: solve_ease(item_gram(x), l2=1),
    "EASE with features": lambda x: fit_side_ease(x, features(x.shape[1])),
    "towers of ids": lambda x: towers(x, None),
    "towers of ids and features": lambda x: towers(x, features(x.shape[1])),
    "blend": lambda x: Blend([fit_ease(x), fit_popularity(x)], [0.5, 0.5]),
}
OTHERS = {
    "content": lambda: ContentModel(normalize(np.ones((4, 2)))),
    "item weights": lambda: ItemToItem(np.eye(4, dtype=np.float32)),
    "temporal EASE": lambda: fit_temporal_ease(
        pd.DataFrame({"user": [0, 0], "item": [0, 1], "timestamp": [5, 9]}), (3, 4)
    ),
}
MODELS = {
    **{name: lambda fit=fit: fit(SEEN) for name, fit in FITS.items()},
    **OTHERS,
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_every_history_gets_finite_scores_by_itself(model):
    histories = csr_matrix([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [2, 0.5, 0, 0]])
    scores = model.score(histories)
    assert scores.shape == (4, 4)
    assert scores.dtype.kind == "f"
    assert np.isfinite(scores).all()
    for i in range(4):
        np.testing.assert_allclose(
            model.score(histories[i])[0], scores[i], rtol=1e-5, atol=1e-6
        )
    assert model.score(csr_matrix((0, 4))).shape == (0, 4)
    np.testing.assert_array_equal(model.score(coo_matrix(histories)), scores)


def test_an_empty_history_scores_as_popularity_or_zero(model):
    scores = model.score(csr_matrix((1, 4)))[0]
    by_popularity = scores[1] > scores[0] > scores[2] > scores[3]
    assert by_popularity or not scores.any()


def test_histories_of_other_items_are_refused(model):
    for n_items in (3, 5):
        message = f"histories must have 4 columns; got {n_items}"
        with pytest.raises(ValueError, match=message):
            model.score(csr_matrix((1, n_items)))


def test_histories_that_are_not_finite_are_refused(model):
    with pytest.raises(ValueError, match="histories must be finite; got 1 NaN or"):
        model.score(csr_matrix([[np.nan, 1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_interactions_that_are_empty_or_not_finite_are_refused(fit):
    with pytest.raises(ValueError, match=r"finite and not empty; got shape .*, 1 not"):
        fit(csr_matrix([[np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"not empty; got shape \(0, 3\)"):
        fit(csr_matrix((0, 3)))


def test_features_must_be_a_finite_row_per_item():
    for wrong in (np.eye(2), np.ones(3), [[np.inf], [0], [0]]):
        with pytest.raises(ValueError, match=r"names must be \(3, n\) and finite"):
            checked_features(wrong, 3, name="names")


@given(st.integers(0, 999), st.integers(0, 99))
def test_scores_follow_a_renumbering_of_the_items(seed, order):
    x = (np.random.default_rng(seed).random((6, 5)) < 0.5).astype(np.float64)
    codes = np.random.default_rng(order).permutation(5)
    for fit in (fit_popularity, fit_ease, fit_sar):
        scores = fit(csr_matrix(x)).score(csr_matrix(x))
        renumbered = fit(csr_matrix(x[:, codes])).score(csr_matrix(x[:, codes]))
        np.testing.assert_allclose(renumbered, scores[:, codes], rtol=1e-4, atol=1e-6)
