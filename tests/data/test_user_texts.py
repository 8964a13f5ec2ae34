import numpy as np
import pandas as pd
import pytest

from recsys_lib.data.user_texts import latest_texts, writers

EVENTS = pd.DataFrame(
    {
        "user": [3, 1, 3, 3, 2, 1],
        "timestamp": [30, 10, 10, 20, 5, 11],
        "text": ["new shoe", "a b c d", "old shoe", "a shoe", "", "  "],
    }
)


def test_writers_have_a_text_that_is_not_empty():
    assert writers(EVENTS).tolist() == [1, 3]
    assert writers(EVENTS.drop(columns="text")).tolist() == []


def test_the_latest_texts_are_cut_and_belong_to_their_writers():
    found = latest_texts(EVENTS, np.array([3, 1]), n_texts=2, n_words=3)
    pairs = sorted(zip(found.writer, found.text, strict=True))
    assert pairs == [(0, "a shoe"), (0, "new shoe"), (1, "a b c")]


def test_users_without_a_text_are_refused():
    with pytest.raises(ValueError, match="must have written a text; got 2"):
        latest_texts(EVENTS, np.array([1, 2]), n_texts=1, n_words=3)
