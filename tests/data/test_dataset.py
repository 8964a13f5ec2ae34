import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data.dataset import build_dataset, interaction_matrix, most_rated
from recsys_lib.data.movielens import load_movielens


@pytest.fixture(scope="module")
def movielens():
    return load_movielens()


def test_codes_follow_the_order_of_the_ids(tmp_path):
    events = pd.DataFrame(
        {"user_id": [9, 3], "item_id": ["b", "a"], "rating": [1, 2], "timestamp": 5}
    )
    items = pd.DataFrame({"item_id": ["b", "a", "c"]})
    (tmp_path / "a.csv").write_bytes(b"")
    data = build_dataset("own", events, items, files=[tmp_path / "a.csv"])
    assert data.interactions[["user", "item"]].to_numpy().tolist() == [[1, 1], [0, 0]]
    assert data.items.item_id.tolist() == ["a", "b", "c"]
    assert (data.users.user_id.tolist(), data.n_items) == ([3, 9], 3)
    assert data.sha256["a.csv"].startswith("e3b0c442")
    users = pd.DataFrame({"user_id": [9]})
    with pytest.raises(ValueError, match=r"every user_id .* got 1 .* such as 3 "):
        build_dataset("own", events, items, users, files=[])


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 5)))


def test_the_most_rated_items_keep_their_users_and_descriptions(movielens):
    few = most_rated(movielens, 300)
    assert few.n_items == 300
    assert few.n_users == movielens.n_users
    assert set(few.interactions.item) == set(range(300))
    fewest = few.interactions.item.value_counts().min()
    events = with_item_ids(movielens)
    kept = events.item_id.isin(few.items.item_id)
    assert events[~kept].item_id.value_counts().max() <= fewest
    assert with_item_ids(few).equals(events[kept].reset_index(drop=True))


def test_later_ratings_do_not_choose_the_items(movielens):
    start = float(movielens.interactions.timestamp.quantile(0.6))
    events = with_item_ids(movielens)
    early = events[events.timestamp < start].item_id.value_counts()
    few = most_rated(movielens, 300, before=start)
    chosen = early.index.isin(few.items.item_id)
    assert chosen.sum() == 300
    assert early[~chosen].max() <= early[chosen].min()
    assert (few.interactions.timestamp >= start).any()


def with_item_ids(dataset):
    events = dataset.interactions
    item_ids = dataset.items.item_id.to_numpy()[events.item]
    return events.assign(item_id=item_ids).drop(columns="item")


@pytest.mark.parametrize("n_items", [0, 1683])
def test_no_more_items_than_there_are(movielens, n_items):
    with pytest.raises(ValueError, match=rf"\[1, 1682\]; got {n_items}"):
        most_rated(movielens, n_items)


@given(pairs)
def test_matrix_equals_filling_it_cell_by_cell(rows):
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"]).astype("int64")
    expected = np.zeros((4, 5))
    for user, item, rating in rows:
        expected[user, item] += rating
    summed = interaction_matrix(frame, (4, 5), values="rating")
    binary = interaction_matrix(frame, (4, 5))
    np.testing.assert_array_equal(summed.toarray(), expected)
    np.testing.assert_array_equal(binary.toarray(), expected > 0)
    assert binary.dtype == summed.dtype == np.float32


@pytest.mark.parametrize(
    ("user", "item", "message"),
    [(2, 0, r"user codes must lie in \[0, 2\); got 2"), (0, -1, "item codes must lie")],
)
def test_matrix_refuses_codes_outside(user, item, message):
    with pytest.raises(ValueError, match=message):
        interaction_matrix(pd.DataFrame({"user": [user], "item": [item]}), (2, 2))
