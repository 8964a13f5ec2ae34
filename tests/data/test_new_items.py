import numpy as np
import pandas as pd

from recsys_lib.data.new_items import DAY_S, find_new_items


def log():
    """30 users with one old item each; 12 new items in the last of ten days."""
    rows = [(u, u % 5, 0) for u in range(30)]
    rows += [(u, 5 + u % 12, 95 * DAY_S + u) for u in range(25)]
    rows += [(40, 5, 99 * DAY_S), (29, 4, 100 * DAY_S)]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def test_new_items_are_those_of_the_window_and_their_users_have_a_past():
    new = find_new_items(log(), 20)
    assert new is not None
    assert new.days == 10
    assert new.items.tolist() == list(range(5, 17))
    assert new.users.tolist() == list(range(25)), "user 40 has no past"
    assert new.histories.shape == (25, 20)
    assert new.histories[3].indices.tolist() == [3]
    assert np.argwhere(new.relevant)[:2].tolist() == [[0, 0], [1, 1]]


def test_popularity_so_far_counts_earlier_interactions_alone():
    new = find_new_items(log(), 20)
    assert new.so_far[0].sum() == 0
    assert new.so_far[12].tolist() == [1] * 12
    assert new.so_far[24, 0] == 2


def test_too_few_new_items_or_users_or_one_time_give_none():
    rows = log()
    assert find_new_items(rows[rows.item < 10], 20) is None
    assert find_new_items(rows[rows.user % 2 == 0], 20) is None
    assert find_new_items(rows.assign(timestamp=7), 20) is None


def test_a_user_of_all_new_items_is_left_out():
    rows = log()
    bot = pd.DataFrame({"user": 0, "item": range(5, 17), "timestamp": 99 * DAY_S})
    new = find_new_items(pd.concat([rows, bot]), 20)
    assert 0 not in new.users
