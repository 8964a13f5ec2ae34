import numpy as np
import pandas as pd
import pytest

from recsys_lib.data.reviews import draw_garments, load_clothing_reviews


def test_reviews_without_text_are_left_out():
    data = load_clothing_reviews()
    reviews = data.reviews
    assert (len(reviews), data.n_items) == (22_641, 1179)
    assert not reviews.isna().any(axis=None)
    assert reviews.text.str.strip().ne("").all()
    assert sorted(reviews.item.unique()) == list(range(data.n_items))
    assert reviews.groupby("item").clothing_id.nunique().eq(1).all()
    assert reviews.recommended.dtype == bool
    assert 0.81 < reviews.recommended.mean() < 0.83


REVIEWS = pd.DataFrame({"item": [0] * 3 + [1] * 2 + [2] * 4 + [3] * 3})
REVIEWS["text"] = [f"review {n}" for n in range(len(REVIEWS))]


def test_a_smaller_draw_is_a_part_of_a_larger_one():
    few, more = (draw_garments(REVIEWS, n, least=3, seed=5) for n in (1, 9))
    assert set(more.item) == {0, 2, 3}  # garment 1 has two reviews
    assert few.item.nunique() == 1
    pd.testing.assert_frame_equal(few, more[more.item.isin(few.item)])


def test_reviews_of_a_garment_are_numbered_in_random_order():
    drawn = draw_garments(REVIEWS, 9, least=3, seed=5)
    for item, of_item in drawn.groupby("item"):
        assert of_item.nth.tolist() == list(range(len(of_item)))
        assert set(of_item.text) == set(REVIEWS.text[REVIEWS.item == item])
    assert not np.array_equal(drawn.index, np.sort(drawn.index))


def test_garments_without_enough_reviews_are_refused():
    with pytest.raises(ValueError, match="must have 5 reviews; got none"):
        draw_garments(REVIEWS, 2, least=5)
