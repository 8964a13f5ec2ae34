import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix, csr_matrix

from recsys_lib.models.ease import fit_ease, fit_side_ease
from recsys_lib.models.history_model import ItemToItem, checked_features, item_gram
from recsys_lib.models.ials import fit_ials
from recsys_lib.models.incremental_ease import IncrementalEase
from recsys_lib.models.neighbours import fit_item_knn, fit_popularity, fit_sar
from recsys_lib.models.training import TrainingOptions
from recsys_lib.models.two_tower import fit_two_tower

FITS = {
    "popularity": fit_popularity,
    "item_knn": fit_item_knn,
    "sar": fit_sar,
    "ease": fit_ease,
    "side_ease": lambda x: fit_side_ease(x, np.eye(x.shape[1])),
    "incremental_ease": IncrementalEase,
    "ials": fit_ials,
    "two_tower": lambda x: fit_two_tower(x, None, TrainingOptions()),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_interactions_that_are_empty_or_not_finite_are_refused(fit):
    with pytest.raises(ValueError, match=r"finite and not empty; got shape .*, 1 not"):
        fit(csr_matrix([[np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"not empty; got shape \(0, 3\)"):
        fit(csr_matrix((0, 3)))


@pytest.mark.parametrize("fit", [fit_popularity, fit_ease, fit_sar])
@given(seed=st.integers(0, 999))
def test_scores_follow_a_renumbering_of_the_items(fit, seed):
    rng = np.random.default_rng(seed)
    x, codes = (rng.random((6, 5)) < 0.5).astype(np.float64), rng.permutation(5)
    scores = fit(csr_matrix(x)).score(csr_matrix(x))
    renumbered = fit(csr_matrix(x[:, codes])).score(csr_matrix(x[:, codes]))
    np.testing.assert_allclose(renumbered, scores[:, codes], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_scores_are_weighted_sums_over_the_history(kind):
    weights = kind(np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]], dtype=np.float32))
    history = coo_matrix([[2.0, 1.0, 0.0]])
    scores = ItemToItem(weights).score(history)
    assert scores.tolist() == [[3, 2, 8]]
    assert scores.dtype == np.float32


def test_the_gram_matrix_counts_common_users():
    gram = item_gram(csr_matrix([[1, 1, 0], [1, 1, 1]]))
    assert gram.tolist() == [[2, 2, 1], [2, 2, 1], [1, 1, 1]]


@pytest.mark.parametrize("wrong", [np.eye(2), np.ones(3), [[np.inf], [0], [0]]])
def test_features_must_be_a_finite_row_per_item(wrong):
    with pytest.raises(ValueError, match=r"names must be \(3, n\) and finite; got"):
        checked_features(wrong, 3, name="names")
