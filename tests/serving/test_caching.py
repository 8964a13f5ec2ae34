import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cachetools import LFUCache, LRUCache, TTLCache
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.serving.caching import BufferPool, CachedEncoder


class HashEncoder:
    """Random unit vectors, the same for the same text; notes what it encodes."""

    dim = 5

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, texts, *, role=None):
        self.asked.append(list(texts))
        behind = [f"{role or ''}{text}".encode() for text in texts]
        rows = [np.random.default_rng(list(x)).normal(size=5) for x in behind]
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


def test_a_text_is_cached_for_each_role():
    encoder, cache = HashEncoder(), LRUCache(10)
    cached = CachedEncoder(encoder, cache)
    for role in ("query", "document", None, "query", "document", None):
        vectors = cached.encode(["a", "b"], role=role)
        np.testing.assert_array_equal(vectors, HashEncoder().encode("ab", role=role))
    assert (cached.hits, cached.misses) == (6, 6)
    assert {*cache} >= {"a", ("query", "a"), ("document", "a")}


def test_encoding_does_not_hold_the_lock():
    together = threading.Barrier(2, timeout=120)

    class Meeting(HashEncoder):
        def encode(self, texts, *, role=None):
            together.wait()  # both threads are inside at once, or this breaks
            return super().encode(texts, role=role)

    cached = CachedEncoder(Meeting(), LRUCache(5))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(cached.encode, [["a"], ["b"]]))


def test_texts_must_be_several():
    with pytest.raises(TypeError, match="sequence of strings; got 'abc'"):
        CachedEncoder(HashEncoder(), LRUCache(1)).encode("abc")


def test_a_pool_reuses_what_was_given_back():
    pool = BufferPool((3,), size=2, dtype=np.int64)
    first, second, fresh = pool.acquire(), pool.acquire(), pool.acquire()
    assert (pool.requests, pool.fresh) == (3, 1)
    assert fresh.shape == (3,)
    assert fresh.dtype == np.int64
    assert len({id(first), id(second), id(fresh)}) == 3
    pool.release(fresh)
    pool.release(first)
    assert pool.acquire() is first  # the fresh one was dropped
    pool.acquire()
    assert (pool.requests, pool.fresh) == (5, 2)


def test_a_borrowed_buffer_comes_back_after_an_error():
    pool = BufferPool((1,), size=1)
    with pytest.raises(KeyError), pool.borrow():
        raise KeyError
    with pool.borrow():
        assert pool.fresh == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CachedEncoder(HashEncoder(), LRUCache(0)), "room for 1 or more"),
        (lambda: BufferPool((1,), size=-1), "size must be >= 0; got -1"),
        (lambda: BufferPool((1,), size=1).release(np.ones(1)), "come from this pool"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
