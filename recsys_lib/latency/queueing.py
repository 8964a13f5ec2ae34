"""Formulas that predict response time, throughput and speed-up before a run.

Rates are per second, times in seconds; the offered load is rate times service time.
The same quantities are measured by `load` and, for the speed-up, by `distributed`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def littles_law(throughput_per_s: float, response_s: float) -> float:
    """Mean number of requests in the system: throughput times mean response time.

    Args:
        throughput_per_s: Answers a second, >= 0.
        response_s: Mean time from arrival to answer, >= 0.

    Raises:
        ValueError: If either is negative or not finite.

    Source: Little, Operations Research 9(3), 1961, doi 10.1287/opre.9.3.383.

    >>> littles_law(50, 0.2)
    10.0
    """
    _require_not_negative(throughput_per_s=throughput_per_s, response_s=response_s)
    return throughput_per_s * response_s


def mm1_mean_response(arrivals_per_s: float, service_s: float) -> float:
    """Mean response time of one server, Poisson arrivals, exponential service.

    Args:
        arrivals_per_s: Arrival rate, >= 0.
        service_s: Mean service time, >= 0.

    Returns:
        Seconds; infinity at a utilisation of 1 or more, where the queue grows for ever.

    Raises:
        ValueError: If an argument is negative or not finite.

    >>> mm1_mean_response(50, 0.01)
    0.02
    """
    return mg1_mean_response(arrivals_per_s, service_s, 1.0)


def mm1_response_quantile(arrivals_per_s: float, service_s: float, q: float) -> float:
    """Response time that a fraction `q` of an M/M/1 queue's requests stays under.

    Args:
        arrivals_per_s: Arrival rate, >= 0.
        service_s: Mean service time, >= 0.
        q: Fraction in [0, 1).

    Returns:
        Seconds: the mean response times -ln(1 - q), infinity when overloaded.

    Raises:
        ValueError: If `q` is outside [0, 1) or another argument negative.

    >>> round(mm1_response_quantile(50, 0.01, 0.99), 4)
    0.0921
    """
    if not 0 <= q < 1:
        raise ValueError(f"q must be in [0, 1); got {q}")
    mean_s = mm1_mean_response(arrivals_per_s, service_s)
    return mean_s if math.isinf(mean_s) else -math.log1p(-q) * mean_s


def mg1_mean_response(arrivals_per_s: float, service_s: float, scv: float) -> float:
    """Mean response time of one server, Poisson arrivals, any service times.

    Args:
        arrivals_per_s: Arrival rate, >= 0.
        service_s: Mean service time, >= 0.
        scv: Squared coefficient of variation of the service times
            (`squared_cv`): 0 for constant, 1 for exponential service.

    Returns:
        Seconds; infinity at a utilisation of 1 or more.

    Raises:
        ValueError: If an argument is negative or not finite.

    Source: Pollaczek-Khinchine; Kleinrock, Queueing Systems 1, 1975, section 5.6.

    >>> mg1_mean_response(50, 0.01, scv=0)
    0.015
    """
    _require_not_negative(arrivals_per_s=arrivals_per_s, service_s=service_s, scv=scv)
    utilisation = arrivals_per_s * service_s
    if utilisation >= 1:
        return math.inf
    return service_s * (1 + utilisation / (1 - utilisation) * (1 + scv) / 2)


def squared_cv(samples: ArrayLike) -> float:
    """Variance over squared mean of measured times: their relative spread.

    Args:
        samples: (n,) positive finite times in any unit.

    Raises:
        ValueError: If `samples` is empty or holds a value that is not positive.

    >>> squared_cv([1, 3])
    0.25
    """
    times = np.asarray(samples, dtype=float)
    if not (times.size and np.isfinite(times).all() and (times > 0).all()):
        raise ValueError(f"samples must be positive and not empty; got {times}")
    return float(times.var() / times.mean() ** 2)


def erlang_b(servers: int, offered_load: float) -> float:
    """Probability that a Poisson arrival finds all servers taken and none waits.

    Holds for any distribution of the holding time. For a pool of `servers` buffers
    it is the fraction of requests that need a fresh allocation.

    Args:
        servers: Servers or pooled buffers, >= 0.
        offered_load: Arrival rate times mean holding time, >= 0.

    Returns:
        Fraction in [0, 1].

    Raises:
        ValueError: If an argument is negative or `servers` not whole.

    Source: Erlang's loss formula; Kleinrock, Queueing Systems 1, 1975, section 3.6.

    >>> erlang_b(2, 1.0)
    0.2
    """
    _require_not_negative(servers=servers, offered_load=offered_load)
    if servers != int(servers):
        raise ValueError(f"servers must be a whole number; got {servers}")
    blocked = 1.0
    for n in range(1, int(servers) + 1):
        blocked = offered_load * blocked / (n + offered_load * blocked)
    return blocked


def throughput_bound(
    clients: int,
    *,
    response_s: float,
    service_s: float,
    think_s: float = 0.0,
    servers: int = 1,
) -> float:
    """Most requests a second that a closed loop of clients can complete.

    Args:
        clients: Clients, each with one request in flight or thinking, >= 1.
        response_s: Response time of a request alone in the system, > 0.
        service_s: Its time at the busiest stage, > 0, not above `response_s`.
        think_s: Pause of a client between answer and next request, >= 0.
        servers: Parallel servers at that stage, >= 1.

    Returns:
        min(clients / (response_s + think_s), servers / service_s).

    Raises:
        ValueError: If an argument is out of its range.

    Source: Denning and Buzen, ACM Computing Surveys 10(3), 1978.

    >>> throughput_bound(4, response_s=0.1, service_s=0.05)
    20.0
    """
    _require_not_negative(think_s=think_s)
    if clients < 1 or servers < 1:
        raise ValueError(f"clients, servers must be >= 1; got {clients}, {servers}")
    if not 0 < service_s <= response_s < math.inf:
        raise ValueError(
            f"0 < service_s <= response_s must hold; got {service_s}, {response_s}"
        )
    return min(clients / (response_s + think_s), servers / service_s)


def amdahl_speedup(
    parallel_fraction: float, workers: int, *, overhead: float = 0.0
) -> float:
    """How many times faster `workers` finish one request than one worker.

    Args:
        parallel_fraction: Part of the single worker's time that divides, in [0, 1].
        workers: How many share it, >= 1.
        overhead: Communication, as a fraction of the single worker's time, >= 0.

    Returns:
        1 / (serial + parallel / workers + overhead); below 1 is a slow-down.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Amdahl, AFIPS 1967, doi 10.1145/1465482.1465560.

    >>> amdahl_speedup(0.5, 2)
    1.3333333333333333
    """
    _require_not_negative(overhead=overhead)
    if not 0 <= parallel_fraction <= 1:
        raise ValueError(
            f"parallel_fraction must be in [0, 1]; got {parallel_fraction}"
        )
    if workers < 1:
        raise ValueError(f"workers must be >= 1; got {workers}")
    return 1 / (1 - parallel_fraction + parallel_fraction / workers + overhead)


def _require_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and >= 0; got {value}")
