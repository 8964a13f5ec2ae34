from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.ranking.index import build_index
from recsys_lib.ranking.sharded_index import build_sharded_index
from recsys_lib.ranking.similarity import normalize
from recsys_lib.scaling.ray_serving import RemoteShard


def unit_vectors(n, *, seed=0, dim=16):
    rng = np.random.default_rng(seed)
    return normalize(rng.normal(size=(n, dim)).astype(np.float32))


def equal(found, wanted):
    assert np.array_equal(found.items, wanted.items)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


@given(
    st.sampled_from(["flat", "binary", "hnsw"]),
    st.integers(1, 5),
    st.integers(0, 40),
    st.integers(1, 50),
)
def test_shards_answer_as_one_index_does(kind, n_shards, n_items, k):
    table, queries = unit_vectors(n_items), unit_vectors(3, seed=1)
    ids = np.random.default_rng(2).permutation(1000)[:n_items]
    one = build_index(table, kind=kind, ids=ids)
    many = build_sharded_index(table, n_shards=n_shards, kind=kind, ids=ids)
    equal(many.search(queries, k, effort=1), one.search(queries, k, effort=1))
    assert (len(many), many.dim, many.kind) == (len(one), one.dim, kind)


def test_no_kind_finds_less_in_shards():
    table, queries = unit_vectors(3000), unit_vectors(50, seed=1)
    exact = build_index(table).search(queries, 10).items

    def recall(index):
        found = index.search(queries, 10).items
        return (found[:, :, None] == exact[:, None]).any(axis=2).mean()

    for kind in ("int8", "binary", "hnsw"):
        one = recall(build_index(table, kind=kind))
        many = recall(build_sharded_index(table, n_shards=3, kind=kind))
        assert many >= one - 0.02


def test_items_come_and_go_as_in_one_index():
    table = unit_vectors(60)
    one = build_index(table[:40])
    many = build_sharded_index(table[:40], n_shards=3)
    for index in (one, many):
        index.add(np.arange(40, 60), table[40:])
        assert index.remove([0, 7, 59, 1000]) == 3
    equal(many.search(table[:5], 60), one.search(table[:5], 60))
    assert many.size_bytes == one.size_bytes


def test_a_refused_addition_leaves_no_trace():
    index = build_sharded_index(unit_vectors(6), n_shards=3)
    with pytest.raises(ValueError, match=r"ids must be new; got \[5\] again"):
        index.add([6, 7, 5], unit_vectors(3, seed=1))
    assert len(index) == 6
    index.add([6, 7], unit_vectors(2, seed=1))
    assert len(index) == 8


def test_shards_in_processes_of_their_own(ray_runs):
    table, queries = unit_vectors(300), unit_vectors(3, seed=1)
    one = build_index(table[:299])
    many = build_sharded_index(table[:299], n_shards=2, make_shard=RemoteShard)
    for index in (one, many):
        index.add([299], table[299:])
        assert index.remove([3]) == 1
    equal(many.search(queries, 5), one.search(queries, 5))
    assert (len(many), many.dim, many.kind) == (299, 16, "flat")
    assert many.size_bytes == one.size_bytes
    with pytest.raises(ValueError, match="k must be >= 1; got 0"):
        many.search(queries, 0)


build = partial(build_sharded_index, n_shards=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build([[1.0]], n_shards=0), "n_shards must be >= 1; got 0"),
        (lambda: build([1.0]), r"must be \(n, dim\); got shape"),
        (lambda: build([[np.nan]]), "vectors must be finite"),
        (lambda: build([[1.0]], ids=[1, 2]), "one for each vector; got 2 for 1"),
        (lambda: build([[1.0], [2.0]], ids=[4, 4]), "ids must be different"),
        (lambda: build([[1.0]], ids=[-1]), "ids must be .* >= 0"),
        (lambda: build([[1.0]], kind="tree"), "kind must be one of"),
        (lambda: build([[1.0]]).add([1], [[1.0, 2.0]]), r"must be \(n, 1\)"),
        (lambda: build([[1.0]]).search([[1.0]], 0), "k must be >= 1; got 0"),
        (lambda: build([[1.0]]).search([[1.0]], 1, effort=2), "effort must lie"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_refuses_ids_that_are_no_integers():
    with pytest.raises(TypeError, match="ids must be integers; got float64"):
        build([[1.0]], ids=[0.5])
