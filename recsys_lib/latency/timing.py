"""Time calls: after warm-up, synchronised with the device, interleaved, with intervals.

The garbage collector runs before the first timed call and is off until the last, so
that samples do not include the garbage of other code. Its pauses count under load
(`recsys_lib.latency.load`).
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.arrays import Float64Array, IntArray
from recsys_lib.metrics.intervals import Interval, TimedInterval, bootstrap_interval

Call = Callable[[], object]
Stages = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles and mean of n latencies, in milliseconds, with their intervals."""

    p50_ms: Interval
    p95_ms: Interval
    p99_ms: Interval
    mean_ms: Interval
    n: int


def measure(
    call: Call,
    *,
    repeats: int,
    warmup: int = 5,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> Float64Array:
    """Time one call repeatedly; arguments and errors as in `measure_interleaved`.

    >>> measure(lambda: sum(range(100)), repeats=3).shape
    (3,)
    """
    return measure_interleaved(
        {"call": call}, repeats=repeats, warmup=warmup, device=device, clock=clock
    )["call"]


def measure_interleaved(
    calls: Mapping[str, Call],
    *,
    repeats: int,
    warmup: int = 5,
    device: str = "cpu",
    seed: int = 0,
    before: Call | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Float64Array]:
    """Time several calls in rounds: each round runs every call once, in random order.

    Slow changes of the machine (temperature, other processes) affect all calls alike:
    their ratio is fair.

    Args:
        calls: Name -> call to time.
        repeats: Timed rounds, >= 1.
        warmup: Untimed rounds before them, >= 0.
        device: "cpu" or "cuda[:i]"; each sample waits for the device's queued work.
        seed: Of the order of the calls.
        before: Runs untimed before each timed call, to empty the caches for example.
        clock: Returns seconds, monotonic.

    Returns:
        Name -> (repeats,) milliseconds; element i belongs to round i.

    Raises:
        ValueError: If there is no call, or an option is out of range.
    """
    if not calls or repeats < 1 or warmup < 0:
        got = f"got {len(calls)}, {repeats}, {warmup}"
        raise ValueError(f"calls and repeats must be >= 1, warmup >= 0; {got}")
    rng, names = np.random.default_rng(seed), list(calls)
    for call in [*calls.values()] * warmup:
        call()
    synchronize(device)
    samples = {name: np.empty(repeats) for name in names}
    with _without_garbage_collection():
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
    repeats: int,
    warmup: int = 5,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Float64Array]:
    """Time each stage of a pipeline, and the pipeline as a whole.

    Runs that time each stage alternate with runs that time the whole. The sum of the
    stages minus the whole is the cost of timing them, and on a GPU also the time that
    overlapping stages save.

    Args:
        stages: Name -> function, in order; each takes the result of the one before.
        value: Argument of the first stage.
        repeats: As in `measure_interleaved`, like the arguments below.
        warmup: Untimed runs of each kind.
        device: "cpu" or "cuda[:i]".
        clock: Returns seconds.

    Returns:
        Name of a stage, or "whole" -> (repeats,) milliseconds.

    Raises:
        ValueError: If there is no stage, one is called "whole", or as
            `measure_interleaved` does.

    >>> list(breakdown({"split": str.split, "count": len}, "a b c", repeats=4))
    ['split', 'count', 'whole']
    """
    if not stages or "whole" in stages:
        got = f"got {list(stages)}"
        raise ValueError(f'stages must be one or more, none called "whole"; {got}')
    laps: list[list[float]] = []

    def staged() -> None:
        laps.append(_laps_ms(stages, value, device=device, clock=clock))

    def whole() -> None:
        result = value
        for stage in stages.values():
            result = stage(result)

    runs = {"staged": staged, "whole": whole}
    times = measure_interleaved(
        runs, repeats=repeats, warmup=warmup, device=device, clock=clock
    )["whole"]
    timed = np.array(laps[-repeats:])  # (repeats, n_stages), without the warm-up
    return {**dict(zip(stages, timed.T.copy(), strict=True)), "whole": times}


def summarize(
    samples_ms: npt.ArrayLike, *, n_resamples: int = 1000, seed: int = 0
) -> LatencySummary:
    """Percentiles and mean of latencies, each with a bootstrap interval.

    The interval of a p99 cannot exceed the slowest sample: for fewer than some hundreds
    of samples it means little.

    Args:
        samples_ms: (n,) milliseconds.
        n_resamples: As in `bootstrap_interval`.
        seed: Of the resampling.

    Raises:
        ValueError: If there is no sample, or one is not finite.

    >>> summarize([2.0, 2.0, 2.0]).p50_ms
    Interval(value=2.0, low=2.0, high=2.0, n=3)
    """
    interval = partial(
        bootstrap_interval, samples_ms, n_resamples=n_resamples, seed=seed
    )
    p50, p95, p99 = (
        interval(statistic=partial(np.quantile, q=q)) for q in (0.50, 0.95, 0.99)
    )
    mean = interval(statistic="mean")
    return LatencySummary(p50, p95, p99, mean, mean.n)


def ratio(
    slow_ms: npt.ArrayLike, fast_ms: npt.ArrayLike, *, quantile: float = 0.5
) -> TimedInterval:
    """Ratio of the same quantile of two calls' times, with its bootstrap interval.

    Whole rounds are resampled, so that what slowed both calls of a round cancels out.
    They are resampled in blocks of ``ceil(n ** (1 / 3))`` consecutive rounds: a ratio
    that drifts during the run then has a wider interval.

    Args:
        slow_ms: (n,) milliseconds, the numerator.
        fast_ms: (n,) milliseconds of the same rounds of `measure_interleaved`.
        quantile: Fraction in [0, 1]; 0.5 for the median.

    Raises:
        ValueError: If the shapes differ, a time is not above 0, or `quantile` is out of
            range.

    Source: Politis & Romano, A Circular Block-Resampling Procedure (1992).

    >>> ratio([4.0, 8.0], [2.0, 4.0])
    TimedInterval(value=2.0, low=2.0, high=2.0, n=2)
    """
    slow, fast = (np.asarray(x, dtype=np.float64) for x in (slow_ms, fast_ms))
    if slow.shape != fast.shape:
        got = f"got shapes {slow.shape} and {fast.shape}"
        raise ValueError(f"samples must pair up; {got}")
    if not (np.minimum(slow, fast) > 0).all():
        got = f"got {np.minimum(slow, fast).min()}"
        raise ValueError(f"samples must be above 0; {got}")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must lie in [0, 1]; got {quantile}")

    def of_rounds(drawn: Float64Array, axis: int) -> Float64Array:
        rounds = drawn.astype(np.int64)
        rounds = _in_blocks(rounds) if axis else rounds  # axis 0: the sample itself
        above, below = (
            np.quantile(x[rounds], quantile, axis=axis) for x in (slow, fast)
        )
        return np.asarray(above / below)

    found = bootstrap_interval(np.arange(slow.size), statistic=of_rounds)
    return TimedInterval(**vars(found))


def _in_blocks(rounds: IntArray) -> IntArray:
    """Resamples (m, n) of n rounds as blocks that start at the first drawn of each."""
    n = rounds.shape[1]
    length = math.ceil(n ** (1 / 3) - 1e-9)
    starts = rounds[:, : -(-n // length), None]
    blocks: IntArray = (starts + np.arange(length)) % n
    return blocks.reshape(len(rounds), -1)[:, :n]


def synchronize(device: str) -> None:
    """Wait until a device has done its queued work; does nothing for the CPU.

    Raises:
        ValueError: If the device is neither "cpu" nor "cuda[:i]".

    >>> synchronize("cpu")
    """
    if device == "cpu":
        return
    if not device.startswith("cuda"):
        raise ValueError(f'device must be "cpu" or "cuda[:i]"; got {device!r}')
    import torch  # takes seconds; only a GPU needs it

    torch.cuda.synchronize(device)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _time_ms(call: Call, device: str, clock: Callable[[], float]) -> float:
    start = clock()
    call()
    synchronize(device)
    return (clock() - start) * 1e3


def _laps_ms(
    stages: Stages, value: Any, *, device: str, clock: Callable[[], float]
) -> list[float]:
    marks = [clock()]
    for stage in stages.values():
        value = stage(value)
        synchronize(device)
        marks.append(clock())
    return [(end - start) * 1e3 for start, end in pairwise(marks)]
