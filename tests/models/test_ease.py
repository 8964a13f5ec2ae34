import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.models.ease import (
    fit_ease,
    fit_side_ease,
    fit_temporal_ease,
    solve_ease,
)


@st.composite
def matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(2, 8)), draw(st.integers(2, 6))
    return (rng.random(shape) < 0.5).astype(np.float64)


@given(matrices(), st.sampled_from([0.5, 10.0]))
def test_ease_solves_a_ridge_regression_per_item(x, l2):
    weights = fit_ease(csr_matrix(x), l2=l2).weights
    for j in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), j)
        a = x[:, others]
        ridge = np.linalg.solve(a.T @ a + l2 * np.eye(len(others)), a.T @ x[:, j])
        np.testing.assert_allclose(weights[others, j], ridge, atol=1e-5)
        assert weights[j, j] == 0


@pytest.mark.parametrize("l2", [0, float("inf"), float("nan")])
def test_ease_refuses_a_wrong_penalty(l2):
    with pytest.raises(ValueError, match=f"l2 must be positive and finite; got {l2}"):
        fit_ease(csr_matrix([[1, 1]]), l2=l2)


def log_of(x, seed=0):
    users, items = np.nonzero(x)
    times = np.random.default_rng(seed).integers(0, 500, len(users))
    return pd.DataFrame({"user": users, "item": items, "timestamp": times})


@given(matrices(), st.sampled_from([0.0, 0.3]), st.sampled_from([5.0, 100.0]))
def test_temporal_ease_counts_pairs_by_their_distance_in_time(x, apart, decay_s):
    events, gram = log_of(x), np.zeros((x.shape[1],) * 2)
    for a in events.itertuples():
        for b in events[events.user == a.user].itertuples():
            near = np.exp(-abs(a.timestamp - b.timestamp) / decay_s)
            gram[a.item, b.item] += apart + (1 - apart) * near
    found = fit_temporal_ease(events, x.shape, l2=2.0, decay_s=decay_s, apart=apart)
    np.testing.assert_allclose(
        found.weights, solve_ease(gram, l2=2.0).weights, atol=1e-6
    )


@given(matrices())
def test_temporal_ease_is_ease_when_time_does_not_count(x):
    if x.any():
        found = fit_temporal_ease(log_of(x), x.shape, l2=3, apart=1).weights
        expected = fit_ease(csr_matrix(x), l2=3).weights
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay_s": 0}, "decay_s must be positive .*; got 0 and 0.2"),
        ({"apart": 1.1}, r"apart in \[0, 1\]; got 120.0 and 1.1"),
        ({"l2": 0}, "l2 must be positive and finite; got 0"),
        ({"shape": (1, 2)}, "user codes must lie"),
    ],
)
def test_temporal_ease_refuses(options, message):
    log = log_of(np.eye(2))
    with pytest.raises(ValueError, match=message):
        fit_temporal_ease(log, **{"shape": (2, 2), **options})


def test_temporal_ease_refuses_repeated_pairs():
    log = pd.concat([log_of(np.eye(2))] * 2)
    with pytest.raises(ValueError, match="must occur once; got 2 repeats"):
        fit_temporal_ease(log, (2, 2))


@given(st.integers(0, 10**6), st.sampled_from([0.0, 2.0]))
def test_side_ease_is_ease_with_the_features_as_users(seed, weight):
    rng = np.random.default_rng(seed)
    seen = (rng.random((6, 4)) < 0.5).astype(np.float64)
    features = rng.normal(size=(4, 3))
    found = fit_side_ease(csr_matrix(seen), features, l2=2, weight=weight)
    stacked = np.vstack([seen, np.sqrt(weight) * features.T])
    expected = fit_ease(csr_matrix(stacked), l2=2).weights
    np.testing.assert_allclose(found.weights, expected, atol=1e-6)


def test_side_information_reaches_an_item_without_interactions():
    seen = csr_matrix([[1, 0, 0], [1, 1, 0]])
    features = [[1.0, 0], [0, 1], [1, 0]]
    without, with_features = (
        fit_side_ease(seen, features, l2=1, weight=w) for w in (0, 1)
    )
    assert not without.score(seen[:1])[0, 2]
    assert with_features.score(seen[:1])[0, 2] > 0.2


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (np.eye(3), {}, r"features must be \(2, n\) and finite; got shape \(3, 3\)"),
        ([1.0, 2.0], {}, r"features must be .* got shape \(2,\), 0 not finite"),
        ([[np.nan], [1.0]], {}, r"features must be .* got shape \(2, 1\), 1 not"),
        (np.eye(2), {"l2": 0}, "l2 must be positive and finite; got 0"),
        (np.eye(2), {"weight": -1}, "weight must be finite and >= 0; got -1"),
    ],
)
def test_side_ease_refuses(features, options, message):
    with pytest.raises(ValueError, match=message):
        fit_side_ease(csr_matrix([[1, 1]]), features, **options)
