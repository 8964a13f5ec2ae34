from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.splits import (
    cold_item_split,
    future_test,
    hold_out_items,
    new_users,
    returning_users,
    stratified_split,
    temporal_split,
)


@pytest.fixture(scope="module")
def movielens():
    return load_movielens().interactions


@st.composite
def interactions(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(12, 60))
    return pd.DataFrame(
        {
            "user": rng.integers(0, 5, n),
            "item": rng.integers(0, 4, n),
            "timestamp": rng.permutation(n) // 2,
        }
    )


def assert_parted(whole, split):
    """Every row is in one part, as it was and where it was."""
    for part in (split.train, split.test):
        assert len(part) > 0
        assert part.index.is_monotonic_increasing
        pd.testing.assert_frame_equal(part, whole.loc[part.index])
    assert sorted([*split.train.index, *split.test.index]) == list(whole.index)


def naive_stratified(whole, ratio, by, seed):
    """Draw per row, order each stratum by its draws, keep the first."""
    np.random.seed(seed)  # noqa: NPY002 (the benchmark's own)
    draws = np.random.rand(len(whole))  # noqa: NPY002
    strata = defaultdict(list)
    for row, stratum in enumerate(whole[by]):
        strata[stratum].append((draws[row], row))
    return sorted(
        row
        for rows in strata.values()
        for _, row in sorted(rows)[: round(ratio * len(rows))]
    )


@given(interactions(), st.sampled_from(["item", "user"]), st.integers(0, 99))
def test_stratified_equals_drawing_row_by_row(whole, by, seed):
    split = stratified_split(whole, ratio=0.6, by=by, seed=seed)
    assert_parted(whole, split)
    assert split.train.index.tolist() == naive_stratified(whole, 0.6, by, seed)


def test_stratified_is_the_benchmarks_split_of_movielens(movielens):
    split = stratified_split(movielens)
    assert (len(split.train), len(split.test)) == (75_066, 24_934)
    shares = split.train.groupby("item").size() / movielens.groupby("item").size()
    popular = movielens.groupby("item").size() > 100
    np.testing.assert_allclose(shares[popular], 0.75, atol=0.005)


def test_stratified_leaves_the_global_generator_alone(movielens):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    stratified_split(movielens[:100])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@given(interactions(), st.floats(0.2, 0.9))
def test_temporal_trains_strictly_before_it_tests(whole, ratio):
    split = temporal_split(whole, ratio=ratio)
    assert_parted(whole, split)
    assert split.train.timestamp.max() < split.test.timestamp.min()
    assert ratio * len(whole) - 2 <= len(split.train) <= ratio * len(whole)


def test_temporal_refuses_a_single_second():
    frame = pd.DataFrame({"timestamp": [7, 7, 7]})
    with pytest.raises(ValueError, match="both parts must have rows; got 0 of 3"):
        temporal_split(frame)


@given(interactions(), st.integers(0, 99))
def test_cold_items_are_in_one_part_only(whole, seed):
    split = cold_item_split(whole, fraction=0.3, seed=seed)
    assert_parted(whole, split)
    assert set(split.train.item).isdisjoint(split.test.item)
    assert split.test.item.nunique() == round(0.3 * whole.item.nunique())
    again = cold_item_split(whole, fraction=0.3, seed=seed)
    pd.testing.assert_frame_equal(split.test, again.test)


def test_cold_draws_other_items_with_another_seed(movielens):
    cold = [set(cold_item_split(movielens, seed=seed).test.item) for seed in (0, 1)]
    assert len(cold[0]) == len(cold[1]) == 336
    assert cold[0] != cold[1]


@pytest.mark.parametrize("part", [0, 1, -0.5, float("nan")])
def test_parts_must_lie_between_none_and_all(movielens, part):
    for cut in (stratified_split, temporal_split):
        with pytest.raises(ValueError, match=r"ratio must lie in \(0, 1\); got"):
            cut(movielens[:9], ratio=part)
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\); got"):
        cold_item_split(movielens[:9], fraction=part)


@pytest.mark.parametrize("cut", [stratified_split, temporal_split, cold_item_split])
def test_both_parts_must_have_rows(movielens, cut):
    for n_rows in (0, 1):
        with pytest.raises(ValueError, match=f"must have rows; got . of {n_rows}"):
            cut(movielens[:n_rows])


def test_held_out_items_are_without_history(movielens):
    shape = movielens.user.max() + 1, movielens.item.max() + 1
    held_out = hold_out_items(movielens, shape, seed=3)
    split = cold_item_split(movielens, seed=3)
    pd.testing.assert_frame_equal(held_out.train, split.train)
    assert held_out.items.tolist() == sorted(set(split.test.item))
    assert held_out.histories[:, held_out.items].nnz == 0
    assert held_out.histories.sum() == len(split.train)
    users, columns = np.nonzero(held_out.relevant)
    pairs = set(zip(users, held_out.items[columns], strict=True))
    assert pairs == set(zip(split.test.user, split.test.item, strict=True))


def log_of(rows):
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def test_the_future_of_a_hand_worked_log():
    past = [(0, 5, 0), (3, 3, 1), (0, 7, 9_000), (1, 7, 9_100), (1, 5, 9_200)]
    new = [(0, 9, 9_300), (2, 5, 9_400)]  # an item and a user without a past
    future = [(1, 3, 10_000), (3, 7, 50_000), (3, 5, 90_000)]
    test = future_test(log_of(past + new + future), 4, ratio=0.5)
    assert test.items.tolist() == [3, 5, 7]
    assert test.histories.toarray()[0].tolist() == [0, 1, 2]
    assert test.wanted.toarray().tolist() == [[0] * 3, [1, 0, 0], [0] * 3, [0, 1, 1]]
    assert test.first.toarray().tolist() == [[0] * 3, [1, 0, 0], [0] * 3, [0, 0, 1]]
    assert test.divided == pytest.approx(1 / 3)  # user 1 goes on
    assert test.first_sitting == pytest.approx(2 / 3)  # user 3 returns twice


def test_the_future_of_movielens_is_later_and_of_known_users_and_items(movielens):
    once = movielens.drop_duplicates(["user", "item"])
    test = future_test(once, 943)
    users = np.flatnonzero(np.diff(test.wanted.indptr))
    assert set(users) <= set(test.train["user"])
    assert set(test.items) == set(test.train["item"])
    assert np.diff(test.first.indptr).max() == 1
    assert not test.histories.multiply(test.wanted).nnz
    assert (np.diff(test.first.indptr) > 0).sum() == len(users)
    cut = once.drop(test.train.index)["timestamp"].min()
    assert test.train["timestamp"].max() < cut


def test_users_around_a_cut_of_a_hand_worked_log():
    early = [(0, 5, 0), (1, 5, 10), (2, 6, 20), (3, 6, 30)]
    late = [(0, 5, 9_000), (1, 5, 40), (2, 7, 9_000), (4, 5, 50), (5, 7, 60)]
    log = log_of(early + late)  # item 7 is new at the cut, and user 3 stays away
    assert returning_users(log, 4 / 9) == 2
    assert returning_users(log, 4 / 9, pause_s=3600) == 1
    assert new_users(log, 4 / 9) == 1
    again = log_of([*early, *late, (1, 6, 90_000)])
    assert returning_users(again, 0.4, pause_s=3600) == 2
    at_once = log.assign(timestamp=7)
    assert returning_users(at_once, 0.5) == new_users(at_once, 0.5) == 0
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\); got 1"):
        new_users(log, 1)


def test_a_future_without_known_users_is_refused():
    rows = [(0, 1, 1), (0, 2, 2), (1, 1, 3), (1, 2, 4)]
    with pytest.raises(ValueError, match=r"an item of the past; got 2 rows"):
        future_test(log_of(rows), 2, ratio=0.5)
