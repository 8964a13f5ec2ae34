"""Hit ratios of caches and buffer pools: replayed over a trace, and predicted."""

import heapq
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from recsys_lib.arrays import BoolArray, Float64Array
from recsys_lib.extras import needs
from recsys_lib.serving.caching import BufferPool

Policy = Literal["lru", "lfu", "fifo", "s3fifo", "sieve", "arc", "wtinylfu", "belady"]

NEVER = 2**62  # position of a request that does not come

POLICIES = {"lru": "LRU", "lfu": "LFU", "fifo": "FIFO", "s3fifo": "S3FIFO"}
POLICIES |= {"sieve": "Sieve", "arc": "ARC", "wtinylfu": "WTinyLFU", "belady": "Belady"}
SMALLEST = {"s3fifo": 20, "wtinylfu": 100}  # below, one of their queues is empty


def replay_cache(
    trace: Iterable[Any], *, size: int, policy: Policy = "lru", warmup: int = 0
) -> float:
    """Hit ratio of a cache of `size` entries over the requests of a trace.

    Args:
        trace: Requested keys in order of time.
        size: Entries of the cache, >= 1; at least 20 for "s3fifo", 100 for "wtinylfu".
        policy: Which entry a full cache evicts: the least recently used; the least
            frequently used (counted from insertion; ties go to the entry that reached
            the count first); the first inserted; the choice of S3-FIFO, SIEVE, ARC or
            W-TinyLFU; or "belady", the one whose next request comes last, a bound that
            knows the future.
        warmup: Requests at the start that fill the cache and are not counted, >= 0.

    Returns:
        Hits over counted requests, in [0, 1]; the first request of a key is a miss.

    Raises:
        ValueError: If an argument is out of its range or no request is counted.

    Source: libcachesim; Yang et al., SOSP 2023, doi 10.1145/3600006.3613147 (S3-FIFO).

    >>> trace = [1, 2, 1, 3, 2]
    >>> replay_cache(trace, size=2), replay_cache(trace, size=2, policy="belady")
    (0.2, 0.4)
    """
    keys = _keys(trace)
    if not 0 <= warmup < len(keys):
        bounds = f"warmup must be >= 0 and below the trace's {len(keys)} requests"
        raise ValueError(f"{bounds}; got {warmup}")
    return float(replay_hits(keys, size=size, policy=policy)[warmup:].mean())


def replay_hits(
    trace: Iterable[Any], *, size: int, policy: Policy = "lru"
) -> BoolArray:
    """Whether each request of a trace hits a cache; arguments as of `replay_cache`.

    Returns:
        (n,) in the order of the trace.

    Raises:
        ValueError: If size or policy is out of its range.

    >>> replay_hits([1, 2, 1], size=2).tolist()
    [False, False, True]
    """
    keys = _keys(trace)
    if size < 1 or policy not in POLICIES:
        raise ValueError(
            f"size must be >= 1, policy one of {list(POLICIES)}; "
            f"got {size} and {policy!r}"
        )
    if size < (least := SMALLEST.get(policy, 1)):
        raise ValueError(f"size must be >= {least} for {policy}; got {size}")
    return np.array(_hits(keys, size, policy), dtype=bool)


def che_hit_ratio(popularity: ArrayLike, size: int) -> float:
    """Che's approximation of the LRU hit ratio under independent requests.

    An item stays cached if its next request comes within the characteristic time t, in
    which `size` different items are expected: sum(1 - exp(-p t)) = size.

    Args:
        popularity: (n_items,) request counts or probabilities, >= 0.
        size: Entries of the cache, >= 1.

    Returns:
        sum(p (1 - exp(-p t))) in [0, 1]: the steady state, without first misses; 1
        when all items that are ever requested fit.

    Raises:
        ValueError: If popularity is not finite, is negative or all zero, or size < 1.

    Source: Fricker, Robert and Roberts, ITC 2012, arXiv 1202.3974.

    >>> round(che_hit_ratio([1, 1, 1, 1], size=2), 6)
    0.5
    """
    weights = np.asarray(popularity, dtype=float)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"popularity must be >= 0 with a positive sum; got {weights}")
    if size < 1:
        raise ValueError(f"size must be >= 1; got {size}")
    shares = weights[weights > 0] / weights.sum()
    if size >= shares.size:
        return 1.0
    time = _characteristic_time(shares, size)
    return float(-(shares * np.expm1(-shares * time)).sum())


def replay_pool(pool: BufferPool, arrival_s: ArrayLike, held_s: ArrayLike) -> float:
    """Fraction of requests that find no idle buffer in a pool.

    Args:
        pool: All of its buffers idle; its counters go on counting.
        arrival_s: (n,) ascending times of the requests.
        held_s: (n,) seconds for which each request holds its buffer, >= 0.

    Returns:
        Fresh allocations over requests, in [0, 1]; `queueing.erlang_b` predicts it for
        Poisson arrivals.

    Raises:
        ValueError: If the arrays are empty or differ in shape, arrivals descend, or a
            time is negative.

    >>> replay_pool(BufferPool((1,), size=1), [0, 1, 5], [2, 2, 2])
    0.3333333333333333
    """
    arrivals, held = np.asarray(arrival_s, float), np.asarray(held_s, float)
    if arrivals.shape != held.shape or arrivals.ndim != 1 or not arrivals.size:
        raise ValueError(
            "arrival_s and held_s must be (n,) with n >= 1; "
            f"got {arrivals.shape} and {held.shape}"
        )
    if not ((np.diff(arrivals) >= 0).all() and (held >= 0).all()):
        raise ValueError("arrival_s must be ascending and held_s >= 0; got others")
    fresh_before = pool.fresh
    in_use: list[tuple[float, int, NDArray[Any]]] = []  # end, number, buffer
    for number, (arrival, hold) in enumerate(zip(arrivals, held, strict=True)):
        while in_use and in_use[0][0] <= arrival:
            pool.release(heapq.heappop(in_use)[2])
        heapq.heappush(in_use, (arrival + hold, number, pool.acquire()))
    for _, _, buffer in in_use:
        pool.release(buffer)
    return (pool.fresh - fresh_before) / arrivals.size


def _keys(trace: Iterable[Any]) -> list[Any]:
    return trace.tolist() if isinstance(trace, np.ndarray) else list(trace)


def _hits(keys: list[Any], size: int, policy: Policy) -> list[bool]:
    with needs("serving"):
        import libcachesim  # only a replay needs it, not a cache in service

    cache = getattr(libcachesim, POLICIES[policy])(size, hashpower=16)
    request = libcachesim.Request(obj_size=1)
    codes: dict[Any, int] = {}
    hits = []
    for key, following in zip(keys, _next_requests(keys), strict=True):
        request.obj_id = codes.setdefault(key, len(codes))
        request.next_access_vtime = following
        hits.append(bool(cache.get(request)))
    return hits


def _next_requests(keys: list[Any]) -> list[int]:
    """Position of the next request of the same key, `NEVER` if there is none."""
    later: dict[Any, int] = {}
    following = [NEVER] * len(keys)
    for position in reversed(range(len(keys))):
        following[position] = later.get(keys[position], NEVER)
        later[keys[position]] = position
    return following


def _characteristic_time(probabilities: Float64Array, size: int) -> float:
    def excess(time: float) -> float:
        return float(-np.expm1(-probabilities * time).sum() - size)

    late = float(size)  # excess(size) <= 0, since 1 - exp(-x) <= x
    while excess(late) <= 0:
        late *= 2
    return float(brentq(excess, 0.0, late))
