"""Load: requests sent at a program, or at the model of one, and when each was answered.

An open loop sends at moments fixed in advance and counts latency from them, so that a
slow answer cannot delay the requests that would have shown it; a closed loop waits
(Schroeder et al., NSDI 2006). Garbage collection stays on: a service has it too.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Seconds = NDArray[np.float64]

SPIN_S = 3e-4  # sleeping wakes late by a tenth of a millisecond: wait the rest awake


@dataclass(frozen=True)
class LoadResult:
    """When each request was meant to start, started and finished: (n,) seconds each."""

    intended_s: Seconds
    started_s: Seconds
    finished_s: Seconds

    @property
    def latency_ms(self) -> Seconds:
        """(n,) milliseconds from the intended start to the answer."""
        return (self.finished_s - self.intended_s) * 1e3

    @property
    def waiting_ms(self) -> Seconds:
        """(n,) milliseconds from the intended to the actual start."""
        return (self.started_s - self.intended_s) * 1e3

    @property
    def service_ms(self) -> Seconds:
        """(n,) milliseconds from the actual start to the answer."""
        return (self.finished_s - self.started_s) * 1e3

    @property
    def throughput_per_s(self) -> float:
        """Requests answered a second, first intended start to last answer."""
        span_s = self.finished_s.max() - self.intended_s.min()
        return float(len(self.finished_s) / span_s)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(n,) whether each was answered as asked: here all, over HTTP not the 503s."""
        return np.ones(len(self.finished_s), bool)

    @property
    def kept_pace(self) -> bool:
        """Whether the sender kept to the intended starts by itself; here by nature."""
        return True

    def in_flight(self, at_s: ArrayLike) -> NDArray[np.int64]:
        """Requests waiting or in service at the moments `at_s`."""
        arrived = np.searchsorted(np.sort(self.intended_s), at_s, side="right")
        gone = np.searchsorted(np.sort(self.finished_s), at_s, side="right")
        return np.asarray(arrived - gone)


def arrival_times(
    n_requests: int,
    *,
    rate_per_s: float,
    arrivals: Literal["poisson", "uniform"] = "poisson",
    seed: int = 0,
) -> Seconds:
    """Moments at which an open loop sends its requests.

    Args:
        n_requests: How many, >= 1.
        rate_per_s: How many a second in the mean, > 0.
        arrivals: "poisson" for independent exponential gaps, "uniform" for equal ones.
        seed: Of the exponential gaps.

    Returns:
        (n_requests,) seconds, ascending; the first comes after one gap.

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
    arrivals: Literal["poisson", "uniform"] = "poisson",
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> LoadResult:
    """Send requests at moments that do not depend on the answers.

    Args:
        call: Answers one request, given its number 0..n_requests-1.
        rate_per_s: Mean requests a second, > 0.
        n_requests: How many, >= 1.
        workers: Requests in service at once, each in a thread; one: the caller's own.
        arrivals: As in `arrival_times`.
        seed: Of the arrivals.
        clock: Seconds; has to move on while it is read.
        sleep: Waits for a number of seconds.

    Raises:
        ValueError: If an argument is out of its range. What `call` raises ends the run.

    >>> open_loop(lambda i: i, rate_per_s=1e4, n_requests=20).latency_ms.shape
    (20,)
    """
    intended_s = arrival_times(
        n_requests, rate_per_s=rate_per_s, arrivals=arrivals, seed=seed
    )
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
    think_s: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> LoadResult:
    """Let clients send their next request only after the answer to the last.

    Args:
        call: Answers one request, given its number 0..n_requests-1.
        clients: Clients, each in a thread; one: the caller's own.
        n_requests: Of all clients together, >= 1.
        think_s: Pause of a client after an answer, >= 0.
        clock: Seconds.
        sleep: Waits for a number of seconds.

    Returns:
        LoadResult whose intended starts are the actual ones.

    Raises:
        ValueError: If an argument is out of its range. What `call` raises ends the run.

    >>> closed_loop(lambda i: i, clients=2, n_requests=20).latency_ms.shape
    (20,)
    """
    if n_requests < 1 or not 0 <= think_s < np.inf:
        raise ValueError(
            f"n_requests must be >= 1, think_s >= 0; got {n_requests}, {think_s}"
        )
    started_s, finished_s = np.empty((2, n_requests))
    origin_s = clock()

    def serve(i: int) -> None:
        started_s[i] = clock() - origin_s
        call(i)
        finished_s[i] = clock() - origin_s
        if think_s:
            sleep(think_s)

    _share(serve, n_requests, clients)
    return LoadResult(started_s, started_s, finished_s)


def simulate_queue(
    arrival_s: ArrayLike, service_s: ArrayLike, *, servers: int = 1
) -> LoadResult:
    """Replay arrivals and service times through servers, first come first served.

    Exact and without wall time: a request starts when it has arrived and a server is
    free (for one server, Lindley's recursion).

    Args:
        arrival_s: (n,) moments of arrival, ascending.
        service_s: (n,) service times, > 0.
        servers: Identical servers with one common queue, >= 1.

    Raises:
        ValueError: If the arrays do not fit each other or hold impossible times.

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


def _check_queue(arrivals: Seconds, services: Seconds, servers: int) -> None:
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
            deque(numbers, maxlen=0)  # a failure or an interrupt leaves none to take
