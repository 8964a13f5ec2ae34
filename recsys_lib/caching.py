"""Caches and buffer pools: replayed over real traces, and predicted by a formula."""

import heapq
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from cachetools import Cache, FIFOCache, LFUCache, LRUCache
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.optimize import brentq

POLICIES = {"lru": LRUCache, "lfu": LFUCache, "fifo": FIFOCache}


def replay(
    trace: Iterable[Any],
    *,
    size: int,
    policy: Literal["lru", "lfu", "fifo"] = "lru",
    warmup: int = 0,
) -> float:
    """Hit ratio of a cache of `size` entries that answers the requests of a trace.

    Args:
        trace: Requested keys in order of time.
        size: Entries the cache holds, >= 1.
        policy: Which entry goes when it is full: the least recently used, the least
            frequently used (since it came in), or the first that came in.
        warmup: Requests at the start that fill the cache and are not counted, >= 0.

    Returns:
        Hits over counted requests, in [0, 1]; the first sight of a key is a miss.

    Raises:
        ValueError: If an argument is out of its range or no request is counted.

    >>> replay([1, 2, 1, 3, 2], size=2)
    0.2
    """
    keys = np.asarray(trace).tolist() if isinstance(trace, np.ndarray) else list(trace)
    if size < 1 or policy not in POLICIES:
        raise ValueError(
            f"size must be >= 1, policy of {list(POLICIES)}; got {size}, {policy!r}"
        )
    if not 0 <= warmup < len(keys):
        raise ValueError(
            f"warmup must be >= 0 and below the trace's {len(keys)} requests; "
            f"got {warmup}"
        )
    cache: Cache[Any, Any] = POLICIES[policy](size)
    hits = [_request(cache, key) for key in keys]
    return sum(hits[warmup:]) / (len(keys) - warmup)


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


def _request(cache: Cache[Any, Any], key: Any) -> bool:
    try:
        cache[key]
    except KeyError:
        cache[key] = None
        return False
    return True


def _characteristic_time(probabilities: NDArray[np.float64], size: int) -> float:
    def excess(time: float) -> float:
        return float(-np.expm1(-probabilities * time).sum() - size)

    late = float(size)  # excess(size) <= 0, since 1 - exp(-x) <= x
    while excess(late) <= 0:
        late *= 2
    return float(brentq(excess, 0.0, late))
