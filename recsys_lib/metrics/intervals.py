"""Percentile bootstrap intervals of a statistic of independent values.

`scipy.stats.bootstrap` draws the same resamples, but its percentiles differ from
NumPy's in the last digits, and for fewer than a thousand values it is slower.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from recsys_lib.arrays import Float64Array

Statistic = Literal["mean", "median"] | Callable[..., Any]

_NAMED: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}
LEVEL = 0.95  # of every interval
_CHUNK = 4_000_000  # resampled values in memory at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval.

    Attributes:
        value: The statistic of the sample.
        low: Lower end, in the unit of the value.
        high: Upper end, in the unit of the value.
        n: Size of the sample.
        timed: Whether it derives from times, and so differs by machine and by run.
    """

    value: float
    low: float
    high: float
    n: int
    timed: ClassVar[bool] = False


class TimedInterval(Interval):
    """An interval of a number that derives from times, such as a ratio of two."""

    timed = True


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    statistic: Statistic = "mean",
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % percentile bootstrap interval of a statistic of independent values.

    Args:
        values: (n,) finite numbers; constant values give an interval of width 0.
        statistic: "mean", "median", or a callable ``f(x, axis=...)`` like NumPy's.
        n_resamples: Samples drawn with replacement, >= 1.
        seed: Of the resampling.

    Raises:
        ValueError: If values are empty, not one-dimensional or not finite, the
            statistic is unknown or not finite, or `n_resamples` is below 1.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.

    >>> bootstrap_interval([5.0, 5.0, 5.0])
    Interval(value=5.0, low=5.0, high=5.0, n=3)
    """
    sample, compute = _checked(values), _callable(statistic)
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1; got {n_resamples}")
    value, n = float(compute(sample, axis=0)), len(sample)
    constant = np.all(sample == sample[0])  # exact: resamples would add rounding
    resampled = [value] if constant else _resampled(sample, compute, n_resamples, seed)
    if not np.isfinite([value, *resampled]).all():
        raise ValueError(f"statistic must give finite values; got {value} of {n}")
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n)


def paired_interval(a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """95 % bootstrap interval of the mean of ``a - b``, pair by pair.

    Args:
        a: (n,) finite numbers, one for each unit (a user, for example).
        b: (n,) finite numbers of the same units in the same order.
        seed: Of the resampling.

    Raises:
        ValueError: If the shapes differ, or as `bootstrap_interval` does.

    >>> paired_interval([3.0, 4.0], [1.0, 2.0])
    Interval(value=2.0, low=2.0, high=2.0, n=2)
    """
    left, right = _checked(a), _checked(b)
    if left.shape != right.shape:
        raise ValueError(
            f"a and b must pair up; got shapes {left.shape} and {right.shape}"
        )
    return bootstrap_interval(left - right, seed=seed)


def _callable(statistic: Statistic) -> Callable[..., Any]:
    if callable(statistic):
        return statistic
    if statistic not in _NAMED:
        raise ValueError(
            f"statistic must be callable or in {list(_NAMED)}; got {statistic!r}"
        )
    return _NAMED[statistic]


def _checked(values: npt.ArrayLike) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"values must be one-dimensional and not empty; got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"values must be finite; got {bad} NaN or infinite")
    return array


def _resampled(
    sample: Float64Array,
    compute: Callable[..., Any],
    n_resamples: int,
    seed: int,
) -> Float64Array:
    rng, n = np.random.default_rng(seed), len(sample)
    rows = max(1, _CHUNK // n)
    sizes = [min(rows, n_resamples - done) for done in range(0, n_resamples, rows)]
    return np.concatenate(
        [compute(sample[rng.integers(n, size=(size, n))], axis=1) for size in sizes]
    )
