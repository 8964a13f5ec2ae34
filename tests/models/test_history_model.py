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
from recsys_lib.models.ease import ease_weights, fit_ease, fit_temporal_ease, solve_ease
from recsys_lib.models.neighbours import (
    fit_item_knn,
    fit_popularity,
    fit_sar,
    time_decayed_affinity,
)
from recsys_lib.ranking.top_n import top_n

FITS = [fit_popularity, fit_item_knn, fit_ease, fit_sar]


@st.composite
def matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(2, 8)), draw(st.integers(2, 6))
    return (rng.random(shape) < 0.5).astype(np.float64)


# ------------------------------------------------------------------- the protocol


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


def test_each_generation_ranks_above_the_one_before(benchmark):
    _, seen, relevant = benchmark
    models = [fit_popularity(seen), fit_item_knn(seen, k=50), fit_ease(seen)]
    lists = [top_n(model.score(seen), 10, exclude=seen).items for model in models]
    quality = [ndcg_at_k(x, relevant).mean() for x in lists]
    assert quality[0] < 0.3 < 0.4 < quality[1] < 0.46 < 0.47 < quality[2]


# --------------------------------------------------------------------- popularity


def test_popularity_counts_users_not_values():
    model = fit_popularity(csr_matrix([[5.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    assert model.score(csr_matrix((2, 3))).tolist() == [[2, 1, 0], [2, 1, 0]]


# ------------------------------------------------------------------------ ItemKNN


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


# --------------------------------------------------------------------------- EASE


@given(matrices(), st.sampled_from([0.5, 10.0]))
def test_ease_solves_a_ridge_regression_per_item(x, l2):
    weights = fit_ease(csr_matrix(x), l2=l2).weights
    for j in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), j)
        a = x[:, others]
        ridge = np.linalg.solve(a.T @ a + l2 * np.eye(len(others)), a.T @ x[:, j])
        np.testing.assert_allclose(weights[others, j], ridge, atol=1e-5)
        assert weights[j, j] == 0


def test_ease_weights_need_only_the_inverse():
    x = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    inverse = np.linalg.inv(x.T @ x + 2 * np.eye(3))
    fitted = fit_ease(csr_matrix(x), l2=2).weights
    np.testing.assert_allclose(ease_weights(inverse), fitted, rtol=1e-6)


def meetings(x, seed=0):
    users, items = np.nonzero(x)
    times = np.random.default_rng(seed).integers(0, 500, len(users))
    return pd.DataFrame({"user": users, "item": items, "timestamp": times})


@given(matrices(), st.sampled_from([0.0, 0.3]), st.sampled_from([5.0, 100.0]))
def test_temporal_ease_counts_pairs_by_their_distance_in_time(x, apart, decay_s):
    events, gram = meetings(x), np.zeros((x.shape[1],) * 2)
    for a in events.itertuples():
        for b in events[events.user == a.user].itertuples():
            near = np.exp(-abs(a.timestamp - b.timestamp) / decay_s)
            gram[a.item, b.item] += apart + (1 - apart) * near
    options = {"l2": 2.0, "decay_s": decay_s, "apart": apart}
    found = fit_temporal_ease(events, x.shape, **options).weights
    np.testing.assert_allclose(found, solve_ease(gram, l2=2.0).weights, atol=1e-6)


@given(matrices())
def test_temporal_ease_is_ease_when_time_does_not_count(x):
    if x.any():
        found = fit_temporal_ease(meetings(x), x.shape, l2=3, apart=1).weights
        expected = fit_ease(csr_matrix(x), l2=3).weights
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay_s": 0}, "decay_s must be positive, .*; got 0 and 0.2"),
        ({"apart": 1.1}, r"apart lie in \[0, 1\]; got 120.0 and 1.1"),
        ({"l2": 0}, "l2 must be positive and finite; got 0"),
        ({"shape": (1, 2)}, "user codes must lie"),
    ],
)
def test_temporal_ease_refuses(options, message):
    once = EVENTS[:3]
    with pytest.raises(ValueError, match=message):
        fit_temporal_ease(once, **{"shape": (2, 2), **options})
    with pytest.raises(ValueError, match="but once; got pairs that repeat"):
        fit_temporal_ease(EVENTS, (2, 2))


# ---------------------------------------------------------------------------- SAR


def naive_similarity(x, measure, threshold):
    def similar(i, j):
        both, either = (x[:, i] * x[:, j]).sum(), np.maximum(x[:, i], x[:, j]).sum()
        apart = x[:, i].sum() * x[:, j].sum()
        bottom = {"jaccard": either, "cooccurrence": 1, "lift": apart}[measure]
        return both / bottom if both >= threshold and bottom else 0.0

    codes = range(x.shape[1])
    return [[similar(i, j) for j in codes] for i in codes]


@given(
    matrices(), st.sampled_from(["jaccard", "cooccurrence", "lift"]), st.integers(1, 3)
)
def test_sar_similarity_equals_its_definition(x, measure, threshold):
    model = fit_sar(csr_matrix(3 * x), measure=measure, threshold=threshold)
    expected = naive_similarity(x, measure, threshold)
    np.testing.assert_allclose(model.weights, expected, rtol=1e-6)


EVENTS = pd.DataFrame(
    {
        "user": [0, 0, 1, 1],
        "item": [0, 1, 1, 1],
        "rating": [4.0, 3.0, 2.0, 2.0],
        "timestamp": [0, 30 * 86_400, 15 * 86_400, 30 * 86_400],
    }
)


def test_affinity_halves_each_half_life():
    affinity = time_decayed_affinity(EVENTS, (2, 2)).toarray()
    np.testing.assert_allclose(affinity, [[2, 3], [0, 2 * 0.5**0.5 + 2]], rtol=1e-6)
    older = time_decayed_affinity(EVENTS, (2, 2), now=60 * 86_400).toarray()
    np.testing.assert_allclose(older, affinity / 2, rtol=1e-6)
    slow = time_decayed_affinity(EVENTS, (2, 2), half_life_days=1e9)
    np.testing.assert_allclose(slow.toarray(), [[4, 3], [0, 4]], rtol=1e-6)


# ------------------------------------------------------------------- every model


@given(matrices(), st.integers(0, 99))
def test_scores_follow_a_renaming_of_the_items(x, seed):
    names = np.random.default_rng(seed).permutation(x.shape[1])
    for fit in (fit_popularity, fit_ease, fit_sar):
        scores = fit(csr_matrix(x)).score(csr_matrix(x))
        renamed = fit(csr_matrix(x[:, names])).score(csr_matrix(x[:, names]))
        np.testing.assert_allclose(renamed, scores[:, names], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_every_model_scores_users_it_has_not_met(fit):
    model = fit(csr_matrix([[1, 1, 0, 0], [0, 1, 1, 0]]))  # nobody met the last item
    scores = model.score(csr_matrix([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]))
    assert scores.dtype == np.float32
    assert scores.shape == (3, 4)
    assert np.isfinite(scores).all()
    assert scores[0, 1] > scores[0, 3]


@pytest.mark.parametrize("fit", FITS)
def test_every_model_refuses_what_it_cannot_use(fit):
    with pytest.raises(ValueError, match=r"finite and not empty; got shape .*, 1 not"):
        fit(csr_matrix([[np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"not empty; got shape \(0, 3\)"):
        fit(csr_matrix((0, 3)))
    with pytest.raises(ValueError, match="must have 2 columns; got 3"):
        fit(csr_matrix([[1, 1]])).score(csr_matrix((1, 3)))


@pytest.mark.parametrize(
    ("fit", "options", "message"),
    [
        (fit_item_knn, {"k": 0}, "k must be >= 1"),
        (fit_item_knn, {"shrink": -1}, "shrink >= 0; got k=100, shrink=-1"),
        (fit_item_knn, {"shrink": float("nan")}, "shrink >= 0; got k=100, shrink=nan"),
        (fit_ease, {"l2": 0}, "l2 must be positive and finite; got 0"),
        (fit_ease, {"l2": float("inf")}, "l2 must be positive and finite; got inf"),
        (fit_sar, {"measure": "cosine"}, r"measure must be in .*; got 'cosine'"),
    ],
)
def test_options_out_of_range(fit, options, message):
    with pytest.raises(ValueError, match=message):
        fit(csr_matrix([[1, 1]]), **options)


def test_affinity_refuses():
    with pytest.raises(ValueError, match="half_life_days must be positive; got 0"):
        time_decayed_affinity(EVENTS, (2, 2), half_life_days=0)
    with pytest.raises(ValueError, match="must not be later than 5; got 2592000"):
        time_decayed_affinity(EVENTS, (2, 2), now=5)
    with pytest.raises(ValueError, match="user codes must lie"):
        time_decayed_affinity(EVENTS, (1, 2))
