import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.data.dataset import interaction_matrix, most_rated
from recsys_lib.data.movielens import load_movielens
from recsys_lib.models.ease import fit_ease
from recsys_lib.models.incremental_ease import IncrementalEase
from recsys_lib.serving.freshness import UpdateSchedule, replay_log, visits

few = settings(max_examples=settings.default.max_examples // 2)
NEVER, DAILY, LIVE = UpdateSchedule(np.inf), UpdateSchedule(10), UpdateSchedule()
PROFILES = {
    "live": LIVE,
    "late": UpdateSchedule(delay_s=3),
    "daily": DAILY,
    "never": NEVER,
    "recent": UpdateSchedule(half_life_s=5),
}


@pytest.fixture(scope="module")
def films():
    return most_rated(load_movielens(), 300)


def apart(a, b):
    """Largest difference over the largest value."""
    return np.abs(a - b).max() / np.abs(b).max()


def events(seed, n_users=5, n_items=8, n=40):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(n_users * n_items)[: min(n, n_users * n_items)]
    log = pd.DataFrame({"user": cells // n_items, "item": cells % n_items})
    return log.assign(timestamp=rng.integers(0, 40, len(log)))


# ---------------------------------------------------------------- exact updates


def test_thousands_of_events_equal_the_refit(films):
    log = films.interactions.sort_values("timestamp", kind="stable")
    shape = films.n_users, films.n_items
    model = IncrementalEase(interaction_matrix(log[:50_000], shape), l2=50)
    for user, item in log[["user", "item"]].to_numpy()[50_000:55_000]:
        assert model.add([user], [item]) in (1, 2)
    met = interaction_matrix(log[:55_000], shape)
    refit = IncrementalEase(met, l2=50)
    assert model.n_refits == 1, "all that follows is of updates alone"
    assert np.array_equal(model.gram, refit.gram)
    assert apart(model.inverse, refit.inverse) < 1e-10
    some = met[met.getnnz(axis=1) > 0]
    expected = some @ fit_ease(met, l2=50).weights
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


def test_drift_beyond_the_bound_brings_a_refit(films):
    shape = films.n_users, films.n_items
    log = films.interactions
    options = {"l2": 50, "drift_bound": 1e-6, "check_every": 10}
    model = IncrementalEase(interaction_matrix(log[:30_000], shape), **options)
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
    met = csr_matrix([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    history = csr_matrix([[0.5, 2.0, 0.0]])
    expected = fit_ease(met, l2=3).score(history)
    scores = IncrementalEase(met, l2=3).score(history)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


# ------------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LIVE, [100, 107, 123]),
        (DAILY, [100, 100, 120]),
        (NEVER, [100, 100, 100]),
        (UpdateSchedule(delay_s=5), [95, 102, 118]),
        (UpdateSchedule(10, delay_s=5), [95, 100, 118]),
    ],
)
def test_a_schedule_sets_what_is_known(schedule, expected):
    assert schedule.known_until(np.array([100, 107, 123]), 100).tolist() == expected


@pytest.mark.parametrize("wrong", [(-1,), (0, -1), (0, 0, 0), (np.nan,)])
def test_a_schedule_refuses_times_out_of_range(wrong):
    with pytest.raises(ValueError, match="every_s, delay_s must be >= 0"):
        UpdateSchedule(*wrong)


def test_visits_begin_after_a_gap():
    log = pd.DataFrame({"user": [0, 1, 0, 0, 0], "timestamp": [70, 5, 10, 10, 16]})
    assert visits(log).tolist() == [True, True, True, False, True]
    assert visits(log, gap_s=10).tolist() == [True, True, True, False, False]
    assert visits(log.set_index(pd.Index([9, 1, 1, 4, 0])), gap_s=99).sum() == 2


# ------------------------------------------------------------------------ replay


def naive_ranks(log, row, *, start, model, profile, shape, l2):
    """Everything anew for one event; its first and last place among equals."""
    now = np.array([row.timestamp])
    known = max(model.known_until(now, start)[0], start)
    past = log[log.timestamp < known]
    met = interaction_matrix(past, shape)
    until = profile.known_until(now, start)[0]
    mine = log[(log.user == row.user) & (log.timestamp < until)]
    history = np.zeros(shape[1])
    history[mine.item] = 2.0 ** -((until - mine.timestamp) / profile.half_life_s)
    scores = history @ fit_ease(met, l2=l2).weights.astype(float)
    if mine.empty:
        scores = met.toarray().sum(axis=0)
    seen = log[(log.user == row.user) & (log.timestamp < row.timestamp)].item
    others = np.delete(scores, [*seen, row.item])
    same = np.isclose(others, scores[row.item], rtol=1e-5, atol=1e-7)
    best = 1 + (others[~same] > scores[row.item]).sum()
    return best, best + same.sum()


@few
@given(
    st.integers(0, 10**6), st.sampled_from([LIVE, DAILY, NEVER, UpdateSchedule(0, 7)])
)
def test_replay_is_what_fitting_anew_for_each_event_gives(seed, model):
    log, shape, start = events(seed), (5, 8), 15
    options = {"start": start, "model": model, "l2": 2}
    ranks = replay_log(log, shape, profiles=PROFILES, **options)
    assert ranks.index.equals(
        log[log.timestamp >= start].sort_values("timestamp", kind="stable").index
    )
    for row in log.loc[ranks.index].itertuples():
        for name, profile in PROFILES.items():
            best, last = naive_ranks(log, row, profile=profile, shape=shape, **options)
            assert best <= ranks.loc[row.Index, name] <= last, (name, row)


@few
@given(st.integers(0, 10**6), st.sampled_from([LIVE, DAILY, NEVER]))
def test_a_planted_future_changes_no_earlier_prediction(seed, model):
    log, moment = events(seed, n=30), 30
    options = {"start": 10, "model": model, "profiles": PROFILES, "l2": 2}
    # from that second on, everybody interacts with other items
    planted = log.copy()
    later = planted.timestamp >= moment
    free = events(seed, n=40)[30:]
    planted = pd.concat([planted[~later], free.assign(timestamp=moment)])
    predicted = log.index[(log.timestamp >= 10) & (log.timestamp <= moment)]
    true, other = (replay_log(x, (5, 8), **options) for x in (log, planted))
    both = [x for x in predicted if x in other.index and log.timestamp[x] < moment]
    assert other.loc[both].equals(true.loc[both])


def test_a_planted_event_of_the_same_second_is_not_seen():
    log = pd.DataFrame(
        [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (2, 2, 1), (3, 0, 5), (3, 1, 9)],
        columns=["user", "item", "timestamp"],
    )
    options = {"start": 5, "model": LIVE, "profiles": {"live": LIVE}, "l2": 1}
    ranks = replay_log(log, (5, 3), **options)["live"]
    assert ranks.tolist() == [1.5, 1.0], "item 0 of user 3 predicts item 1"
    same = log.assign(timestamp=log.timestamp.replace(9, 5))
    assert replay_log(same, (5, 3), **options)["live"].tolist() == [1.5, 1.5]


def test_only_the_rows_asked_are_predicted_and_all_are_learned():
    log, shape = events(3, n_users=30, n_items=20, n=400), (30, 20)
    asked = np.arange(400) % 3 == 0
    options = {"start": 15, "model": LIVE, "profiles": PROFILES, "l2": 2}
    every, some = replay_log(log, shape, **options), log.index[asked]
    part = replay_log(log, shape, asked=asked, **options)
    assert part.index.equals(every.index[every.index.isin(some)])
    same = (part == every.loc[part.index]).to_numpy()
    assert same.mean() > 0.95, "all but where rounding parts equal scores"


# ------------------------------------------------------------------------ refusals


def test_options_out_of_range_are_refused():
    for wrong in [{"l2": 0}, {"l2": np.inf}, {"drift_bound": 0}, {"check_every": 0}]:
        with pytest.raises(ValueError, match="must be positive; got"):
            IncrementalEase(csr_matrix([[1]]), **wrong)
    with pytest.raises(ValueError, match="interactions must be finite and not empty"):
        IncrementalEase(csr_matrix((0, 3)))


@pytest.mark.parametrize("wrong", [([0], [3]), ([-1], [0]), ([2], [0])])
def test_codes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"codes must lie in \(2, 3\); got"):
        IncrementalEase(csr_matrix((2, 3))).add(*wrong)


def test_users_and_items_must_pair_up():
    with pytest.raises(ValueError, match="inhomogeneous"):
        IncrementalEase(csr_matrix((2, 3))).add([0, 1], [0])


def test_histories_of_other_items_are_refused():
    with pytest.raises(ValueError, match="histories must have 3 columns; got 2"):
        IncrementalEase(csr_matrix((2, 3))).score(csr_matrix((1, 2)))


@pytest.mark.parametrize("start", [0, 99])
def test_replay_needs_a_past_and_a_future(start):
    options = {"model": LIVE, "profiles": PROFILES}
    with pytest.raises(ValueError, match="events must lie on both sides of start"):
        replay_log(events(1), (5, 8), start=start, **options)


def test_replay_refuses_a_pair_that_repeats():
    log = pd.concat([events(1)] * 2)
    with pytest.raises(ValueError, match="none twice"):
        replay_log(log, (5, 8), start=15, model=LIVE, profiles=PROFILES)
