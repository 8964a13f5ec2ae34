"""Formulas of queueing theory: response time and loss, predicted from rates and times.

Rates are per second, times in seconds; the offered load is the rate times the service
time. `recsys_lib.latency.load` measures and simulates the same quantities.
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def mg1_mean_response(arrivals_per_s: float, service_s: float, scv: float) -> float:
    """Mean response time in seconds of an M/G/1 queue; infinity if it is overloaded.

    Args:
        arrivals_per_s: Rate of the Poisson arrivals, >= 0.
        service_s: Mean service time, >= 0.
        scv: Squared coefficient of variation of the service times (`squared_cv`): 0 if
            they are constant, 1 if they are exponential (M/M/1).

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
    """Variance over squared mean of (n,) times in any unit.

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
    """Probability, in [0, 1], that a Poisson arrival finds all servers busy.

    An arrival does not wait; service times may have any distribution. For a pool of
    buffers it is the fraction of requests that need a new allocation.

    Args:
        servers: Servers or pooled buffers, a whole number >= 0.
        offered_load: Arrival rate times mean service time, >= 0.

    Raises:
        ValueError: If an argument is negative or `servers` is not whole.

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


def _require_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and >= 0; got {value}")
