"""Caches and buffer pools: replayed over real traces, and predicted by a formula."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
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
