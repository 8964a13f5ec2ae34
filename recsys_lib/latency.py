"""How long a call takes: warmed up, synchronised, interleaved, with intervals.

The garbage collector runs before the first timed call and rests until the last one: the
samples are of the call, not of garbage that others left. Its pauses show where they
belong, under load (`recsys_lib.load`).
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

from recsys_lib.intervals import Interval, bootstrap_interval

Milliseconds = npt.NDArray[np.float64]
Clock = Callable[[], float]


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles and mean of n latencies, in milliseconds, with their intervals."""

    p50_ms: Interval
    p95_ms: Interval
    p99_ms: Interval
    mean_ms: Interval
    n: int


def measure(call: Callable[[], object], **options: Any) -> Milliseconds:
    """Time one call again and again; options and errors as of `measure_interleaved`.

    >>> measure(lambda: sum(range(100)), repeats=3).shape
    (3,)
    """
    return measure_interleaved({"call": call}, **options)["call"]


def measure_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int = 5,
    device: str = "cpu",
    seed: int = 0,
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
        clock: Seconds, monotonic.

    Returns:
        For each name (repeats,) milliseconds; element i is of round i.

    Raises:
        ValueError: If there is nothing to call, or an option is out of its range.
    """
    _check_counts(len(calls), repeats, warmup)
    rng, pairs = np.random.default_rng(seed), list(calls.items())
    for _ in range(warmup):
        for call in calls.values():
            call()
    synchronize(device)
    samples = {name: np.empty(repeats) for name in calls}
    with _collector_resting():
        for i in range(repeats):
            for j in rng.permutation(len(pairs)):
                name, call = pairs[j]
                samples[name][i] = _time_ms(call, device, clock)
    return samples


def breakdown(
    stages: Mapping[str, Callable[[Any], Any]],
    value: Any,
    *,
    device: str = "cpu",
    clock: Clock = time.perf_counter,
    **options: Any,
) -> dict[str, Milliseconds]:
    """Time the stages of a pipeline, and the whole run without a clock inside.

    The two kinds of run alternate: where the stages do not add up to the whole, the
    difference is what looking inside costs (or what a GPU hides by overlapping).

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

    >>> times = breakdown({"split": str.split, "count": len}, "a b c", repeats=4)
    >>> {name: len(ms) for name, ms in times.items()}
    {'split': 4, 'count': 4, 'whole': 4}
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
    samples = np.asarray(samples_ms, dtype=np.float64)
    p50, p95, p99 = (
        bootstrap_interval(samples, statistic=partial(np.quantile, q=q), **options)
        for q in (0.50, 0.95, 0.99)
    )
    mean = bootstrap_interval(samples, statistic="mean", **options)
    return LatencySummary(p50, p95, p99, mean, len(samples))


def ratio(
    slow_ms: npt.ArrayLike,
    fast_ms: npt.ArrayLike,
    *,
    quantile: float = 0.5,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """How many times as long the slow call takes, at a quantile, with its interval.

    As many samples of one as of the other are taken for rounds run together and
    resampled together (what both suffered cancels out), other numbers independently.

    Args:
        slow_ms: (n,) milliseconds, the numerator.
        fast_ms: (m,) milliseconds.
        quantile: Of both, in [0, 1].
        level: Coverage of the percentile bootstrap, in (0, 1).
        n_resamples: Of the bootstrap.
        seed: Of the resampling.

    Raises:
        ValueError: If samples are missing or not above 0, or an option is out of range.

    >>> ratio([4.0, 8.0], [2.0, 4.0])
    Interval(value=2.0, low=2.0, high=2.0, n=2)
    """
    slow, fast = _checked_samples(slow_ms), _checked_samples(fast_ms)
    if not (0 <= quantile <= 1 and 0 < level < 1 and n_resamples >= 1):
        got = f"got {quantile}, {level}, {n_resamples}"
        raise ValueError(f"quantile, level, n_resamples must be in range; {got}")
    rng = np.random.default_rng(seed)
    rounds = rng.integers(len(slow), size=(n_resamples, len(slow)))
    others = rounds
    if len(slow) != len(fast):
        others = rng.integers(len(fast), size=(n_resamples, len(fast)))
    above, below = (
        np.quantile(samples[picked], quantile, axis=1)
        for samples, picked in ((slow, rounds), (fast, others))
    )
    value = float(np.quantile(slow, quantile) / np.quantile(fast, quantile))
    low, high = np.quantile(above / below, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), min(len(slow), len(fast)))


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
    import torch  # seconds to import, and here only a GPU needs it

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


def _time_ms(call: Callable[[], object], device: str, clock: Clock) -> float:
    start = clock()
    call()
    synchronize(device)
    return (clock() - start) * 1e3


def _laps_ms(
    stages: Mapping[str, Callable[[Any], Any]], value: Any, *, device: str, clock: Clock
) -> list[float]:
    marks = [clock()]
    for stage in stages.values():
        value = stage(value)
        synchronize(device)
        marks.append(clock())
    return [(end - start) * 1e3 for start, end in pairwise(marks)]


def _checked_samples(samples_ms: npt.ArrayLike) -> Milliseconds:
    samples = np.asarray(samples_ms, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"samples must be (n,), not empty; got shape {samples.shape}")
    if not (np.isfinite(samples) & (samples > 0)).all():
        raise ValueError(f"samples must be finite and above 0; got {samples.min()}")
    return samples


def _check_counts(n_calls: int, repeats: int, warmup: int) -> None:
    if n_calls == 0:
        raise ValueError("calls must hold something to time; got none")
    if repeats < 1 or warmup < 0:
        raise ValueError(
            f"repeats must be at least 1, warmup 0; got {repeats}, {warmup}"
        )
