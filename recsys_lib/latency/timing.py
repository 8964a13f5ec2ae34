"""How long a call takes: warmed up, synchronised, interleaved, with intervals.

The garbage collector runs before the first timed call and rests until the last one: the
samples are of the call, not of garbage that others left. Its pauses show where they
belong, under load (`recsys_lib.latency.load`).
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.metrics.intervals import Interval, TimedInterval, bootstrap_interval

Milliseconds = npt.NDArray[np.float64]
Call = Callable[[], object]
Stages = Mapping[str, Callable[[Any], Any]]
Clock = Callable[[], float]


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles and mean of n latencies, in milliseconds, with their intervals."""

    p50_ms: Interval
    p95_ms: Interval
    p99_ms: Interval
    mean_ms: Interval
    n: int


def measure(call: Call, **options: Any) -> Milliseconds:
    """Time one call again and again; options and errors as of `measure_interleaved`.

    >>> measure(lambda: sum(range(100)), repeats=3).shape
    (3,)
    """
    return measure_interleaved({"call": call}, **options)["call"]


def measure_interleaved(
    calls: Mapping[str, Call],
    *,
    repeats: int,
    warmup: int = 5,
    device: str = "cpu",
    seed: int = 0,
    before: Call | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Milliseconds]:
    """Time several calls side by side: every round runs each once, in random order.

    What drifts (temperature, neighbours) meets all alike, so their ratio is fair.

    Args:
        calls: What to time, by name.
        repeats: Timed rounds.
        warmup: Rounds before them, not timed.
        device: "cpu" or "cuda[:i]": its queued work is awaited inside each sample.
        seed: Of the orders.
        before: Runs ahead of each timed call, untimed: such as what empties the caches.
        clock: Seconds, monotonic.

    Returns:
        For each name (repeats,) milliseconds; element i is of round i.

    Raises:
        ValueError: If there is nothing to call, or an option is out of its range.
    """
    if not calls or repeats < 1 or warmup < 0:
        got = f"got {len(calls)}, {repeats}, {warmup}"
        raise ValueError(f"calls and repeats must be 1 or more, warmup 0; {got}")
    rng, names = np.random.default_rng(seed), list(calls)
    for call in [*calls.values()] * warmup:
        call()
    synchronize(device)
    samples = {name: np.empty(repeats) for name in names}
    with _collector_resting():
        for i in range(repeats):
            for name in (names[j] for j in rng.permutation(len(names))):
                if before:
                    before()
                samples[name][i] = _time_ms(calls[name], device, clock)
    return samples


def breakdown(
    stages: Stages,
    value: Any,
    *,
    device: str = "cpu",
    clock: Clock = time.perf_counter,
    **options: Any,
) -> dict[str, Milliseconds]:
    """Time the stages of a pipeline, and the whole run without a clock inside.

    The two kinds of run take turns; what the stages add up to beyond the whole is the
    price of looking inside (or what a GPU hides by overlapping).

    Args:
        stages: Functions in order, each taking what the one before returned.
        value: What the first stage takes.
        device: As of `measure_interleaved`.
        clock: As of `measure_interleaved`.
        **options: The others of `measure_interleaved`.

    Returns:
        (repeats,) milliseconds for each stage, and for "whole".

    Raises:
        ValueError: If a stage is called "whole", or as `measure_interleaved` does.

    >>> list(breakdown({"split": str.split, "count": len}, "a b c", repeats=4))
    ['split', 'count', 'whole']
    """
    if not stages or "whole" in stages:
        raise ValueError(f'stages must be some, none "whole"; got {list(stages)}')
    laps: list[list[float]] = []

    def staged() -> None:
        laps.append(_laps_ms(stages, value, device=device, clock=clock))

    def whole() -> None:
        carried = value
        for stage in stages.values():
            carried = stage(carried)

    runs = {"staged": staged, "whole": whole}
    times = measure_interleaved(runs, device=device, clock=clock, **options)["whole"]
    timed = np.array(laps[-len(times) :])  # (repeats, n_stages), the warm-up dropped
    return {**dict(zip(stages, timed.T.copy(), strict=True)), "whole": times}


def summarize(samples_ms: npt.ArrayLike, **options: Any) -> LatencySummary:
    """Percentiles and mean of latencies, each with a bootstrap interval.

    The interval of a p99 cannot reach past the slowest sample: it tells little below
    some hundreds of samples.

    Args:
        samples_ms: (n,) milliseconds.
        **options: level, n_resamples, seed of `bootstrap_interval`.

    Raises:
        ValueError: If there is no sample, or one is not finite.

    >>> summarize([2.0, 2.0, 2.0]).p50_ms
    Interval(value=2.0, low=2.0, high=2.0, n=3)
    """
    p50, p95, p99 = (
        bootstrap_interval(samples_ms, statistic=partial(np.quantile, q=q), **options)
        for q in (0.50, 0.95, 0.99)
    )
    mean = bootstrap_interval(samples_ms, statistic="mean", **options)
    return LatencySummary(p50, p95, p99, mean, mean.n)


def ratio(
    slow_ms: npt.ArrayLike,
    fast_ms: npt.ArrayLike,
    *,
    quantile: float = 0.5,
    **options: Any,
) -> TimedInterval:
    """How many times as long the slow call takes, at a quantile, with its interval.

    Whole rounds are resampled: what slowed both calls of a round cancels out.

    Args:
        slow_ms: (n,) milliseconds, the numerator.
        fast_ms: (n,) milliseconds of the same rounds of `measure_interleaved`.
        quantile: Of both, in [0, 1].
        **options: level, n_resamples, seed of `bootstrap_interval`.

    Raises:
        ValueError: If the samples do not pair up, are not above 0, or an option is out
            of its range.

    >>> ratio([4.0, 8.0], [2.0, 4.0])
    TimedInterval(value=2.0, low=2.0, high=2.0, n=2)
    """
    slow, fast = (np.asarray(x, dtype=np.float64) for x in (slow_ms, fast_ms))
    if slow.shape != fast.shape:
        raise ValueError(f"samples must pair up; got {slow.shape} and {fast.shape}")
    if not (np.minimum(slow, fast) > 0).all():
        raise ValueError("samples must be above 0; got others")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must lie in [0, 1]; got {quantile}")

    def of_rounds(rounds: Milliseconds, axis: int) -> Milliseconds:
        above, below = (x[rounds.astype(np.int64)] for x in (slow, fast))
        return np.asarray(
            np.quantile(above, quantile, axis=axis)
            / np.quantile(below, quantile, axis=axis)
        )

    rounds = np.arange(slow.size)
    found = bootstrap_interval(rounds, statistic=of_rounds, **options)
    return TimedInterval(**vars(found))


def synchronize(device: str) -> None:
    """Wait until a device has done all its queued work; a CPU has none.

    Raises:
        ValueError: If the device is neither "cpu" nor "cuda[:i]".

    >>> synchronize("cpu")
    """
    if device == "cpu":
        return
    if not device.startswith("cuda"):
        raise ValueError(f'device must be "cpu" or "cuda[:i]"; got {device!r}')
    import torch  # takes seconds, and only a GPU needs it here

    torch.cuda.synchronize(device)


@contextmanager
def _collector_resting() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _time_ms(call: Call, device: str, clock: Clock) -> float:
    start = clock()
    call()
    synchronize(device)
    return (clock() - start) * 1e3


def _laps_ms(stages: Stages, value: Any, *, device: str, clock: Clock) -> list[float]:
    marks = [clock()]
    for stage in stages.values():
        value = stage(value)
        synchronize(device)
        marks.append(clock())
    return [(end - start) * 1e3 for start, end in pairwise(marks)]
