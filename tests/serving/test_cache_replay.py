from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.load import arrival_times
from recsys_lib.latency.queueing import erlang_b
from recsys_lib.serving.cache_replay import (
    POLICIES,
    che_hit_ratio,
    replay_cache,
    replay_hits,
    replay_pool,
)
from recsys_lib.serving.caching import BufferPool

TRACES = st.lists(st.integers(0, 8), min_size=1, max_size=60)


def naive_hits(trace, size, *, renew):
    cache: OrderedDict[int, None] = OrderedDict()
    hits = []
    for key in trace:
        hits.append(key in cache)
        if key in cache:
            if renew:
                cache.move_to_end(key)
        else:
            if len(cache) == size:
                cache.popitem(last=False)
            cache[key] = None
    return hits


@given(TRACES, st.integers(1, 6))
def test_lru_and_fifo_equal_naive_caches(trace, size):
    for policy, renew in (("lru", True), ("fifo", False)):
        expected = np.mean(naive_hits(trace, size, renew=renew))
        assert replay_cache(trace, size=size, policy=policy) == pytest.approx(expected)


def naive_lfu_hits(trace, size):
    uses: dict[int, tuple[int, int]] = {}
    hits = []
    for now, key in enumerate(trace):
        hits.append(key in uses)
        if key not in uses and len(uses) == size:
            del uses[min(uses, key=uses.__getitem__)]
        uses[key] = (uses.get(key, (0, 0))[0] + 1, now)
    return hits


def naive_optimal_hits(trace, size):
    cached: set[int] = set()
    hits = []
    for now, key in enumerate(trace):
        hits.append(key in cached)
        if key not in cached and len(cached) == size:
            rest = trace[now + 1 :]
            cached.remove(
                max(cached, key=lambda k: rest.index(k) if k in rest else len(trace))
            )
        cached.add(key)
    return hits


@given(TRACES, st.integers(1, 6))
def test_lfu_and_belady_equal_naive_caches_and_none_beats_belady(trace, size):
    best = replay_cache(trace, size=size, policy="belady")
    assert best == pytest.approx(np.mean(naive_optimal_hits(trace, size)))
    expected = np.mean(naive_lfu_hits(trace, size))
    assert replay_cache(trace, size=size, policy="lfu") == pytest.approx(expected)
    for policy in ("lru", "fifo", "sieve", "arc"):
        assert replay_cache(trace, size=size, policy=policy) <= best + 1e-9


@pytest.mark.parametrize("policy", ["s3fifo", "sieve", "arc", "wtinylfu"])
def test_newer_policies_beat_fifo_on_skewed_requests(policy):
    popularity = 1 / np.arange(1, 1001)
    rng = np.random.default_rng(0)
    trace = rng.choice(1000, 20_000, p=popularity / popularity.sum())
    fifo, best = (replay_cache(trace, size=100, policy=p) for p in ("fifo", "belady"))
    assert fifo < replay_cache(trace, size=100, policy=policy) < best


@given(TRACES, st.integers(1, 6))
def test_a_larger_lru_never_hits_less(trace, size):
    assert replay_cache(trace, size=size) <= replay_cache(trace, size=size + 1)


@pytest.mark.parametrize("policy", sorted({*POLICIES} - {"wtinylfu", "s3fifo"}))
def test_a_cache_of_everything_misses_first_sights_only(policy):
    trace = np.random.default_rng(0).integers(0, 20, 500)
    expected = 1 - len(set(trace.tolist())) / 500
    assert replay_cache(trace, size=20, policy=policy) == pytest.approx(expected)
    assert replay_cache(trace, size=20, policy=policy, warmup=400) == 1


def test_lfu_keeps_the_frequent_and_lru_the_recent():
    trace = [1, 1, 1, 2, 3, 1]
    assert replay_cache(trace, size=2, policy="lfu", warmup=5) == 1
    assert replay_cache(trace, size=2, policy="lru", warmup=5) == 0


@pytest.mark.parametrize("size", [5, 50, 200])
def test_che_predicts_independent_requests(size):
    popularity = 1 / np.arange(1, 301)
    rng = np.random.default_rng(0)
    trace = rng.choice(300, 40_000, p=popularity / popularity.sum())
    measured = replay_cache(trace, size=size, warmup=5_000)
    assert che_hit_ratio(popularity, size) == pytest.approx(measured, abs=0.01)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40), st.integers(1, 40))
def test_che_is_a_ratio_that_grows_with_size_and_ignores_order(counts, size):
    counts[0] += 1
    ratio = che_hit_ratio(counts, size)
    top = np.sort(counts)[::-1][:size].sum() / sum(counts)
    assert 0 <= ratio <= top + 1e-9  # the best any cache of the size can do
    assert ratio <= che_hit_ratio(counts, size + 1) + 1e-9
    assert ratio == pytest.approx(che_hit_ratio(counts[::-1], size))


def test_che_of_equal_items_is_the_cached_share_and_all_that_fits_hits():
    assert che_hit_ratio(np.ones(50), 20) == pytest.approx(0.4)
    assert che_hit_ratio([3, 1, 0], 2) == 1


@pytest.mark.parametrize("held", ["exponential", "constant"])
@pytest.mark.parametrize(("size", "load"), [(1, 0.5), (5, 4.0)])
def test_erlang_predicts_fresh_allocations(size, load, held):
    n = 20_000
    rng = np.random.default_rng(0)
    held_s = rng.exponential(1, n) if held == "exponential" else np.ones(n)
    arrivals = arrival_times(n, rate_per_s=load, seed=1)
    measured = replay_pool(BufferPool((1,), size=size), arrivals, held_s)
    assert measured == pytest.approx(erlang_b(size, load), abs=0.015)


def test_replay_leaves_the_pool_full_and_its_counters_running():
    pool = BufferPool((1,), size=2)
    assert replay_pool(pool, [0, 0, 0], [1, 1, 1]) == pytest.approx(1 / 3)
    assert replay_pool(pool, [0, 0], [1, 1]) == 0
    assert (pool.requests, pool.fresh) == (5, 1)


def test_a_buffer_given_back_at_a_moment_serves_that_moment():
    assert replay_pool(BufferPool((1,), size=1), [0, 1, 2], [1, 1, 1]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replay_cache([1], size=0), "size must be >= 1.*got 0"),
        (
            lambda: replay_cache([1], size=1, policy="mru"),
            "policy one of .*got 1 and 'mru'",
        ),
        (
            lambda: replay_cache([1], size=19, policy="s3fifo"),
            ">= 20 for s3fifo; got 19",
        ),
        (
            lambda: replay_cache([1], size=99, policy="wtinylfu"),
            ">= 100 for wt.*got 99",
        ),
        (lambda: replay_cache([], size=1), "below the trace's 0 requests; got 0"),
        (lambda: replay_cache([1], size=1, warmup=1), "warmup must be >= 0 .*got 1"),
        (lambda: che_hit_ratio([0, 0], 1), "positive sum; got"),
        (lambda: che_hit_ratio([1, -1], 1), "popularity must be >= 0"),
        (lambda: che_hit_ratio([1, np.nan], 1), "popularity must be >= 0"),
        (lambda: che_hit_ratio([], 1), "popularity must be >= 0"),
        (lambda: che_hit_ratio([1, 1], 0), "size must be >= 1; got 0"),
        (lambda: replay_pool(BufferPool((1,), size=1), [], []), "n >= 1"),
        (lambda: replay_pool(BufferPool((1,), size=1), [0, 1], [1]), "and \\(1,\\)"),
        (lambda: replay_pool(BufferPool((1,), size=1), [1, 0], [1, 1]), "ascending"),
        (lambda: replay_pool(BufferPool((1,), size=1), [0], [-1]), "held_s >= 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_hits_come_request_by_request():
    trace = np.array([1, 2, 1, 3, 2, 1])
    hits = replay_hits(trace, size=2)
    assert hits.tolist() == [False, False, True, False, False, False]
    assert hits[2:].mean() == replay_cache(trace, size=2, warmup=2)
    with pytest.raises(ValueError, match="size must be >= 1"):
        replay_hits(trace, size=0)
