"""Simulated days of a changing load, served by one configuration or by several."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys_lib.arrays import Float64Array, IntArray
from recsys_lib.latency.load import simulate_queue

WAVE_S = 60  # from one peak of the load to the next


@dataclass(frozen=True, eq=False)
class Day:
    """The requests of a simulated day.

    Attributes:
        arrivals_s: (n_requests,) ascending times.
        load_before: (n_requests,) requests counted in the second before that of each;
            in the first second, that second's own.
    """

    arrivals_s: Float64Array
    load_before: IntArray


@dataclass(frozen=True)
class Served:
    """How a day was served: means over its requests.

    Attributes:
        quality: Of the answers; a late one counts 0.
        in_time: Share answered within the deadline, in [0, 1].
    """

    quality: float
    in_time: float


def simulate_day(peak_qps: float, n_seconds: int, *, rng: np.random.Generator) -> Day:
    """Draw the requests of a noisy wave between a fifteenth of the peak and the peak.

    Args:
        peak_qps: Requests a second at the top of the wave, above 0.
        n_seconds: Length of the day, at least 1.
        rng: Of the noise (a factor with a sigma of a tenth) and of the arrivals.

    Raises:
        ValueError: If an argument is out of range.

    >>> day = simulate_day(50, 120, rng=np.random.default_rng(0))
    >>> bool((np.diff(day.arrivals_s) >= 0).all()), int(day.load_before.max()) > 40
    (True, True)
    """
    if peak_qps <= 0 or n_seconds < 1:
        raise ValueError(
            f"peak_qps must be above 0 and n_seconds at least 1; got {peak_qps}, "
            f"{n_seconds}"
        )
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_seconds) / WAVE_S)
    rates = peak_qps * (1 / 15 + 14 / 15 * wave) * rng.lognormal(0, 0.1, n_seconds)
    counts = rng.poisson(rates)
    second = np.repeat(np.arange(n_seconds), counts)
    arrivals = np.sort(second + rng.random(len(second)))
    before = np.r_[counts[0], counts[:-1]]
    return Day(arrivals, before[second])


def serve_day(
    day: Day,
    chosen: npt.ArrayLike,
    *,
    service_s: Sequence[float],
    quality: Sequence[float],
    scv: float,
    cores: int,
    deadline_ms: float,
    rng: np.random.Generator,
) -> Served:
    """Answer each request of a day by the configuration chosen for it.

    Args:
        day: The requests.
        chosen: Number of the configuration of each request, or one for all.
        service_s: Mean service time of each configuration, above 0.
        quality: Quality of each configuration.
        scv: Squared coefficient of variation of the service times (gamma), above 0.
        cores: Servers of the queue.
        deadline_ms: A later answer is late.
        rng: Of the service times.

    Raises:
        ValueError: If scv is not above 0.

    >>> day = Day(np.array([0.0, 5.0]), np.array([1, 1]))
    >>> serve_day(day, [0, 1], service_s=[0.01, 9], quality=[0.4, 0.8], scv=0.01,
    ...           cores=1, deadline_ms=50, rng=np.random.default_rng(0))
    Served(quality=0.2, in_time=0.5)
    """
    if scv <= 0:
        raise ValueError(f"scv must be above 0; got {scv}")
    numbers = np.broadcast_to(np.asarray(chosen, dtype=int), day.arrivals_s.shape)
    factor = rng.gamma(1 / scv, scv, len(numbers))
    times = np.asarray(service_s, dtype=float)[numbers] * factor
    queue = simulate_queue(day.arrivals_s, times, servers=cores)
    in_time = queue.latency_ms <= deadline_ms
    of_each = np.asarray(quality, dtype=float)[numbers] * in_time
    return Served(float(of_each.mean()), float(in_time.mean()))
