import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from recsys_lib.ranking.similarity import (
    cosine_similarity,
    euclidean_distance,
    normalize,
)
from recsys_lib.ranking.top_n import top_n

shapes = st.tuples(st.integers(1, 5), st.integers(1, 7))
# few values, so that ties are the rule
tied = arrays(np.float64, shapes, elements=st.sampled_from([0.0, 1.0, 2.0, -np.inf]))
vectors = arrays(
    np.float32, shapes, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
)


def naive_top_n(scores, n, excluded):
    """Sorted by falling score, then rising index; -1 where nothing is left."""
    lists = []
    for row, gone in zip(scores.tolist(), excluded.tolist(), strict=True):
        left = [i for i, s in enumerate(row) if not gone[i] and s > -np.inf]
        best = sorted(left, key=lambda i: (-row[i], i))[:n]
        lists.append(best + [-1] * (n - len(best)))
    return lists


@given(tied, st.data())
def test_top_n_equals_sorting(scores, data):
    excluded = data.draw(arrays(np.bool_, scores.shape))
    n = data.draw(st.integers(1, scores.shape[1]))
    best = top_n(scores, n, exclude=csr_matrix(excluded))
    assert best.items.tolist() == naive_top_n(scores, n, excluded)
    assert best.items.dtype == np.int64
    kept = np.take_along_axis(scores, best.items, axis=1)
    expected = np.where(best.items == -1, -np.inf, kept)
    assert np.array_equal(best.scores, expected)


def test_top_n_by_hand():
    best = top_n([[1, 3, 3, 2], [5, 4, 4, 4]], 2)
    assert best.items.tolist() == [[1, 2], [0, 1]]
    assert best.scores.tolist() == [[3.0, 3.0], [5.0, 4.0]]


def test_too_few_left_leaves_empty_slots():
    best = top_n([[1.0, 2.0]], 2, exclude=csr_matrix([[0, 1]]))
    assert best.items.tolist() == [[0, -1]]
    assert best.scores.tolist() == [[1.0, -np.inf]]


def test_top_n_leaves_the_scores_alone_and_takes_no_query():
    scores = np.array([[1.0, 2.0]], dtype=np.float32)
    assert top_n(scores, 1, exclude=csr_matrix([[0, 1]])).scores.dtype == np.float32
    assert scores.tolist() == [[1.0, 2.0]]
    assert top_n(np.empty((0, 3)), 2).items.shape == (0, 2)


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
        (lambda: top_n([[np.nan, 1.0]], 1), "must not be NaN; got 1"),
        (lambda: top_n([[1.0, 2.0]], 3), r"n must lie in \[1, 2 items\]; got 3"),
        (lambda: top_n([[1.0, 2.0]], 0), "got 0"),
        (lambda: top_n([1.0], 1), r"must be \(n_queries, n_items\); got \(1,\)"),
        (
            lambda: top_n([[1.0]], 1, exclude=csr_matrix((1, 2))),
            r"exclude must be \(1, 1\); got \(1, 2\)",
        ),
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
