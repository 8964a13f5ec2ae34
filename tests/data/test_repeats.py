import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data.repeats import count_repeats

LOG = pd.DataFrame(
    {
        "user": [0, 0, 1, 0],
        "item": [5, 6, 5, 5],
        "timestamp": [9, 1, 2, 3],
        "rating": pd.array([1.0, 2, 3, 4], dtype="float32"),
    }
)


@pytest.mark.parametrize(
    ("repeats", "ratings", "said"),
    [
        ("keep", [1, 2, 3, 4], "chapters count the first in the file"),
        ("first", [2, 3, 4], "of each pair the first stays"),
        ("last", [1, 2, 3], "of each pair the last stays"),
        ("count", [1, 1, 2], "the rating is the number"),
    ],
)
def test_repeats(repeats, ratings, said):
    rows, told = count_repeats(LOG, repeats)
    assert rows.rating.tolist() == ratings
    assert rows.index.tolist() == list(range(len(ratings)))
    assert told.startswith("1 interactions repeat a user and an item")
    assert said in told
    assert rows.dtypes.equals(LOG.dtypes)


def test_nothing_is_said_where_nothing_repeats():
    for repeats in ("keep", "first", "last"):
        rows, told = count_repeats(LOG[:3], repeats)
        assert rows.equals(LOG[:3])
        assert told == ""
    assert count_repeats(LOG[:3], "count")[0].rating.tolist() == [1, 1, 1]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3))),
    st.sampled_from(["first", "last", "count"]),
)
def test_one_of_each_pair_stays(rows, repeats):
    log = pd.DataFrame(rows, columns=["user", "item", "timestamp"], dtype=int)
    log["rating"] = 1.0
    kept, _ = count_repeats(log, repeats)
    wanted = log.groupby(["user", "item"]).timestamp
    wanted = wanted.max() if repeats == "last" else wanted.min()
    assert kept.set_index(["user", "item"]).timestamp.to_dict() == wanted.to_dict()
