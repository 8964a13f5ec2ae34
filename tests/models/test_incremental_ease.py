import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.data.dataset import interaction_matrix, most_rated
from recsys_lib.data.movielens import load_movielens
from recsys_lib.models import incremental_ease
from recsys_lib.models.ease import fit_ease
from recsys_lib.models.incremental_ease import IncrementalEase

few = settings(max_examples=settings.default.max_examples // 2)


@pytest.fixture(scope="module")
def films():
    return most_rated(load_movielens(), 300)


def apart(a, b):
    """Largest difference over the largest value."""
    return np.abs(a - b).max() / np.abs(b).max()


def events(seed, n_users=5, n_items=8, n=40):
    """A random log in which no pair repeats."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(n_users * n_items)[:n]
    return pd.DataFrame({"user": cells // n_items, "item": cells % n_items})


def test_thousands_of_events_equal_the_refit(films):
    log = films.interactions.sort_values("timestamp", kind="stable")
    shape = films.n_users, films.n_items
    model = IncrementalEase(interaction_matrix(log[:50_000], shape), l2=50)
    for user, item in log[["user", "item"]].to_numpy()[50_000:55_000]:
        assert model.add([user], [item]) in (1, 2)
    seen = interaction_matrix(log[:55_000], shape)
    refit = IncrementalEase(seen, l2=50)
    assert model.n_refits == 1, "all that follows is of updates alone"
    assert np.array_equal(model.gram, refit.gram)
    assert apart(model.inverse, refit.inverse) < 1e-10
    some = seen[seen.getnnz(axis=1) > 0]
    expected = some @ fit_ease(seen, l2=50).weights
    np.testing.assert_allclose(model.score(some), expected, atol=1e-4)


@few
@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 40))
def test_an_update_of_any_rank_equals_the_refit(seed, start, size):
    log, shape = events(seed), (5, 8)
    model = IncrementalEase(interaction_matrix(log[:start], shape), l2=2)
    more = log[start : start + size]
    rank = model.add(more.user, more.item)
    refit = IncrementalEase(interaction_matrix(log[: start + size], shape), l2=2)
    assert rank <= 2 * more.user.nunique()
    assert np.array_equal(model.gram, refit.gram)
    assert apart(model.inverse, refit.inverse) < 1e-12


def test_a_known_pair_changes_nothing():
    model = IncrementalEase(csr_matrix([[1, 0], [1, 1]]), l2=1)
    before = model.inverse.copy()
    assert model.add([0, 1], [0, 1]) == 0
    assert np.array_equal(model.inverse, before)
    assert model.add([0, 0], [1, 1]) == 2, "a pair that comes twice counts once"
    assert model.gram.tolist() == [[2, 2], [2, 2]]


def test_a_change_of_full_rank_is_a_refit():
    model = IncrementalEase(csr_matrix((4, 3)), l2=1)
    assert model.add([0, 1, 2, 3], [0, 1, 2, 0]) == 4
    assert model.n_refits == 2


def test_drift_beyond_the_bound_brings_a_refit(films, monkeypatch):
    monkeypatch.setattr(incremental_ease, "_MAX_DRIFT", 1e-6)
    monkeypatch.setattr(incremental_ease, "_CHECK_EVERY", 10)
    shape = films.n_users, films.n_items
    log = films.interactions
    model = IncrementalEase(interaction_matrix(log[:30_000], shape), l2=50)
    more = log[["user", "item"]].to_numpy()[30_000:30_020]
    assert model.drift() < 1e-10
    model.inverse += 1e-6  # stands for rounding that went on for years
    assert model.drift() > 1e-6
    for user, item in more[:9]:
        model.add([user], [item])
    assert model.n_refits == 1, "not looked at yet"
    model.add(*more[9:10].T)
    assert model.n_refits == 2
    assert model.drift() < 1e-10
    refit = IncrementalEase(interaction_matrix(log[:30_010], shape), l2=50)
    assert apart(model.inverse, refit.inverse) < 1e-12


def test_an_empty_history_gets_popularity():
    model = IncrementalEase(csr_matrix([[1, 1, 0], [1, 0, 0]]), l2=1)
    assert model.score(csr_matrix((1, 3))).tolist() == [[2, 1, 0]]


def test_a_weighted_history_scores_as_ease_does():
    seen = csr_matrix([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    history = csr_matrix([[0.5, 2.0, 0.0]])
    expected = fit_ease(seen, l2=3).score(history)
    scores = IncrementalEase(seen, l2=3).score(history)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.parametrize("l2", [0, np.inf])
def test_a_wrong_penalty_is_refused(l2):
    with pytest.raises(ValueError, match="l2 must be positive and finite; got"):
        IncrementalEase(csr_matrix([[1]]), l2=l2)


@pytest.mark.parametrize("wrong", [([0], [3]), ([-1], [0]), ([2], [0])])
def test_codes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"codes must lie in \(2, 3\); got"):
        IncrementalEase(csr_matrix((2, 3))).add(*wrong)


def test_users_and_items_must_pair_up():
    with pytest.raises(ValueError, match="inhomogeneous"):
        IncrementalEase(csr_matrix((2, 3))).add([0, 1], [0])
