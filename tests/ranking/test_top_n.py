import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from recsys_lib.ranking.top_n import top_n

shapes = st.tuples(st.integers(1, 5), st.integers(1, 7))
# few values, so that ties are the rule
tied = arrays(np.float64, shapes, elements=st.sampled_from([0.0, 1.0, 2.0, -np.inf]))


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
    ],
)
def test_top_n_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
