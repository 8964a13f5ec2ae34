from itertools import count

import numpy as np
import pytest

from recsys_lib.ranking.index import build_index
from recsys_lib.ranking.selectivity import (
    filter_afterwards,
    filter_masks,
    measure_filters,
)
from recsys_lib.ranking.similarity import normalize

N_ITEMS, SHARES = 400, (1.0, 0.5, 0.01)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return normalize(rng.normal(size=(N_ITEMS, 8))).astype(np.float32)


def test_a_correlated_filter_leaves_out_the_nearest(vectors):
    query = vectors[0]
    masks = filter_masks(query, vectors, SHARES, rng=np.random.default_rng(0))
    near = np.argsort(-(vectors @ query))[:20]
    assert masks["random", 1.0].all()
    assert masks["correlated", 1.0].all()
    assert not masks["correlated", 0.5][near].any()
    assert 0 < masks["random", 0.5][near].sum() < 20
    for kind in ("random", "correlated"):
        assert [masks[kind, x].sum() for x in SHARES] == [400, 200, 4]
        assert not (masks[kind, 0.01] & ~masks[kind, 0.5]).any()


def test_at_least_one_item_is_allowed(vectors):
    masks = filter_masks(vectors[0], vectors, [1e-9], rng=np.random.default_rng(0))
    assert [mask.sum() for mask in masks.values()] == [1, 1]


def test_an_exact_search_finds_all_and_a_later_filter_only_what_was_found(vectors):
    index = build_index(vectors)
    searches = {
        "exact": lambda query, mask: index.search(query, 10, allowed=mask).items,
        "afterwards": filter_afterwards(lambda query: index.search(query, 20).items),
    }
    ticks = count()
    found = measure_filters(
        searches, vectors, vectors[:7], SHARES, clock=lambda: next(ticks) / 1e3
    )
    assert len(found) == 2 * (2 * len(SHARES) + 2)
    for (name, kind, share), each in found.items():
        assert each.ms.tolist() == pytest.approx([1.0] * 7)
        if name == "exact" or share == 1:
            assert each.recall.tolist() == [1.0] * 7
        elif kind == "correlated":
            assert each.recall.max() == 0
    half = found["afterwards", "random", 0.5].recall.mean()
    assert 0.7 < half < 1  # ten of the twenty nearest are allowed on average


def test_the_seed_draws_the_filters(vectors):
    index = build_index(vectors, kind="binary")
    searches = {
        "binary": lambda query, mask: (
            index.search(query, 10, effort=0.05, allowed=mask).items
        )
    }
    runs = [
        measure_filters(searches, vectors, vectors[:5], [0.3], seed=seed)
        for seed in (1, 1, 2)
    ]
    recalls = [run["binary", "random", 0.3].recall.tolist() for run in runs]
    assert recalls[0] == recalls[1] != recalls[2]
