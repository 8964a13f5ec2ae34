"""What a service reuses: vectors of texts, and buffers."""

import heapq
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from cachetools import Cache
from numpy.typing import ArrayLike, DTypeLike, NDArray

from recsys_lib.embeddings.encoder import TextEncoder


class CachedEncoder:
    """An encoder that remembers the vectors of texts it has seen.

    Threads may share it; two that miss the same text at once both encode it.

    Args:
        encoder: Answers the misses of a call in one call of its own.
        cache: LRUCache, LFUCache or TTLCache of cachetools, used by nothing else.

    Attributes:
        hits, misses: Texts spared and encoded; twice in a call is encoded once at most.

    Raises:
        ValueError: If the cache has no room.
        TypeError: If texts are one string instead of several.

    >>> from cachetools import LRUCache
    >>> class Lengths:
    ...     dim = 1
    ...     def encode(self, texts):
    ...         return np.array([[len(text)] for text in texts], np.float32)
    >>> cached = CachedEncoder(Lengths(), LRUCache(100))
    >>> cached.encode(["a", "bc", "a"]).ravel().tolist(), cached.hits, cached.misses
    ([1.0, 2.0, 1.0], 1, 2)
    """

    def __init__(
        self, encoder: TextEncoder, cache: Cache[str, NDArray[np.float32]]
    ) -> None:
        if cache.maxsize < 1:
            raise ValueError(f"cache must have room for 1 or more; got {cache.maxsize}")
        self._encoder, self._cache, self._lock = encoder, cache, threading.Lock()
        self.hits = self.misses = 0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._encoder.dim

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) vectors of n texts, in their order; an array of the caller's own."""
        if isinstance(texts, str):
            raise TypeError(f"texts must be a sequence of strings; got {texts!r}")
        with self._lock:
            known = {text: self._cache.get(text) for text in dict.fromkeys(texts)}
            missing = [text for text, vector in known.items() if vector is None]
            self.misses += len(missing)
            self.hits += len(texts) - len(missing)
        if missing:
            known.update(self._fill(missing))
        vectors = [known[text] for text in texts]
        return np.array(vectors, np.float32).reshape(len(texts), self.dim)

    def _fill(self, texts: list[str]) -> dict[str, NDArray[np.float32]]:
        rows = [row.copy() for row in self._encoder.encode(texts)]  # none holds all
        for row in rows:
            row.setflags(write=False)
        fresh = dict(zip(texts, rows, strict=True))
        with self._lock:
            self._cache.update(fresh)
        return fresh


class BufferPool:
    """Arrays allocated once and lent out, so that requests need not allocate.

    When all are lent, `acquire` allocates a fresh one, which `release` lets go.
    Contents are whatever the last borrower left.

    Args:
        shape: Of every buffer.
        size: Buffers kept, >= 0.
        dtype: Of every buffer.

    Attributes:
        requests, fresh: Calls of `acquire`, and those that had to allocate.

    Raises:
        ValueError: If `size` is negative, or a buffer is released that is not lent.

    >>> pool = BufferPool((2, 3), size=1)
    >>> with pool.borrow() as first, pool.borrow() as second:
    ...     pool.requests, pool.fresh, second.shape
    (2, 1, (2, 3))
    """

    def __init__(
        self, shape: tuple[int, ...], *, size: int, dtype: DTypeLike = np.float32
    ) -> None:
        if size < 0:
            raise ValueError(f"size must be >= 0; got {size}")
        self._shape, self._dtype = shape, dtype
        self._idle = [np.full(shape, 0, dtype) for _ in range(size)]  # pages touched
        self._pooled = {id(buffer) for buffer in self._idle}
        self._lent: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()
        self.requests = self.fresh = 0

    def acquire(self) -> NDArray[Any]:
        """Lend a buffer, allocating one if none is idle."""
        with self._lock:
            self.requests += 1
            self.fresh += not self._idle
            buffer = (
                self._idle.pop() if self._idle else np.empty(self._shape, self._dtype)
            )
            self._lent[id(buffer)] = buffer
            return buffer

    def release(self, buffer: NDArray[Any]) -> None:
        """Take a buffer back."""
        with self._lock:
            if self._lent.pop(id(buffer), None) is None:
                raise ValueError("buffer must be lent by this pool; got another array")
            if id(buffer) in self._pooled:
                self._idle.append(buffer)

    @contextmanager
    def borrow(self) -> Iterator[NDArray[Any]]:
        """Lend a buffer for the length of a `with` block."""
        buffer = self.acquire()
        try:
            yield buffer
        finally:
            self.release(buffer)


def replay_pool(pool: BufferPool, arrival_s: ArrayLike, held_s: ArrayLike) -> float:
    """Fraction of requests that found no idle buffer in a pool.

    Args:
        pool: Lends and takes back; its counters move on.
        arrival_s: (n,) moments at which a buffer is asked for, ascending.
        held_s: (n,) seconds it is held, >= 0.

    Returns:
        Fresh allocations over requests, in [0, 1]; `queueing.erlang_b` predicts it for
        Poisson arrivals.

    Raises:
        ValueError: If the arrays are empty, differ in shape, or arrivals descend.

    >>> replay_pool(BufferPool((1,), size=1), [0, 1, 5], [2, 2, 2])
    0.3333333333333333
    """
    arrivals, held = np.asarray(arrival_s, float), np.asarray(held_s, float)
    if arrivals.shape != held.shape or arrivals.ndim != 1 or not arrivals.size:
        raise ValueError(
            f"arrival_s and held_s must be (n,) with n >= 1; "
            f"got {arrivals.shape} and {held.shape}"
        )
    if not ((np.diff(arrivals) >= 0).all() and (held >= 0).all()):
        raise ValueError("arrival_s must be ascending and held_s >= 0; got others")
    fresh_before = pool.fresh
    lent: list[tuple[float, int, NDArray[Any]]] = []
    for number, (arrival, hold) in enumerate(zip(arrivals, held, strict=True)):
        while lent and lent[0][0] <= arrival:
            pool.release(heapq.heappop(lent)[2])
        heapq.heappush(lent, (arrival + hold, number, pool.acquire()))
    for _, _, buffer in lent:
        pool.release(buffer)
    return (pool.fresh - fresh_before) / arrivals.size
