"""Data that are too small or too uniform: refused before anything runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys_lib.data.dataset import Dataset
from recsys_lib.data.structure import check_structure


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    n_users, n_items, each = 60, 210, 40
    items = np.concatenate([rng.permutation(n_items)[:each] for _ in range(n_users)])
    log = pd.DataFrame(
        {
            "user": np.repeat(np.arange(n_users), each),
            "item": items,
            "rating": 1.0,
            "timestamp": 10**9 + 60 * np.tile(np.arange(each), n_users),
        }
    )
    texts = pd.DataFrame({"text": [f"thing {n}" for n in range(n_items)]})
    return Dataset("shop", log, texts, pd.DataFrame(index=range(n_users)), {})


def changed(shop, **columns):
    return replace(shop, interactions=shop.interactions.assign(**columns))


def test_enough_is_enough(shop):
    check_structure(shop)


def test_a_user_who_rated_everything_and_an_item_that_everybody_rated(shop):
    log = shop.interactions
    bot = pd.DataFrame({"user": 60, "item": range(210), "rating": 1.0})
    star = pd.DataFrame({"user": range(60), "item": 0, "rating": 1.0})
    more = pd.concat([log, bot.assign(timestamp=10**9), star.assign(timestamp=10**9)])
    check_structure(
        replace(shop, interactions=more, users=pd.DataFrame(index=range(61)))
    )


def test_repeats_count_once(shop):
    same = changed(shop, item=shop.interactions["item"].where(lambda x: x > 199, 7))
    with pytest.raises(
        ValueError, match=r"shop must have at least 50 users with over 10 different"
    ):
        check_structure(same)
    few = replace(shop, interactions=shop.interactions[::2])
    again = replace(shop, interactions=pd.concat([few.interactions] * 3))
    with pytest.raises(
        ValueError,
        match=r"2,000 different pairs .*; got .* 1,200 different pairs of us",
    ):
        check_structure(again)


def test_users_who_all_rated_everything(shop):
    pairs = pd.MultiIndex.from_product([range(60), range(210)], names=["user", "item"])
    log = pairs.to_frame(index=False).assign(rating=1.0)
    log["timestamp"] = 10**9 + np.arange(len(log)) % 977
    with pytest.raises(ValueError, match=r"but not all, .*; got 0 users with over 10"):
        check_structure(replace(shop, interactions=log))


def test_equal_texts(shop):
    with pytest.raises(
        ValueError, match=r"50 different texts of items; got .* 1 differ"
    ):
        check_structure(replace(shop, items=pd.DataFrame({"text": ["same"] * 210})))


def test_equal_times_and_users_who_never_return_are_no_fault(shop):
    check_structure(changed(shop, timestamp=10**9))
    apart = shop.interactions["timestamp"] + 10**6 * shop.interactions["user"]
    check_structure(changed(shop, timestamp=apart))
