"""Caches and buffer pools: replayed over real traces, and predicted by a formula."""

import heapq
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
from cachetools import Cache
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.optimize import brentq

Policy = Literal["lru", "lfu", "fifo", "s3fifo", "sieve", "arc", "wtinylfu", "belady"]

NEVER = 2**62  # as a position in a trace

POLICIES = {"lru": "LRU", "lfu": "LFU", "fifo": "FIFO", "s3fifo": "S3FIFO"}
POLICIES |= {"sieve": "Sieve", "arc": "ARC", "wtinylfu": "WTinyLFU", "belady": "Belady"}
SMALLEST = {"s3fifo": 20, "wtinylfu": 100}  # below, one of their queues gets no room


def replay(
    trace: Iterable[Any], *, size: int, policy: Policy = "lru", warmup: int = 0
) -> float:
    """Hit ratio of a cache of `size` entries that answers the requests of a trace.

    Args:
        trace: Requested keys in order of time.
        size: Entries the cache holds, >= 1; "s3fifo" needs 20, "wtinylfu" 100.
        policy: Which entry goes when it is full: the least recently used, the least
            frequently used (since it came in; of equals the first to have got there),
            the first that came in, the choices of S3-FIFO, SIEVE, ARC and W-TinyLFU,
            or "belady": the one asked for again last, a bound that knows the future.
        warmup: Requests at the start that fill the cache and are not counted, >= 0.

    Returns:
        Hits over counted requests, in [0, 1]; the first sight of a key is a miss.

    Raises:
        ValueError: If an argument is out of its range or no request is counted.

    Source: libcachesim; Yang et al., SOSP 2023, doi 10.1145/3600006.3613147 (S3-FIFO).

    >>> trace = [1, 2, 1, 3, 2]
    >>> replay(trace, size=2), replay(trace, size=2, policy="belady")
    (0.2, 0.4)
    """
    keys = np.asarray(trace).tolist() if isinstance(trace, np.ndarray) else list(trace)
    if size < 1 or policy not in POLICIES:
        raise ValueError(
            f"size must be >= 1, policy of {list(POLICIES)}; got {size}, {policy!r}"
        )
    if size < (least := SMALLEST.get(policy, 1)):
        raise ValueError(f"size must be >= {least} for {policy}; got {size}")
    if not 0 <= warmup < len(keys):
        bounds = f"warmup must be >= 0 and below the trace's {len(keys)} requests"
        raise ValueError(f"{bounds}; got {warmup}")
    return sum(_hits(keys, size, policy)[warmup:]) / (len(keys) - warmup)


def che_hit_ratio(popularity: ArrayLike, size: int) -> float:
    """Che's approximation of the LRU hit ratio under independent requests.

    An item stays cached while it is asked for again within the characteristic time t,
    in which `size` different items are expected: sum(1 - exp(-p t)) = size.

    Args:
        popularity: (n_items,) request counts or probabilities, >= 0.
        size: Entries the cache holds, >= 1.

    Returns:
        sum(p (1 - exp(-p t))) in [0, 1]: the steady state, without first misses; 1
        when every item that is ever asked for fits.

    Raises:
        ValueError: If popularity is not finite, negative or all zero, or size < 1.

    Source: Fricker, Robert and Roberts, ITC 2012, arXiv 1202.3974.

    >>> round(che_hit_ratio([1, 1, 1, 1], size=2), 6)
    0.5
    """
    weights = np.asarray(popularity, dtype=float)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"popularity must be >= 0 with a positive sum; got {weights}")
    if size < 1:
        raise ValueError(f"size must be >= 1; got {size}")
    asked = weights[weights > 0] / weights.sum()
    if size >= asked.size:
        return 1.0
    time = _characteristic_time(asked, size)
    return float(-(asked * np.expm1(-asked * time)).sum())


class TextEncoder(Protocol):
    """What turns n texts into (n, dim) unit vectors, with or without a cache."""

    @property
    def dim(self) -> int: ...  # noqa: D102

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]: ...  # noqa: D102


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
        shape, dtype: Of every buffer.
        size: Buffers kept, >= 0.

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


def _hits(keys: list[Any], size: int, policy: Policy) -> list[bool]:
    import libcachesim  # only a replay needs it, not a cache in service

    cache = getattr(libcachesim, POLICIES[policy])(size, hashpower=16)
    request = libcachesim.Request(obj_size=1)
    codes: dict[Any, int] = {}
    hits = []
    for key, again in zip(keys, _next_requests(keys), strict=True):
        request.obj_id = codes.setdefault(key, len(codes))
        request.next_access_vtime = again
        hits.append(bool(cache.get(request)))
    return hits


def _next_requests(keys: list[Any]) -> list[int]:
    """Position at which each key is asked for again, far off if never."""
    coming: dict[Any, int] = {}
    again = [NEVER] * len(keys)
    for position in reversed(range(len(keys))):
        again[position] = coming.get(keys[position], NEVER)
        coming[keys[position]] = position
    return again


def _characteristic_time(probabilities: NDArray[np.float64], size: int) -> float:
    def excess(time: float) -> float:
        return float(-np.expm1(-probabilities * time).sum() - size)

    late = float(size)  # excess(size) <= 0, since 1 - exp(-x) <= x
    while excess(late) <= 0:
        late *= 2
    return float(brentq(excess, 0.0, late))
