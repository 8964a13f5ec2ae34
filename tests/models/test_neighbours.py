import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.splits import stratified_split
from recsys_lib.metrics.accuracy import (
    average_precision_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from recsys_lib.models.ease import fit_ease
from recsys_lib.models.neighbours import (
    fit_item_knn,
    fit_popularity,
    fit_sar,
    time_decayed_affinity,
)
from recsys_lib.ranking.top_n import top_n

EVENTS = pd.DataFrame(
    {
        "user": [0, 0, 1, 1],
        "item": [0, 1, 1, 1],
        "rating": [4.0, 3.0, 2.0, 2.0],
        "timestamp": [0, 30 * 86_400, 15 * 86_400, 30 * 86_400],
    }
)


@st.composite
def matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(2, 8)), draw(st.integers(2, 6))
    return (rng.random(shape) < 0.5).astype(np.float64)


@pytest.fixture(scope="module")
def benchmark():
    data = load_movielens()
    shape = data.n_users, data.n_items
    split = stratified_split(data.interactions)
    seen, relevant = (interaction_matrix(x, shape) for x in (split.train, split.test))
    return split.train, seen, relevant


def test_sar_reproduces_the_published_benchmark(benchmark):
    """The four numbers of the recommenders repository, to all published digits."""
    train, seen, relevant = benchmark
    scores = fit_sar(seen).score(time_decayed_affinity(train, seen.shape))
    lists = top_n(scores, 10, exclude=seen).items
    published = {
        average_precision_at_k: 0.114038,
        ndcg_at_k: 0.393819,
        precision_at_k: 0.340615,
        recall_at_k: 0.185377,
    }
    for metric, value in published.items():
        assert metric(lists, relevant).mean() == pytest.approx(value, abs=5e-7)


def test_popularity_ranks_below_item_knn_and_item_knn_below_ease(benchmark):
    _, seen, relevant = benchmark
    models = [fit_popularity(seen), fit_item_knn(seen, k=50), fit_ease(seen)]
    lists = [top_n(model.score(seen), 10, exclude=seen).items for model in models]
    quality = [ndcg_at_k(x, relevant).mean() for x in lists]
    assert quality[0] < 0.3 < 0.4 < quality[1] < 0.46 < 0.47 < quality[2]


def test_popularity_counts_users_not_values():
    model = fit_popularity(csr_matrix([[5.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    assert model.score(csr_matrix((2, 3))).tolist() == [[2, 1, 0], [2, 1, 0]]


def naive_knn(x, k, shrink):
    n_items, norms = x.shape[1], np.linalg.norm(x, axis=0)
    weights = np.zeros((n_items, n_items))
    for j in range(n_items):
        bottoms = norms * norms[j] + shrink
        cosine = [x[:, i] @ x[:, j] / (b or 1) for i, b in enumerate(bottoms)]
        near = sorted((i for i in range(n_items) if i != j), key=lambda i: -cosine[i])
        for i in near[:k]:
            weights[i, j] = cosine[i]
    return weights


@given(matrices(), st.integers(1, 6), st.sampled_from([0.0, 3.0]))
def test_item_knn_keeps_the_k_nearest_of_each_item(x, k, shrink):
    weights = fit_item_knn(csr_matrix(x), k=k, shrink=shrink).weights.toarray()
    # rounded: equal cosines of different norms may differ in the last digit
    np.testing.assert_allclose(
        np.sort(weights, axis=0), np.sort(naive_knn(x, k, shrink), axis=0), atol=1e-6
    )
    assert ((weights > 0).sum(axis=0) <= k).all()
    assert (weights.diagonal() == 0).all()


def test_item_knn_breaks_ties_by_lower_code():
    groups = np.eye(3)[np.arange(300) % 3].T  # three groups of equal items
    near = fit_item_knn(csr_matrix(groups), k=2).weights.toarray()
    expected = [[j % 3, j % 3 + 3, j % 3 + 6] for j in range(300)]
    for j, codes in enumerate(expected):
        assert np.flatnonzero(near[:, j]).tolist() == [c for c in codes if c != j][:2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be >= 1"),
        ({"shrink": -1}, "shrink >= 0; got k=100, shrink=-1"),
        ({"shrink": float("nan")}, "shrink >= 0; got k=100, shrink=nan"),
    ],
)
def test_item_knn_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        fit_item_knn(csr_matrix([[1, 1]]), **options)


@given(matrices())
def test_sar_weights_are_jaccard_similarities(x):
    users = [set(np.flatnonzero(column)) for column in x.T]
    expected = [[len(a & b) / (len(a | b) or 1) for b in users] for a in users]
    np.testing.assert_allclose(fit_sar(csr_matrix(3 * x)).weights, expected, rtol=1e-6)


def test_affinity_halves_each_half_life():
    affinity = time_decayed_affinity(EVENTS, (2, 2)).toarray()
    np.testing.assert_allclose(affinity, [[2, 3], [0, 2 * 0.5**0.5 + 2]], rtol=1e-6)
    slow = time_decayed_affinity(EVENTS, (2, 2), half_life_days=1e9)
    np.testing.assert_allclose(slow.toarray(), [[4, 3], [0, 4]], rtol=1e-6)


def test_affinity_refuses_a_wrong_half_life_and_codes():
    with pytest.raises(ValueError, match="half_life_days must be positive; got 0"):
        time_decayed_affinity(EVENTS, (2, 2), half_life_days=0)
    with pytest.raises(ValueError, match="user codes must lie"):
        time_decayed_affinity(EVENTS, (1, 2))
