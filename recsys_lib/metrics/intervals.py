"""Percentile bootstrap intervals of a statistic, drawn by the unit.

`scipy.stats.bootstrap` draws the same resamples, but its percentiles differ from
NumPy's in the last digits, and for fewer than a thousand values it is slower.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from recsys_lib.arguments import whole_number
from recsys_lib.arrays import Float64Array, IntArray

Statistic = Literal["mean", "median"] | Callable[..., Any]

_NAMED: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}
LEVEL = 0.95  # of every interval
MARGIN = 0.1  # "no worse": it loses less than this share of the reference's gain
_CHUNK = 4_000_000  # resampled values in memory at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval.

    Attributes:
        value: The statistic of the sample.
        low: Lower end, in the unit of the value.
        high: Upper end, in the unit of the value.
        n: Number of independent units: users or draws, not their repeats.
        timed: Whether it derives from times, and so differs by machine and by run.
    """

    value: float
    low: float
    high: float
    n: int
    timed: ClassVar[bool] = False

    def __format__(self, spec: str) -> str:
        """Return the value and its ends, each in the format `spec`, as tables show it.

        >>> f"{Interval(0.5, 0.4, 0.6, 9):.2f}"
        '0.50 [0.40, 0.60]'
        """
        if not spec:
            return str(self)
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


class TimedInterval(Interval):
    """An interval of a number that derives from times, such as a ratio of two."""

    timed = True


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    statistic: Statistic = "mean",
    units: npt.ArrayLike | None = None,
    by_size: bool = False,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % percentile bootstrap interval of a statistic of independent values.

    Args:
        values: (n,) finite numbers; constant values give an interval of width 0.
        statistic: "mean", "median", or a callable ``f(x, axis=...)`` like NumPy's.
        units: (n,) the unit that each value belongs to, such as the garment that four
            sentences describe; units are then drawn whole, and the statistic is the
            mean of the units' means. None if each value is a unit.
        by_size: With units: the statistic is the mean of all values of the units drawn,
            so that a unit counts as often as it has values.
        n_resamples: Samples drawn with replacement, >= 1.
        seed: Of the resampling.

    Raises:
        TypeError: If `n_resamples` is no whole number.
        ValueError: If values are empty, not one-dimensional or not finite, the
            statistic is unknown or not finite, or `n_resamples` is below 1.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.

    >>> bootstrap_interval([5.0, 5.0, 5.0])
    Interval(value=5.0, low=5.0, high=5.0, n=3)
    """
    sample, compute = finite_values(values), _callable(statistic)
    if units is not None:
        if statistic != "mean":
            raise ValueError(f'with units, statistic must be "mean"; got {statistic!r}')
        if by_size and np.any(sample != sample[0]):  # equal values have no width
            sample, compute = _sized_units(sample, units)
        else:
            sample = unit_means(sample, units)
    whole_number("n_resamples", n_resamples)
    value, n = float(compute(sample, axis=0)), len(sample)
    constant = np.all(sample == sample[0])  # exact: resamples would add rounding
    resampled = [value] if constant else _resampled(sample, compute, n_resamples, seed)
    if not np.isfinite([value, *resampled]).all():
        raise ValueError(f"statistic must give finite values; got {value} of {n}")
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n)


def paired_interval(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    units: npt.ArrayLike | None = None,
    by_size: bool = False,
    seed: int = 0,
) -> Interval:
    """95 % bootstrap interval of the mean of ``a - b``, pair by pair.

    Args:
        a: (n,) finite numbers, one for each user, for example.
        b: (n,) finite numbers of the same users in the same order.
        units: As in `bootstrap_interval`.
        by_size: As in `bootstrap_interval`.
        seed: Of the resampling.

    Raises:
        ValueError: If the shapes differ, or as `bootstrap_interval` does.

    >>> paired_interval([3.0, 4.0], [1.0, 2.0])
    Interval(value=2.0, low=2.0, high=2.0, n=2)
    """
    return bootstrap_interval(
        differences(a, b), units=units, by_size=by_size, seed=seed
    )


def differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Float64Array:
    """``a - b``, pair by pair; raises as `paired_interval` does."""
    left, right = finite_values(a), finite_values(b)
    if left.shape != right.shape:
        raise ValueError(
            f"a and b must pair up; got shapes {left.shape} and {right.shape}"
        )
    return left - right


def unit_means(sample: Float64Array, units: npt.ArrayLike) -> Float64Array:
    """Mean of the values of each unit, in the order of the sorted units."""
    sums, sizes = unit_sums(sample, units)
    return sums / sizes


def _sized_units(
    sample: Float64Array, units: npt.ArrayLike
) -> tuple[Float64Array, Callable[..., Any]]:
    """The numbers of the units, and the mean of all values of those drawn."""
    sums, sizes = unit_sums(sample, units)

    def mean_of(drawn: Float64Array, axis: int) -> Float64Array:
        rows = drawn.astype(np.int64)
        return np.asarray(sums[rows].sum(axis=axis) / sizes[rows].sum(axis=axis))

    return np.arange(len(sums), dtype=np.float64), mean_of


def unit_sums(
    sample: Float64Array, units: npt.ArrayLike
) -> tuple[Float64Array, IntArray]:
    """Sum and number of the values of each unit, in the order of the sorted units."""
    labels = np.asarray(units)
    if labels.shape != sample.shape:
        raise ValueError(
            f"units must name one for each value; got shapes {labels.shape} and "
            f"{sample.shape}"
        )
    _, places = np.unique(labels, return_inverse=True)
    sums = np.bincount(places, sample).astype(np.float64)
    return sums, np.bincount(places).astype(np.int64)


def _callable(statistic: Statistic) -> Callable[..., Any]:
    if callable(statistic):
        return statistic
    if statistic not in _NAMED:
        raise ValueError(
            f"statistic must be callable or in {list(_NAMED)}; got {statistic!r}"
        )
    return _NAMED[statistic]


def finite_values(values: npt.ArrayLike) -> Float64Array:
    """Return (n,) values as float64; raises as `bootstrap_interval` does."""
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
