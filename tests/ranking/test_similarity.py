import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsys_lib.ranking.similarity import (
    centred,
    cosine_similarity,
    euclidean_distance,
    mean_cosine,
    normalize,
)
from recsys_lib.ranking.top_n import top_n

shapes = st.tuples(st.integers(1, 5), st.integers(1, 7))
vectors = arrays(
    np.float32, shapes, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
)


@given(vectors, st.floats(0.01, 100))
def test_normalized_rows_have_length_one_whatever_their_scale(table, scale):
    units = normalize(table)
    assert units.dtype == np.float32
    lengths = np.linalg.norm(units.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, table.any(axis=1), atol=1e-6)
    again = normalize(table.astype(np.float64) * scale)
    np.testing.assert_allclose(again, units, atol=1e-6)


def test_float32_does_not_overflow():
    assert normalize(np.array([[3e38, 3e38]], np.float32)).tolist() == [
        [pytest.approx(0.5**0.5)] * 2
    ]


@given(vectors, st.data())
def test_similarity_and_distance_equal_their_formulas(items, data):
    shape = (3, items.shape[1])
    queries = data.draw(arrays(np.float32, shape, elements=st.integers(-9, 9)))
    cosine, distance = (
        cosine_similarity(queries, items),
        euclidean_distance(queries, items),
    )
    for i, u in enumerate(queries.astype(np.float64)):
        for j, v in enumerate(items.astype(np.float64)):
            lengths = np.sqrt((u @ u) * (v @ v))
            assert cosine[i, j] == pytest.approx(
                u @ v / lengths if lengths else 0, abs=1e-5
            )
            assert distance[i, j] == pytest.approx(np.sqrt(((u - v) ** 2).sum()))


def test_cosine_and_distance_give_one_order_on_unit_vectors():
    rng = np.random.default_rng(0)
    queries, items = (normalize(rng.normal(size=(n, 16))) for n in (5, 200))
    cosine, distance = (
        cosine_similarity(queries, items),
        euclidean_distance(queries, items),
    )
    np.testing.assert_allclose(distance**2, 2 - 2 * cosine, atol=1e-12)
    assert np.array_equal(top_n(cosine, 50).items, top_n(-distance, 50).items)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normalize([1.0]), r"must be \(n, dim\); got shape \(1,\)"),
        (lambda: normalize([[np.nan]]), "must be finite; got NaN or inf in 1"),
        (lambda: normalize([[np.inf]]), "must be finite; got NaN or inf in 1"),
        (lambda: normalize([[1e300, 1e300]]), "lengths must be finite"),
        (lambda: cosine_similarity([[1.0]], [[1.0, 2.0]]), "must have the same dim"),
        (lambda: euclidean_distance([[1.0]], [[1.0, 2.0]]), "must have the same dim"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(vectors)
def test_centred_rows_are_unit_vectors_about_the_mean(rows):
    units = centred(rows)
    assert units.dtype == np.float32
    expected = normalize(rows - rows.mean(axis=0))
    np.testing.assert_array_equal(units, expected)
    assert set(np.linalg.norm(units, axis=1).round(3)) <= {0.0, 1.0}


def test_centring_takes_away_what_rows_share():
    rows = np.random.default_rng(0).normal(size=(50, 8))
    apart = centred(rows)
    np.testing.assert_allclose(centred(rows + 100), apart, atol=1e-5)
    assert mean_cosine(normalize(rows + 100)) > 0.99 > 0.1 > abs(mean_cosine(apart))


def test_mean_cosine_equals_the_pairs_one_by_one():
    units = normalize(np.random.default_rng(0).normal(size=(9, 4)))
    pairs = [units[i] @ units[j] for i in range(9) for j in range(9) if i != j]
    assert mean_cosine(units) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: centred(np.empty((0, 3))), r"must be a vector; got shape \(0, 3\)"),
        (lambda: centred([[np.inf, 1.0]]), "must be finite; got NaN or inf in 1"),
        (lambda: centred([1.0]), r"must be \(n, dim\); got shape \(1,\)"),
        (lambda: mean_cosine([[1.0, 0.0]]), r"two vectors; got shape \(1, 2\)"),
        (lambda: mean_cosine([[np.nan], [1.0]]), "must be finite; got NaN or inf in 1"),
    ],
)
def test_centring_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
