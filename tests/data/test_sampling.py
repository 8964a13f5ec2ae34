import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data.dataset import Dataset
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.sampling import age_groups, fit_to, sample_items, sample_users


def made(rows, n_items, n_users=9):
    log = pd.DataFrame(rows, columns=["user", "item", "timestamp"], dtype=int)
    items = pd.DataFrame({"item_id": range(n_items)})
    users = pd.DataFrame({"user_id": range(n_users)})
    return Dataset("own", log.assign(rating=1.0), items, users, {})


logs = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 39), st.integers(0, 50)), min_size=1
)


def first_times(data):
    return data.interactions.groupby("item").timestamp.min()


@given(logs, st.integers(1, 40), st.integers(0, 3), st.sampled_from([0, 1, np.inf]))
def test_the_share_of_items_by_age_stays(rows, n_items, seed, power):
    data = made(rows, 40)
    cut = sample_items(data, n_items, rng=np.random.default_rng(seed), power=power)
    groups, kept = age_groups(data), cut.items.item_id.to_numpy()
    share = n_items / 40
    assert len(set(kept)) == n_items
    assert (np.diff(kept) > 0).all()
    before, after = np.bincount(groups), np.bincount(groups[kept], minlength=11)
    for n, m in zip(before, after[: len(before)], strict=True):
        assert abs(m - share * n) < 1
    events = data.interactions[data.interactions.item.isin(kept)]
    assert (kept[cut.interactions.item] == events.item).all()
    again = sample_items(data, n_items, rng=np.random.default_rng(seed), power=power)
    assert again.items.equals(cut.items)


@given(logs)
def test_groups_are_ordered_by_the_first_time(rows):
    data = made(rows, 40)
    groups, first = age_groups(data), first_times(data)
    of_seen = pd.Series(groups[first.index], first.to_numpy()).sort_index()
    assert of_seen.is_monotonic_increasing
    assert of_seen.groupby(level=0).nunique().max() == 1
    unseen = np.setdiff1d(range(40), first.index)
    assert (groups[unseen] == groups.max()).all()
    assert set(groups) == set(range(groups.max() + 1))


def test_ages_of_films_stay_and_new_ones_are_not_lost():
    films = load_movielens()
    groups = age_groups(films)
    assert np.bincount(groups).min() > 140
    cut = sample_items(films, 1121, rng=np.random.default_rng(0))
    ids = cut.items.item_id.to_numpy() - 1
    kept = np.bincount(groups[ids]) / np.bincount(groups)
    assert abs(kept - 1121 / 1682).max() < 1 / 140
    assert "1,121 of 1,682 items drawn" in cut.understood
    assert "with equal chances" in cut.understood
    few = [
        sample_items(films, 300, rng=np.random.default_rng(0), power=power)
        for power in (0, 1, np.inf)
    ]
    assert "in proportion to their interactions" in few[1].understood
    n_rows = [len(x.interactions) for x in few]
    assert n_rows[0] < n_rows[1] < n_rows[2]
    groups = age_groups(films)
    for x in few:
        kept = np.bincount(groups[x.items.item_id.to_numpy() - 1])
        assert abs(kept - 300 / 1682 * np.bincount(groups)).max() < 1


def test_as_little_choice_as_possible():
    films = load_movielens()
    small = fit_to(films, n_items=2000, n_users=2000)
    assert small.interactions.equals(films.interactions)
    assert small.understood == ""
    usual = fit_to(films, n_items=1200, n_users=800)
    assert usual.understood.count("with equal chances") == 2
    dense = fit_to(films, n_items=60, n_users=700)
    assert dense.understood.count("those with most interactions") == 2
    assert fit_to(films, n_items=1200, n_users=800).items.equals(usual.items)


def test_a_chance_is_the_share_of_interactions():
    rows = [(0, 0, 0)] * 3 + [(0, 1, 0), (0, 2, 0)] + [(1, 0, 0)]
    drawn = [
        sample_items(
            made(rows, 3), 1, rng=np.random.default_rng(n), power=1
        ).items.item_id[0]
        for n in range(2000)
    ]
    assert abs(np.bincount(drawn) / 2000 - np.array([4, 1, 1]) / 6).max() < 0.04


def test_users_are_drawn_of_those_with_interactions():
    data = made([(8, 0, 1), (2, 1, 2), (2, 0, 3), (5, 0, 4)], 2)
    every = sample_users(data, 3, rng=np.random.default_rng(0))
    assert every.users.user_id.tolist() == [2, 5, 8]
    assert every.interactions.user.tolist() == [2, 0, 0, 1]
    assert every.understood == ""
    two = sample_users(data, 2, rng=np.random.default_rng(0))
    assert two.understood == "2 of 3 users drawn, with equal chances"
    assert set(two.interactions.user) == {0, 1}
    one = sample_users(data, 1, rng=np.random.default_rng(0), power=np.inf)
    assert one.users.user_id.tolist() == [2]


def test_numbers_out_of_range():
    for n in (0, 3):
        with pytest.raises(ValueError, match=r"n_items must lie in \[1, 2\]; got"):
            sample_items(made([(0, 0, 0)], 2), n, rng=np.random.default_rng(0))


def sparse_shop():
    """60 users with 30 of 50 items each, and 5,000 with one of 100 popular items."""
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(60) for i in 100 + rng.permutation(50)[:30]]
    rows += [(60 + n, n % 100) for n in range(5000)]
    log = np.column_stack([rows, rng.permutation(len(rows))])
    return made(log, 150, n_users=5060)


def test_users_with_many_items_are_drawn_first_where_no_other_draw_keeps_them():
    cut = fit_to(sparse_shop(), n_items=30, n_users=100)
    assert cut.items.item_id.between(100, 149).sum() > 20
    assert (cut.interactions.groupby("user").item.nunique() > 10).sum() >= 30
    assert (
        "100 of 5,060 users drawn, those with most interactions; 30 of 150 items"
        in (cut.understood)
    )


def test_where_no_draw_is_enough_the_best_is_taken():
    rows = [(u, 20 * u + n, n) for u in range(40) for n in range(20)]
    cut = fit_to(made(rows, 800, n_users=40), n_items=80, n_users=40)
    assert len(cut.items) == 80
    assert len(cut.interactions) == 80
