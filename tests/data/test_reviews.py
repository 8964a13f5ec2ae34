from recsys_lib.data.reviews import load_clothing_reviews


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
