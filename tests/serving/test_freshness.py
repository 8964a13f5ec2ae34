import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.ease import fit_ease
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


def events(seed, n_users=5, n_items=8, n=40):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(n_users * n_items)[: min(n, n_users * n_items)]
    log = pd.DataFrame({"user": cells // n_items, "item": cells % n_items})
    return log.assign(timestamp=rng.integers(0, 40, len(log)))


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
    matrix = interaction_matrix(past, shape)
    until = profile.known_until(now, start)[0]
    mine = log[(log.user == row.user) & (log.timestamp < until)]
    history = np.zeros(shape[1])
    history[mine.item] = 2.0 ** -((until - mine.timestamp) / profile.half_life_s)
    scores = history @ fit_ease(matrix, l2=l2).weights.astype(float)
    if mine.empty:
        scores = matrix.toarray().sum(axis=0)
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


@pytest.mark.parametrize("start", [0, 99])
def test_replay_needs_a_past_and_a_future(start):
    options = {"model": LIVE, "profiles": PROFILES}
    with pytest.raises(ValueError, match="events must lie on both sides of start"):
        replay_log(events(1), (5, 8), start=start, **options)


def test_replay_refuses_a_pair_that_repeats():
    log = pd.concat([events(1)] * 2)
    with pytest.raises(ValueError, match="none twice"):
        replay_log(log, (5, 8), start=15, model=LIVE, profiles=PROFILES)
