import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.models.ease import fit_ease
from recsys_lib.models.history_model import ItemToItem
from recsys_lib.models.hybrid import (
    Blend,
    ContentModel,
    choose_weights,
    place_cold_items,
    standardize,
)
from recsys_lib.models.neighbours import Popularity

WEIGHTS = np.array(
    [[0, 3, 2, 1], [1, 0, 5, 0], [1, 2, 0, 4], [0, 0, 0, 0]], dtype=np.float32
)
NEIGHBOURS = ItemToItem(WEIGHTS)
POPULAR = Popularity(np.array([1, 7, 3, 5], dtype=np.float32))
HISTORIES = csr_matrix([[1.0, 0, 0, 0], [0, 0, 0, 0]])

# ---------------------------------------------------------------------- ridge map


@given(st.integers(0, 10**6), st.sampled_from([0.1, 10.0]), st.integers(1, 9))
def test_cold_items_get_the_ridge_prediction(seed, l2, n_features):
    rng = np.random.default_rng(seed)
    features, vectors = rng.normal(size=(8, n_features)), rng.normal(size=(8, 3))
    cold = np.arange(8) >= 5
    found = place_cold_items(vectors, features, cold, l2=l2)
    # an intercept that is not penalised, as one more feature
    x = np.hstack([features, np.ones((8, 1))])
    penalty = l2 * np.diag([1.0] * n_features + [0])
    ridge = np.linalg.solve(x[:5].T @ x[:5] + penalty, x[:5].T @ vectors[:5])
    np.testing.assert_allclose(found[5:], x[5:] @ ridge, atol=1e-8)
    np.testing.assert_array_equal(found[:5], vectors[:5])


def test_the_vectors_given_for_cold_items_are_ignored():
    rng = np.random.default_rng(0)
    features, vectors = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    cold = np.array([True] + [False] * 5)
    other = vectors.copy()
    other[0] = 100
    found = [place_cold_items(x, features, cold, l2=1) for x in (vectors, other)]
    np.testing.assert_array_equal(*found)


def test_predicted_ease_weights_let_histories_reach_a_cold_item():
    """The last item has the features of the second, so it gets its weights."""
    seen = csr_matrix([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]])
    ease = fit_ease(seen, l2=1)
    features = [[0, 0], [1, 0], [0, 1], [1, 0]]
    cold = np.array([False, False, False, True])
    placed = place_cold_items(ease.weights.T, features, cold, l2=1e-6).T
    scores = ItemToItem(placed.astype(np.float32)).score(csr_matrix([[1, 0, 0, 0]]))
    assert scores[0, 3] == pytest.approx(scores[0, 1], abs=1e-4)
    assert scores[0, 3] > 0.3


# ------------------------------------------------------------------------ content


def test_content_scores_are_cosines_with_the_weighted_mean():
    vectors = np.random.default_rng(0).normal(size=(4, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    history = np.array([2.0, 0, 1, 0])
    mean = (history[:, None] * vectors).sum(axis=0) / 3
    scores = ContentModel(vectors).score(csr_matrix([history]))
    np.testing.assert_allclose(scores[0], vectors @ mean / np.linalg.norm(mean))


# -------------------------------------------------------------------------- blends


def standard(model):
    row = model.score(HISTORIES)[0]
    return (row - row.mean()) / row.std()


def test_a_blend_sums_standard_scores_and_its_ends_rank_as_its_models():
    expected = 0.75 * standard(NEIGHBOURS) + 0.25 * standard(POPULAR)
    scores = Blend([NEIGHBOURS, POPULAR], [0.75, 0.25]).score(HISTORIES)
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    for weights, model in [([1, 0], NEIGHBOURS), ([0, 1], POPULAR)]:
        row = Blend([NEIGHBOURS, POPULAR], weights).score(HISTORIES)[0]
        assert row.argsort().tolist() == model.score(HISTORIES)[0].argsort().tolist()


def test_constant_scores_count_as_zero():
    assert not Blend([NEIGHBOURS], [1]).score(HISTORIES)[1].any()


@given(
    st.integers(0, 10**6), st.floats(0.1, 50), st.floats(-50, 50, allow_subnormal=False)
)
def test_standard_scores_forget_scale_and_shift(seed, scale, shift):
    scores = np.random.default_rng(seed).normal(size=(3, 7))
    found = standardize(scores)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=1), 1)
    np.testing.assert_allclose(standardize(scale * scores + shift), found, atol=1e-9)


def test_the_true_weights_are_found():
    rng = np.random.default_rng(0)
    scores = [standardize(rng.normal(size=(5, 200))) for _ in range(3)]
    truth = 0.7 * scores[0] + 0.3 * scores[2]

    def quality(blended):
        return float(np.corrcoef(blended.ravel(), truth.ravel())[0, 1])

    assert choose_weights(scores, quality) == pytest.approx([0.7, 0, 0.3])


def test_the_best_blend_of_all_steps_is_returned():
    first, second = np.array([[1.0, 0.0, 0.5]]), np.array([[0.0, 1.0, 0.5]])
    worth = iter([5.0, 4.0, 1.0, 3.0])  # first, second, then the first and each
    assert choose_weights([first, second], lambda _: next(worth), n_steps=2) == [1, 0]
    assert next(worth, None) is None


# ------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: place_cold_items(np.eye(2), np.eye(3), [False] * 3, l2=1),
            r"vectors must be \(3, n\) and finite; got shape \(2, 2\)",
        ),
        (
            lambda: place_cold_items(np.eye(2), np.eye(3), [False] * 2, l2=1),
            r"features must be \(2, n\) and finite; got shape \(3, 3\)",
        ),
        (
            lambda: place_cold_items(np.eye(2), np.eye(2), [True, True], l2=1),
            "an item must be warm; got 2 cold ones",
        ),
        (
            lambda: place_cold_items(np.eye(2), np.eye(2), [True, False], l2=0),
            "l2 must be positive and finite; got 0",
        ),
        (lambda: Blend([], []), r"one of them > 0; got \[\] for 0"),
        (lambda: Blend([POPULAR], [0.5, 0.5]), r"got \[0.5, 0.5\] for 1"),
        (lambda: Blend([POPULAR], [-1]), r"got \[-1\] for 1"),
        (lambda: Blend([POPULAR], [0]), r"got \[0\] for 1"),
        (lambda: Blend([POPULAR], [float("nan")]), r"got \[nan\] for 1"),
        (
            lambda: choose_weights([], lambda _: 0.0),
            "must be a model, and n_steps >= 1; got 0 models and n_steps=10",
        ),
        (lambda: choose_weights([np.eye(2)], lambda _: 0.0, n_steps=0), "n_steps=0"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
