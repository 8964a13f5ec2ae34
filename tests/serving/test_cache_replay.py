import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cachetools import LFUCache, LRUCache, TTLCache
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.load import arrival_times
from recsys_lib.latency.queueing import erlang_b
from recsys_lib.serving.cache_replay import POLICIES, che_hit_ratio, replay
from recsys_lib.serving.caching import BufferPool, CachedEncoder, replay_pool

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
        assert replay(trace, size=size, policy=policy) == pytest.approx(expected)


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
    best = replay(trace, size=size, policy="belady")
    assert best == pytest.approx(np.mean(naive_optimal_hits(trace, size)))
    expected = np.mean(naive_lfu_hits(trace, size))
    assert replay(trace, size=size, policy="lfu") == pytest.approx(expected)
    for policy in ("lru", "fifo", "sieve", "arc"):
        assert replay(trace, size=size, policy=policy) <= best + 1e-9


@pytest.mark.parametrize("policy", ["s3fifo", "sieve", "arc", "wtinylfu"])
def test_newer_policies_beat_fifo_on_skewed_requests(policy):
    popularity = 1 / np.arange(1, 1001)
    rng = np.random.default_rng(0)
    trace = rng.choice(1000, 20_000, p=popularity / popularity.sum())
    fifo, best = (replay(trace, size=100, policy=p) for p in ("fifo", "belady"))
    assert fifo < replay(trace, size=100, policy=policy) < best


@given(TRACES, st.integers(1, 6))
def test_a_larger_lru_never_hits_less(trace, size):
    assert replay(trace, size=size) <= replay(trace, size=size + 1)


@pytest.mark.parametrize("policy", sorted({*POLICIES} - {"wtinylfu", "s3fifo"}))
def test_a_cache_of_everything_misses_first_sights_only(policy):
    trace = np.random.default_rng(0).integers(0, 20, 500)
    expected = 1 - len(set(trace.tolist())) / 500
    assert replay(trace, size=20, policy=policy) == pytest.approx(expected)
    assert replay(trace, size=20, policy=policy, warmup=400) == 1


def test_lfu_keeps_the_frequent_and_lru_the_recent():
    trace = [1, 1, 1, 2, 3, 1]
    assert replay(trace, size=2, policy="lfu", warmup=5) == 1
    assert replay(trace, size=2, policy="lru", warmup=5) == 0


@pytest.mark.parametrize("size", [5, 50, 200])
def test_che_predicts_independent_requests(size):
    popularity = 1 / np.arange(1, 301)
    rng = np.random.default_rng(0)
    trace = rng.choice(300, 40_000, p=popularity / popularity.sum())
    measured = replay(trace, size=size, warmup=5_000)
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


class HashEncoder:
    """Random unit vectors, the same for the same text; counts what it is asked."""

    dim = 5

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, texts):
        self.asked.append(list(texts))
        rows = [np.random.default_rng(list(t.encode())).normal(size=5) for t in texts]
        rows = np.array(rows, np.float32).reshape(-1, 5)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), max_size=8),
    st.integers(1, 7),
    st.sampled_from([LRUCache, LFUCache]),
)
def test_cached_vectors_equal_the_plain_ones(calls, size, kind):
    cached, plain = CachedEncoder(HashEncoder(), kind(size)), HashEncoder()
    for texts in calls:
        vectors = cached.encode(texts)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(texts), cached.dim)
        assert (vectors == plain.encode(texts)).all()
    assert cached.hits + cached.misses == sum(map(len, calls))


def test_only_misses_are_encoded_once_and_in_one_call():
    encoder = HashEncoder()
    cached = CachedEncoder(encoder, LRUCache(10))
    cached.encode(["b", "a", "b"])
    cached.encode(["c", "a", "d", "c"])
    cached.encode(["a", "d"])
    assert encoder.asked == [["b", "a"], ["c", "d"]]
    assert (cached.hits, cached.misses) == (5, 4)


def test_a_caller_cannot_change_what_is_cached():
    encoder, cache = HashEncoder(), LRUCache(10)
    cached = CachedEncoder(encoder, cache)
    cached.encode(["a"])[:] = 7
    assert (cached.encode(["a"]) == encoder.encode(["a"])).all()
    assert not cache["a"].flags.writeable
    assert cache["a"].base is None  # no batch is kept alive by one row of it


def test_vectors_expire_with_a_ttl_cache():
    now_s = [0.0]
    encoder = HashEncoder()
    cache = TTLCache(10, ttl=60, timer=lambda: now_s[0])
    cached = CachedEncoder(encoder, cache)
    for now_s[0] in (0, 59, 61, 120):
        cached.encode(["a"])
    assert (cached.hits, cached.misses) == (2, 2)


def test_threads_share_a_cache_that_is_too_small():
    cached, plain = CachedEncoder(HashEncoder(), LRUCache(5)), HashEncoder()
    together = threading.Barrier(8, timeout=120)

    def work(seed):
        texts = np.random.default_rng(seed).choice(list("abcdefghij"), (100, 4))
        together.wait()
        return [(row, cached.encode(row.tolist())) for row in texts]

    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(work, range(8)):
            for texts, vectors in answers:
                assert (vectors == plain.encode(texts.tolist())).all()
    assert cached.hits + cached.misses == 8 * 100 * 4


def test_encoding_does_not_hold_the_lock():
    together = threading.Barrier(2, timeout=120)

    class Meeting(HashEncoder):
        def encode(self, texts):
            together.wait()  # both threads are inside at once, or this breaks
            return super().encode(texts)

    cached = CachedEncoder(Meeting(), LRUCache(5))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(cached.encode, [["a"], ["b"]]))


def test_texts_must_be_several():
    with pytest.raises(TypeError, match="sequence of strings; got 'abc'"):
        CachedEncoder(HashEncoder(), LRUCache(1)).encode("abc")


def test_pool_lends_again_what_was_given_back():
    pool = BufferPool((3,), size=2, dtype=np.int64)
    first, second, fresh = pool.acquire(), pool.acquire(), pool.acquire()
    assert (pool.requests, pool.fresh) == (3, 1)
    assert fresh.shape == (3,)
    assert fresh.dtype == np.int64
    assert len({id(first), id(second), id(fresh)}) == 3
    pool.release(fresh)
    pool.release(first)
    assert pool.acquire() is first  # the fresh one was let go, not kept
    pool.acquire()
    assert (pool.requests, pool.fresh) == (5, 2)


def test_a_borrowed_buffer_comes_back_after_an_error():
    pool = BufferPool((1,), size=1)
    with pytest.raises(KeyError), pool.borrow():
        raise KeyError
    with pool.borrow():
        assert pool.fresh == 0


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
        (lambda: replay([1], size=0), "size must be >= 1.*got 0"),
        (lambda: replay([1], size=1, policy="mru"), "policy of .*got 1, 'mru'"),
        (lambda: replay([1], size=19, policy="s3fifo"), ">= 20 for s3fifo; got 19"),
        (lambda: replay([1], size=99, policy="wtinylfu"), ">= 100 for wt.*got 99"),
        (lambda: CachedEncoder(HashEncoder(), LRUCache(0)), "room for 1 or more"),
        (lambda: replay([], size=1), "below the trace's 0 requests; got 0"),
        (lambda: replay([1], size=1, warmup=1), "warmup must be >= 0 .*got 1"),
        (lambda: che_hit_ratio([0, 0], 1), "positive sum; got"),
        (lambda: che_hit_ratio([1, -1], 1), "popularity must be >= 0"),
        (lambda: che_hit_ratio([1, np.nan], 1), "popularity must be >= 0"),
        (lambda: che_hit_ratio([], 1), "popularity must be >= 0"),
        (lambda: che_hit_ratio([1, 1], 0), "size must be >= 1; got 0"),
        (lambda: BufferPool((1,), size=-1), "size must be >= 0; got -1"),
        (lambda: BufferPool((1,), size=1).release(np.ones(1)), "must be lent by this"),
        (lambda: replay_pool(BufferPool((1,), size=1), [], []), "n >= 1"),
        (lambda: replay_pool(BufferPool((1,), size=1), [0, 1], [1]), "and \\(1,\\)"),
        (lambda: replay_pool(BufferPool((1,), size=1), [1, 0], [1, 1]), "ascending"),
        (lambda: replay_pool(BufferPool((1,), size=1), [0], [-1]), "held_s >= 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
