from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from recsys_lib.metrics.accuracy import (
    auc,
    auc_interval,
    average_precision_at_k,
    coverage,
    intra_list_diversity,
    mean_auc,
    ndcg_at_k,
    overlap,
    precision_at_k,
    recall_at_k,
    roc_curve,
    user_aucs,
    users_with,
)

PER_USER = [precision_at_k, recall_at_k, ndcg_at_k, average_precision_at_k]


@st.composite
def labelled_scores(draw):
    n = draw(st.integers(2, 30))
    labels = draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))
    scores = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    return np.array([0, 1, *labels]), np.array(scores) / 2


@st.composite
def lists_and_relevance(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    k = draw(st.integers(1, n_items))
    lists = np.array([rng.permutation(n_items)[:k] for _ in range(n_users)])
    lists[rng.random(lists.shape) < 0.2] = -1
    relevant = rng.random((n_users, n_items)) < 0.4
    relevant[:, 0] |= ~relevant.any(axis=1)
    return lists, csr_matrix(relevant)


# ------------------------------------------------------------------- AUC and ROC


def count_pairs(labels, scores):
    pairs = list(product(scores[labels == 1], scores[labels == 0]))
    return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)


@given(labelled_scores())
def test_auc_is_the_share_of_pairs_and_what_scikit_learn_says(case):
    labels, scores = case
    assert auc(labels, scores) == pytest.approx(count_pairs(labels, scores))
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@given(labelled_scores())
def test_auc_knows_only_the_order(case):
    labels, scores = case
    assert auc(labels, np.exp(scores)) == auc(labels, scores)
    assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores))
    assert auc(1 - labels, scores) == pytest.approx(1 - auc(labels, scores))


@given(labelled_scores())
def test_roc_curve_encloses_the_auc_and_is_scikit_learns(case):
    curve = roc_curve(*case)
    fpr, tpr, thresholds = sklearn_roc_curve(*case, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auc(*case))


def test_auc_at_its_ends():
    assert auc([0, 0, 1], [1.0, 2.0, 3.0]) == 1.0
    assert auc([True, False], [0.0, 1.0]) == 0.0
    assert auc([0, 1, 1], [7.0, 7.0, 7.0]) == 0.5
    assert auc([0, 1], [-np.inf, np.inf]) == 1.0


def test_auc_interval_is_delongs_formula():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    scores = np.array([1.0, 3.0, 3.0, 2.0, 3.0, 4.0, 5.0])
    wins = (scores[labels == 1][:, None] > scores[labels == 0]) * 1.0
    wins += (scores[labels == 1][:, None] == scores[labels == 0]) / 2
    variance = wins.mean(1).var(ddof=1) / 4 + wins.mean(0).var(ddof=1) / 3
    got = auc_interval(labels, scores)
    assert got.value == pytest.approx(auc(labels, scores))
    assert got.high - got.value == pytest.approx(1.959964 * variance**0.5, rel=1e-6)
    assert got.value - got.low == pytest.approx(got.high - got.value)


def test_auc_interval_of_a_gain_is_narrower_than_apart():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    weak = labels + rng.normal(0, 2, 400)
    strong = weak + labels
    gain = auc_interval(labels, strong, baseline=weak)
    assert gain.value == pytest.approx(auc(labels, strong) - auc(labels, weak))
    apart = [auc_interval(labels, scores) for scores in (weak, strong)]
    assert gain.high - gain.low < max(x.high - x.low for x in apart)
    same = auc_interval(labels, weak, baseline=weak)
    assert same.low == same.value == same.high == 0


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [1.0, 2.0], "must hold both 0 and 1"),
        ([0, 2], [1.0, 2.0], "must hold both 0 and 1"),
        ([], [], "must hold both 0 and 1"),
        ([0, 1], [1.0, np.nan], "scores must not be NaN; got 1"),
        ([0, 1], [1.0], "must both be"),
        ([[0, 1]], [[1.0, 2.0]], "must both be"),
    ],
)
@pytest.mark.parametrize("metric", [auc, roc_curve, auc_interval])
def test_auc_and_roc_refuse(metric, labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)


def test_auc_interval_with_units_counts_repeats_once():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    scores = labels + 2 * rng.normal(size=60)
    once = auc_interval(labels, scores)
    users = np.repeat(np.arange(60), 3)
    thrice = [np.repeat(x, 3) for x in (labels, scores)]
    got = auc_interval(*thrice, units=users)
    assert (got.low, got.high) == pytest.approx((once.low, once.high))
    narrow = auc_interval(*thrice)
    assert narrow.high - narrow.low < 0.7 * (once.high - once.low)


def test_auc_interval_with_units_is_that_of_a_bootstrap_of_users():
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(80), 10)
    labels = rng.random(800) < np.repeat(rng.random(80), 10)
    scores = labels + np.repeat(2 * rng.normal(size=80), 10) + rng.normal(size=800)
    got = auc_interval(labels, scores, units=users)
    rows, drawn = np.arange(800).reshape(80, 10), []
    for _ in range(400):
        few = rows[rng.integers(80, size=80)].ravel()
        drawn.append(auc(labels[few], scores[few]))
    assert (got.high - got.low) / 3.92 == pytest.approx(np.std(drawn), rel=0.15)
    assert got.n == 80


def test_auc_interval_needs_a_unit_for_each_case():
    with pytest.raises(ValueError, match=r"units must name one .*got shapes \(3,\)"):
        auc_interval([0, 0, 1, 1], [1, 2, 3, 4], units=[1, 2, 3])
    with pytest.raises(ValueError, match="cases in two units; got one"):
        auc_interval([0, 0, 1, 1], [1, 2, 3, 4], units=[1, 2, 3, 3])


def test_auc_interval_refuses_a_class_with_a_single_case():
    with pytest.raises(ValueError, match="must have cases in two units"):
        auc_interval([0, 0, 1], [1, 2, 3])


# ------------------------------------------------------------------ lists of k


def test_a_list_worked_by_hand():
    lists = np.array([[3, 0, 4, 1]])  # hits at ranks 2 and 4, of three relevant
    relevant = csr_matrix([[1, 1, 1, 0, 0]])
    gain, ideal = 1 / np.log2(3) + 1 / np.log2(5), 1 + 1 / np.log2(3) + 1 / 2
    assert precision_at_k(lists, relevant) == pytest.approx([2 / 4])
    assert recall_at_k(lists, relevant) == pytest.approx([2 / 3])
    assert ndcg_at_k(lists, relevant) == pytest.approx([gain / ideal])
    assert average_precision_at_k(lists, relevant) == pytest.approx(
        [(1 / 2 + 2 / 4) / 3]
    )


def naive(lists, relevant):
    """The four metrics for one user after another, from their definitions."""
    for row, truth in zip(lists.tolist(), relevant.toarray(), strict=True):
        wanted, k = set(np.flatnonzero(truth).tolist()), len(row)
        ranks = [rank for rank, item in enumerate(row, 1) if item in wanted]
        ideal = sum(1 / np.log2(r + 1) for r in range(1, min(k, len(wanted)) + 1))
        yield (
            len(ranks) / k,
            len(ranks) / len(wanted),
            sum(1 / np.log2(r + 1) for r in ranks) / ideal,
            sum(i / rank for i, rank in enumerate(ranks, 1)) / len(wanted),
        )


@given(lists_and_relevance())
def test_list_metrics_equal_their_definitions(case):
    expected = np.array(list(naive(*case))).T
    for metric, values in zip(PER_USER, expected, strict=True):
        got = metric(*case)
        np.testing.assert_allclose(got, values)
        assert ((got >= 0) & (got <= 1)).all()


@given(lists_and_relevance(), st.randoms(use_true_random=False))
def test_list_metrics_do_not_know_names_of_items(case, random):
    lists, relevant = case
    names = list(range(relevant.shape[1]))
    random.shuffle(names)
    renamed = np.where(lists < 0, -1, np.array(names)[lists])
    moved = csr_matrix(relevant.toarray()[:, np.argsort(names)])
    for metric in PER_USER:
        np.testing.assert_allclose(metric(renamed, moved), metric(lists, relevant))


@given(lists_and_relevance())
def test_a_perfect_list_has_ndcg_one(case):
    relevant = case[1]
    best = np.argsort(-relevant.toarray().astype(int), axis=1, kind="stable")
    np.testing.assert_allclose(ndcg_at_k(best[:, :3], relevant), 1)
    np.testing.assert_allclose(recall_at_k(best, relevant), 1)
    np.testing.assert_allclose(average_precision_at_k(best, relevant), 1)


def test_entries_stored_as_zero_or_twice_count_as_they_should():
    relevant = csr_matrix(([1, 1, 0], [1, 1, 2], [0, 3]), shape=(1, 3))
    assert recall_at_k(np.array([[1, 2]]), relevant).tolist() == [1.0]
    assert precision_at_k(np.array([[1, 2]]), relevant).tolist() == [0.5]


def test_an_empty_slot_is_not_the_last_item_of_the_user_before():
    relevant = csr_matrix([[0, 1], [1, 0]])
    assert precision_at_k(np.array([[0], [-1]]), relevant).tolist() == [0.0, 0.0]


def test_users_with_selects_users_that_the_metrics_accept():
    relevant = csr_matrix([[0, 1], [0, 0], [1, 0]])
    lists = np.array([[1], [0], [0]])
    users = users_with(relevant)
    assert users.tolist() == [0, 2]
    assert recall_at_k(lists[users], relevant[users]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("lists", "relevant", "message"),
    [
        ([[0], [0]], [[1, 0], [0, 0]], "relevant item; got 1 without"),
        ([[0]], [[1, 0], [0, 1]], "same users; got 1 and 2"),
        ([[2]], [[1, 0]], r"lie in \[-1, 2\); got 2..2"),
        ([[-2]], [[1, 0]], r"lie in \[-1, 2\)"),
        ([[1, 1]], [[1, 0]], "not repeat items; got 1"),
        ([[0.5]], [[1, 0]], "integers, not empty; got float64"),
        ([0, 1], [[1, 0]], "integers, not empty"),
        ([[]], [[1, 0]], "integers, not empty"),
    ],
)
@pytest.mark.parametrize("metric", PER_USER)
def test_list_metrics_refuse(metric, lists, relevant, message):
    with pytest.raises(ValueError, match=message):
        metric(np.array(lists), csr_matrix(relevant))


# --------------------------------------------------------- coverage and diversity


def test_coverage_counts_each_item_once():
    assert coverage(np.array([[0, 1], [1, 2]]), n_items=6) == 0.5
    assert coverage(np.array([[-1, -1]]), n_items=6) == 0.0
    with pytest.raises(ValueError, match=r"lie in \[-1, 2\)"):
        coverage(np.array([[2]]), n_items=2)


@given(st.integers(0, 10**6))
def test_diversity_is_the_mean_over_pairs(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(8, 3))
    vectors[0] = 0  # cosine 0 with all
    lists = np.array([rng.permutation(8)[:4] for _ in range(3)])
    lists[0, 0] = -1
    lengths = np.linalg.norm(vectors, axis=1)
    for got, row in zip(intra_list_diversity(lists, vectors), lists, strict=True):
        pairs = [(i, j) for i in row for j in row if i < j and i >= 0]
        cosines = [
            vectors[i] @ vectors[j] / (lengths[i] * lengths[j] or 1) for i, j in pairs
        ]
        assert got == pytest.approx(1 - np.mean(cosines))


def test_diversity_at_its_ends():
    vectors = np.array([[1.0, 0.0], [5.0, 0.0], [-1.0, 0.0]])
    lists = np.array([[0, 1], [0, 2]])
    assert intra_list_diversity(lists, vectors) == pytest.approx([0.0, 2.0])


@pytest.mark.parametrize(
    ("lists", "vectors", "message"),
    [
        ([[0, -1]], [[1.0], [1.0]], "two items; got 1 shorter"),
        ([[0, 1]], [[1.0], [np.nan]], "finite"),
        ([[0, 1]], [1.0, 1.0], r"must be \(n_items, dim\)"),
    ],
)
def test_diversity_refuses(lists, vectors, message):
    with pytest.raises(ValueError, match=message):
        intra_list_diversity(np.array(lists), np.array(vectors))


@given(st.integers(0, 10**6))
def test_user_aucs_equal_auc_user_by_user(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (6, 5)).astype(float)  # with ties
    relevant = rng.random((6, 5)) < 0.4
    expected = [
        auc(right, row) if 0 < right.sum() < 5 else np.nan
        for row, right in zip(scores, relevant, strict=True)
    ]
    np.testing.assert_allclose(user_aucs(scores, relevant), expected)
    if not np.isnan(expected).all():
        assert mean_auc(scores, relevant) == pytest.approx(np.nanmean(expected))


def test_overlap_is_the_share_of_a_list_found_in_the_other():
    assert overlap([[1, 2, 3, 4]], [[4, 9]]).tolist() == [0.25]
    assert overlap([[1, 2], [3, 4]], [[2, 1], [5, 6]]).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: user_aucs([1.0], [1]), r"\(n_users, n_items\); got \(1,\) and \(1,\)"),
        (lambda: user_aucs([[1.0]], [[1, 0]]), r"got \(1, 1\) and \(1, 2\)"),
        (lambda: user_aucs([[np.nan, 1.0]], [[1, 0]]), "must not be NaN; got 1"),
        (lambda: mean_auc([[1.0, 2.0]], [[1, 1]]), "got none of 1 users"),
        (lambda: overlap([[1]], [[1], [2]]), "zip"),
    ],
)
def test_auc_and_overlap_of_users_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
