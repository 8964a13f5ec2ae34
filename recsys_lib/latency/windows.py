"""Compare loads on a service that differ in what runs beside it, in short windows.

The windows of all cases alternate and have the same arrivals, so that slow changes of
the machine affect all alike. Whole windows are resampled, since the requests of one
window wait for each other.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from recsys_lib.arrays import Float64Array
from recsys_lib.latency.load import open_loop
from recsys_lib.metrics.intervals import TimedInterval, bootstrap_interval


def p99(latency_ms: Float64Array) -> Float64Array:
    """The 99th percentile over the last axis: of the requests of some windows.

    Args:
        latency_ms: (..., n_requests).
    """
    return np.asarray(np.quantile(latency_ms, 0.99, axis=-1))


@dataclass(frozen=True)
class Case:
    """One case to compare.

    Attributes:
        call: Answers one request, given its number.
        beside: Makes what runs while a window lasts, as a context.
    """

    call: Callable[[int], object]
    beside: Callable[[], AbstractContextManager[object]] = nullcontext


def measure_windows(
    cases: Mapping[str, Case],
    *,
    rates_per_s: Mapping[str, float],
    n_requests: int,
    rounds: int,
    seed: int = 0,
) -> dict[tuple[str, str], Float64Array]:
    """Send open-loop requests in short windows: each round has one of each kind.

    Args:
        cases: Name -> case.
        rates_per_s: Name of a load -> mean requests a second, > 0.
        n_requests: Of one window, >= 1.
        rounds: >= 2. The order of a round's windows is random, and all of them have
            the same arrivals (scaled to the rate).
        seed: Of the arrivals and the order.

    Returns:
        (case, load) -> (rounds, n_requests) milliseconds from the intended send time to
        the answer.

    Raises:
        ValueError: If an argument is out of its range. What a call raises ends the run.

    >>> case = Case(lambda i: i)
    >>> found = measure_windows(
    ...     {"idle": case}, rates_per_s={"low": 1e4}, n_requests=5, rounds=2
    ... )
    >>> found["idle", "low"].shape
    (2, 5)
    """
    if not cases or not rates_per_s or rounds < 2:
        got = f"got {len(cases)}, {len(rates_per_s)} and {rounds}"
        raise ValueError(f"cases and rates must be >= 1, rounds >= 2; {got}")
    kinds = [(case, load) for case in cases for load in rates_per_s]
    waits = {kind: np.empty((rounds, n_requests)) for kind in kinds}
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        for case, load in (kinds[j] for j in rng.permutation(len(kinds))):
            with cases[case].beside():
                run = open_loop(
                    cases[case].call,
                    rate_per_s=rates_per_s[load],
                    n_requests=n_requests,
                    seed=seed + number,
                )
            waits[case, load][number] = run.latency_ms
    return waits


def of_windows(
    statistic: Callable[..., Float64Array], *windows: Float64Array
) -> TimedInterval:
    """A statistic of all requests, with an interval that resamples the rounds.

    Args:
        statistic: Takes arrays (m, n_requests) of milliseconds, one for each of
            `windows`, and returns (m,) numbers.
        windows: (rounds, n_requests) milliseconds, of the same rounds.

    Raises:
        ValueError: If the numbers of rounds differ.

    >>> quiet, busy = np.ones((3, 4)), np.full((3, 4), 2.0)
    >>> of_windows(lambda a, b: p99(a) / p99(b), busy, quiet)
    TimedInterval(value=2.0, low=2.0, high=2.0, n=3)
    """
    sizes = {len(each) for each in windows}
    if len(sizes) != 1:
        raise ValueError(f"windows must have the same rounds; got {sorted(sizes)}")

    def of_rounds(drawn: Float64Array, axis: int) -> Float64Array:
        rounds = np.atleast_2d(drawn.astype(np.int64))  # (m, rounds)
        pooled = [each[rounds].reshape(len(rounds), -1) for each in windows]
        found = statistic(*pooled)
        return found if axis else found[0]

    found = bootstrap_interval(np.arange(*sizes), statistic=of_rounds)
    return TimedInterval(**vars(found))
