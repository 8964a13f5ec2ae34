"""Find the highest request rate that a service keeps up with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys_lib.latency.load import LoadResult
from recsys_lib.latency.timing import LatencySummary, summarize

SHARE_OK = 0.95  # of the offered rate that must be answered successfully
GROWTH = 0.01  # seconds by which latency may grow a second; more is a growing queue
MAX_STEPS = 40


@dataclass(frozen=True)
class LoadPoint:
    """A service under one offered rate.

    Attributes:
        rate_per_s: Requests offered a second.
        throughput_per_s: Successful requests a second.
        latency: Of the successful requests; None without any. Its intervals assume
            independent requests, and are too narrow near saturation.
        refused: Fraction of requests without success, in [0, 1].
        kept_up: Whether the service kept up with the rate; see `find_saturation`.
        kept_pace: Whether the sender was on time; if not, it may be the bottleneck.
    """

    rate_per_s: float
    throughput_per_s: float
    latency: LatencySummary | None
    refused: float
    kept_up: bool
    kept_pace: bool


@dataclass(frozen=True)
class Saturation:
    """The rate at which a service saturates, bracketed by two rates that were tried.

    Attributes:
        rate_per_s: Geometric mean of the bracket.
        low_per_s: Lower end: the service kept up with it.
        high_per_s: Upper end: the service did not keep up with it.
        points: All rates that were tried, ascending.
    """

    rate_per_s: float
    low_per_s: float
    high_per_s: float
    points: tuple[LoadPoint, ...]

    @property
    def kept_pace(self) -> bool:
        """Whether the sender was on time at both ends of the bracket."""
        ends = (self.low_per_s, self.high_per_s)
        return all(p.kept_pace for p in self.points if p.rate_per_s in ends)


def find_saturation(
    offer: Callable[[float], LoadResult],
    *,
    start_per_s: float,
    step: float = 2.0,
    width: float = 1.05,
) -> Saturation:
    """Find the highest rate that a service keeps up with, by steps, then by bisection.

    A service keeps up if it answers at least 95 % of the offered rate successfully and
    its latency grows by at most 1 % of the elapsed time. With some thousand requests at
    each rate, the result is precise to a few per cent.

    Args:
        offer: Runs an open loop at a mean rate a second: over HTTP, in process or
            simulated.
        start_per_s: First rate tried, > 0.
        step: Factor between rates until the bracket is found, > 1.
        width: The search ends when the ends of the bracket differ by this factor, > 1.

    Raises:
        ValueError: If an argument is out of range, or the search has not ended after 40
            rates.

    >>> from recsys_lib.latency.load import arrival_times, simulate_queue
    >>> def one_a_ms(rate):
    ...     arrivals = arrival_times(3000, rate_per_s=rate)
    ...     return simulate_queue(arrivals, [1e-3] * 3000)
    >>> bool(900 < find_saturation(one_a_ms, start_per_s=300).rate_per_s < 1100)
    True
    """
    if not (0 < start_per_s < np.inf and step > 1 and width > 1):
        raise ValueError(
            f"start_per_s must be > 0, step and width > 1; "
            f"got {start_per_s}, {step}, {width}"
        )
    points: list[LoadPoint] = []
    low, high, rate = 0.0, np.inf, float(start_per_s)
    while low == 0 or high > low * width:
        if len(points) == MAX_STEPS:
            raise ValueError(
                f"offer must keep up with some rate and not with all; "
                f"got {low:g} to {high:g} a second after {MAX_STEPS} rates"
            )
        points.append(summarize_load(offer(rate), rate_per_s=rate))
        low, high = (rate, high) if points[-1].kept_up else (low, rate)
        rate = _next_rate(low, high, step)
    points.sort(key=lambda point: point.rate_per_s)
    return Saturation(float(np.sqrt(low * high)), low, high, tuple(points))


def summarize_load(run: LoadResult, *, rate_per_s: float) -> LoadPoint:
    """Summarise a run at an offered rate, and judge whether the service kept up."""
    ok = run.ok
    n, n_ok = len(ok), int(ok.sum())
    offered_span_s = float(run.intended_s[-1] - run.intended_s[0])
    answered_span_s = float(run.finished_s.max() - run.intended_s[0])
    share = n_ok / n * min(1.0, (offered_span_s or answered_span_s) / answered_span_s)
    return LoadPoint(
        rate_per_s,
        throughput_per_s=n_ok / answered_span_s,
        latency=summarize(run.latency_ms[ok], n_resamples=200) if n_ok else None,
        refused=1 - n_ok / n,
        kept_up=share >= SHARE_OK and _growth(run) <= GROWTH,
        kept_pace=run.kept_pace,
    )


def _next_rate(low: float, high: float, step: float) -> float:
    if low == 0:
        return high / step
    return low * step if np.isinf(high) else float(np.sqrt(low * high))


def _growth(run: LoadResult) -> float:
    """Least-squares slope of latency over time, seconds a second."""
    intended_s, latency_s = run.intended_s[run.ok], run.latency_ms[run.ok] / 1e3
    centred_s = intended_s - intended_s.mean()
    spread = float(centred_s @ centred_s)
    return float(centred_s @ latency_s) / spread if spread else 0.0
