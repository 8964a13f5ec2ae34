"""Filters drawn at random, and filters correlated with the query."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.ranking import faiss_store
from recsys_lib.ranking.index import build_index
from recsys_lib.ranking.similarity import normalize
from recsys_lib.ranking.top_n import top_n

KINDS = ("flat", "int8", "binary", "hnsw")
N_ITEMS, K = 12_000, 10
SHARES = (1.0, 0.99, 0.9, 0.5, 0.1, 0.01, 0.001)


def clustered(n, *, seed, dim=32):
    """Unit vectors around 60 centres, and the centre of each."""
    centres = np.random.default_rng(1).normal(size=(60, dim))
    rng = np.random.default_rng(seed)
    of = rng.integers(60, size=n)
    rows = centres[of] + 0.7 * rng.normal(size=(n, dim))
    return normalize(rows.astype(np.float32)), normalize(centres)[of]


@pytest.fixture(scope="module")
def table():
    return clustered(N_ITEMS, seed=0)[0]


@pytest.fixture(scope="module")
def indexes(table):
    return {kind: build_index(table, kind=kind) for kind in KINDS}


def allowed_items(how, share, nearness):
    """A mask: items drawn at random, or those nearest to, farthest from a centre."""
    rng = np.random.default_rng(0)
    order = {"near": -nearness, "far": nearness, "random": rng.random(N_ITEMS)}[how]
    mask = np.zeros(N_ITEMS, np.bool_)
    mask[np.argsort(order)[: int(share * N_ITEMS)]] = True
    return mask


def recall(index, queries, mask, table, **options):
    scores = np.where(mask, queries @ table.T, -np.inf)
    exact = top_n(scores, min(K, np.count_nonzero(mask))).items
    found = index.search(queries, K, allowed=mask, **options)
    own = (queries[:, None] * table[found.items]).sum(axis=2)
    assert mask[found.items].all()
    if index.kind != "int8":
        np.testing.assert_allclose(found.scores, own, atol=1e-6)
    return (found.items[:, :, None] == exact[:, None]).any(axis=2).mean()


def mean_recall(index, how, share, table):
    """Mean over 20 queries, each with a filter of its own."""
    queries, centres = clustered(20, seed=2)
    masks = [allowed_items(how, share, table @ centre) for centre in centres]
    return np.mean(
        [
            recall(index, query[None], mask, table)
            for query, mask in zip(queries, masks, strict=True)
        ]
    )


@pytest.mark.parametrize("how", ["random", "near", "far"])
@pytest.mark.parametrize("kind", KINDS)
def test_recall_at_every_selectivity(kind, how, table, indexes):
    least = 0.9 if kind == "int8" else 0.95  # int8 holds nothing to rank exactly
    for share in SHARES:
        assert mean_recall(indexes[kind], how, share, table) >= least, share


def test_an_unchecked_shortlist_fails_where_the_filter_excludes_the_near(
    table, indexes, monkeypatch
):
    checked = mean_recall(indexes["binary"], "far", 0.9, table)
    monkeypatch.setattr(faiss_store, "_SURE_SHARE", 1)
    assert mean_recall(indexes["binary"], "far", 0.9, table) < 0.9 < checked


def test_effort_is_the_one_width_that_is_tried(table, indexes):
    query, mask = table[:1], np.arange(N_ITEMS) % 2 == 0
    narrow = recall(indexes["binary"], query, mask, table, effort=K / N_ITEMS)
    assert narrow < recall(indexes["binary"], query, mask, table, effort=0.1)
    for kind in KINDS:
        found = indexes[kind].search(query, K, allowed=mask, effort=1)
        exact = indexes["flat"].search(query, K, allowed=mask)
        assert kind == "int8" or np.array_equal(found.items, exact.items)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.95, 0.3, 0.01])
def test_a_batch_is_answered_as_its_queries_alone(kind, share, table, indexes):
    queries, centres = clustered(20, seed=2)
    mask = allowed_items("far", share, table @ centres[0])  # hard for some alone
    together = indexes[kind].search(queries, K, allowed=mask)
    apart = [indexes[kind].search([query], K, allowed=mask) for query in queries]
    assert np.array_equal(np.vstack([x.items for x in apart]), together.items)


@given(
    st.sampled_from(("flat", "binary", "hnsw")),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40)),
    st.integers(1, 50),
)
def test_equals_sorting_the_allowed_by_score(kind, removed, allowed, k):
    rng = np.random.default_rng(0)
    vectors, query = rng.normal(size=(41, 4)).astype(np.float32), np.ones(4, np.float32)
    index = build_index(vectors, kind=kind, ids=np.arange(41)[::-1])
    index.remove(list(removed))
    left = sorted(allowed - removed, key=lambda i: -float(vectors[40 - i] @ query))
    for given_as in (list(allowed), np.isin(np.arange(41), list(allowed))):
        found = index.search([query], k, allowed=given_as)
        assert found.items[0].tolist() == left[:k]


def test_more_results_than_a_shortlist_holds(table, indexes):
    mask = np.arange(N_ITEMS) % 2 == 0
    for index in indexes.values():
        found = index.search(table[:1], N_ITEMS, allowed=mask).items[0]
        assert sorted(found.tolist()) == np.flatnonzero(mask).tolist()


def test_ids_must_be_integers():
    with pytest.raises(TypeError, match="ids must be integers; got float64"):
        build_index([[1.0]]).search([[1.0]], 1, allowed=[0.5])
