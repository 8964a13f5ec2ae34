"""Load generation: open and closed loops, and a simulated queue.

An open loop sends requests at times fixed in advance and counts latency from these
times: a slow answer cannot delay the requests that would have shown it. A client of a
closed loop waits for each answer (Schroeder et al., NSDI 2006). Garbage collection
stays on, as in a service.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from recsys_lib.arrays import BoolArray, Float64Array, IntArray

SPIN_S = 3e-4  # `sleep` returns about 0.1 ms late: spin for the rest of the time


@dataclass(frozen=True)
class LoadResult:
    """Intended start, actual start and end of each request: (n,) seconds each."""

    intended_s: Float64Array
    started_s: Float64Array
    finished_s: Float64Array

    @property
    def latency_ms(self) -> Float64Array:
        """(n,) milliseconds from the intended start to the answer."""
        return (self.finished_s - self.intended_s) * 1e3

    @property
    def waiting_ms(self) -> Float64Array:
        """(n,) milliseconds from the intended to the actual start."""
        return (self.started_s - self.intended_s) * 1e3

    @property
    def service_ms(self) -> Float64Array:
        """(n,) milliseconds from the actual start to the answer."""
        return (self.finished_s - self.started_s) * 1e3

    @property
    def throughput_per_s(self) -> float:
        """Requests answered a second, from first intended start to last answer."""
        span_s = self.finished_s.max() - self.intended_s.min()
        return float(len(self.finished_s) / span_s)

    @property
    def ok(self) -> BoolArray:
        """(n,) whether each request succeeded; `HttpLoad` has failures, too."""
        return np.ones(len(self.finished_s), bool)

    @property
    def kept_pace(self) -> bool:
        """Whether the sender was on time; `HttpLoad` can be late."""
        return True

    def in_flight(self, at_s: ArrayLike) -> IntArray:
        """Number of requests that wait or are in service at each time of `at_s`."""
        arrived = np.searchsorted(np.sort(self.intended_s), at_s, side="right")
        gone = np.searchsorted(np.sort(self.finished_s), at_s, side="right")
        return np.asarray(arrived - gone)


def arrival_times(
    n_requests: int,
    *,
    rate_per_s: float,
    arrivals: Literal["poisson", "uniform"] = "poisson",
    seed: int = 0,
) -> Float64Array:
    """Times at which an open loop sends its requests.

    Args:
        n_requests: Number of requests, >= 1.
        rate_per_s: Mean requests a second, > 0.
        arrivals: "poisson" for independent exponential gaps, "uniform" for equal gaps.
        seed: Of the exponential gaps.

    Returns:
        (n_requests,) seconds, ascending; the first follows one gap after 0.

    Raises:
        ValueError: If an argument is out of its range.

    >>> arrival_times(3, rate_per_s=10, arrivals="uniform").round(1).tolist()
    [0.1, 0.2, 0.3]
    """
    if n_requests < 1:
        raise ValueError(f"n_requests must be >= 1; got {n_requests}")
    if not 0 < rate_per_s < np.inf:
        raise ValueError(f"rate_per_s must be finite and > 0; got {rate_per_s}")
    if arrivals not in ("poisson", "uniform"):
        raise ValueError(f'arrivals must be "poisson" or "uniform"; got {arrivals!r}')
    if arrivals == "uniform":
        return np.arange(1, n_requests + 1) / rate_per_s
    gaps_s = np.random.default_rng(seed).exponential(1 / rate_per_s, n_requests)
    return np.cumsum(gaps_s)


def open_loop(
    call: Callable[[int], object],
    *,
    rate_per_s: float,
    n_requests: int,
    workers: int = 1,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> LoadResult:
    """Send requests at Poisson times that do not depend on the answers.

    Args:
        call: Answers one request, given its number 0..n_requests-1.
        rate_per_s: Mean requests a second, > 0.
        n_requests: Number of requests, >= 1.
        workers: Threads that answer requests, >= 1; one is the caller's own.
        seed: Of the arrivals.
        clock: Returns seconds; it must advance while it is read.
        sleep: Waits for a number of seconds.

    Raises:
        ValueError: If an argument is out of its range. What `call` raises ends the run.

    >>> open_loop(lambda i: i, rate_per_s=1e4, n_requests=20).latency_ms.shape
    (20,)
    """
    intended_s = arrival_times(n_requests, rate_per_s=rate_per_s, seed=seed)
    started_s, finished_s = np.empty((2, n_requests))
    origin_s = clock()

    def serve(i: int) -> None:
        _wait_until(origin_s + intended_s[i], clock, sleep)
        started_s[i] = clock() - origin_s
        call(i)
        finished_s[i] = clock() - origin_s

    _share(serve, n_requests, workers)
    return LoadResult(intended_s, started_s, finished_s)


def closed_loop(
    call: Callable[[int], object],
    *,
    clients: int,
    n_requests: int,
    clock: Callable[[], float] = time.perf_counter,
) -> LoadResult:
    """Let each client send its next request when its last has been answered.

    Args:
        call: Answers one request, given its number 0..n_requests-1.
        clients: Number of clients, each a thread, >= 1; one is the caller's own.
        n_requests: Of all clients together, >= 1.
        clock: Returns seconds.

    Returns:
        LoadResult whose intended starts are the actual ones.

    Raises:
        ValueError: If an argument is out of its range. What `call` raises ends the run.

    >>> closed_loop(lambda i: i, clients=2, n_requests=20).latency_ms.shape
    (20,)
    """
    if n_requests < 1:
        raise ValueError(f"n_requests must be >= 1; got {n_requests}")
    started_s, finished_s = np.empty((2, n_requests))
    origin_s = clock()

    def serve(i: int) -> None:
        started_s[i] = clock() - origin_s
        call(i)
        finished_s[i] = clock() - origin_s

    _share(serve, n_requests, clients)
    return LoadResult(started_s, started_s, finished_s)


def simulate_queue(
    arrival_s: ArrayLike, service_s: ArrayLike, *, servers: int = 1
) -> LoadResult:
    """Simulate a queue of given arrivals and service times, first come first served.

    A request starts when it has arrived and a server is free (for one server, Lindley's
    recursion). The result is exact and takes no waiting.

    Args:
        arrival_s: (n,) seconds of arrival, ascending.
        service_s: (n,) seconds of service, > 0.
        servers: Identical servers with one common queue, >= 1.

    Raises:
        ValueError: If shapes differ, arrays are empty, or a value is out of range.

    Source: Lindley, Proc. Cambridge Phil. Soc. 48(2), 1952.

    >>> simulate_queue([0, 1, 2], [2, 2, 2]).waiting_ms.tolist()
    [0.0, 1000.0, 2000.0]
    """
    arrivals, services = np.asarray(arrival_s, float), np.asarray(service_s, float)
    _check_queue(arrivals, services, servers)
    free_s = [-np.inf] * servers
    started_s = np.empty_like(arrivals)
    for i, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        started_s[i] = max(arrival, free_s[0])
        heapq.heapreplace(free_s, started_s[i] + service)
    return LoadResult(arrivals, started_s, started_s + services)


def _check_queue(arrivals: Float64Array, services: Float64Array, servers: int) -> None:
    if servers < 1:
        raise ValueError(f"servers must be >= 1; got {servers}")
    if arrivals.shape != services.shape or arrivals.ndim != 1 or not arrivals.size:
        raise ValueError(
            f"arrival_s and service_s must be (n,) with n >= 1; "
            f"got {arrivals.shape} and {services.shape}"
        )
    if not (np.isfinite(arrivals).all() and (np.diff(arrivals) >= 0).all()):
        raise ValueError(f"arrival_s must be finite and ascending; got {arrivals}")
    if not (np.isfinite(services).all() and (services > 0).all()):
        raise ValueError(f"service_s must be finite and > 0; got {services}")


def _wait_until(
    moment_s: float, clock: Callable[[], float], sleep: Callable[[float], object]
) -> None:
    if (left_s := moment_s - clock()) > SPIN_S:
        sleep(left_s - SPIN_S)
    while clock() < moment_s:
        pass


def _share(serve: Callable[[int], None], n_requests: int, workers: int) -> None:
    if workers < 1:
        raise ValueError(f"workers or clients must be >= 1; got {workers}")
    numbers = iter(range(n_requests))

    def work() -> None:
        for i in numbers:
            serve(i)

    if workers == 1:
        return work()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for worker in as_completed([pool.submit(work) for _ in range(workers)]):
                worker.result()
        finally:
            deque(numbers, maxlen=0)  # after a failure no thread starts another request
