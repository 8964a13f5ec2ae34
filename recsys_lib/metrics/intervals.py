"""Intervals and tests: bootstrap by the unit drawn, repeated draws, Holm's correction.

`scipy.stats.bootstrap` draws the same resamples, but its percentiles differ from
NumPy's in the last digits, and for fewer than a thousand values it is slower.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

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
        ValueError: If values are empty, not one-dimensional or not finite, the
            statistic is unknown or not finite, or `n_resamples` is below 1.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.

    >>> bootstrap_interval([5.0, 5.0, 5.0])
    Interval(value=5.0, low=5.0, high=5.0, n=3)
    """
    sample, compute = _checked(values), _callable(statistic)
    if units is not None:
        if statistic != "mean":
            raise ValueError(f'with units, statistic must be "mean"; got {statistic!r}')
        if by_size and np.any(sample != sample[0]):  # equal values have no width
            sample, compute = _sized_units(sample, units)
        else:
            sample = _unit_means(sample, units)
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1; got {n_resamples}")
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
        _differences(a, b), units=units, by_size=by_size, seed=seed
    )


def paired_p(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    units: npt.ArrayLike | None = None,
    by_size: bool = False,
    n_flips: int = 9999,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "both means are equal", by a paired randomisation test.

    The sign of each unit's difference is drawn anew; p is the share of draws whose mean
    is at least as far from 0 as the mean found, which counts as one of them.

    Args:
        a: (n,) finite numbers, one for each user, for example.
        b: (n,) finite numbers of the same users in the same order.
        units: As in `bootstrap_interval`.
        by_size: As in `bootstrap_interval`.
        n_flips: Draws, >= 1; the smallest p-value is ``1 / (n_flips + 1)``.
        seed: Of the draws.

    Returns:
        In (0, 1].

    Raises:
        ValueError: As `paired_interval` does, or if `n_flips` is below 1.

    Source: Smucker, Allan & Carterette, CIKM 2007, doi:10.1145/1321440.1321528.

    >>> paired_p([1.0, 1.0], [0.0, 0.0]) > 0.4  # two pairs: half of the draws agree
    True
    """
    if n_flips < 1:
        raise ValueError(f"n_flips must be at least 1; got {n_flips}")
    gain = _differences(a, b)
    if units is not None:
        gain = _unit_sums(gain, units)[0] if by_size else _unit_means(gain, units)
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(gain))
    means = np.concatenate(
        [
            rng.choice([-1.0, 1.0], (min(rows, n_flips - done), len(gain))) @ gain
            for done in range(0, n_flips, rows)
        ]
    )
    found = abs(gain.sum())
    as_far = np.abs(means) >= found - 1e-12 * np.abs(gain).sum()
    return float((as_far.sum() + 1) / (n_flips + 1))


def draws_interval(values: npt.ArrayLike, *, test_share: float) -> Interval:
    """95 % interval of a mean over random splits of the same data.

    Splits overlap, so their results are not independent, and a bootstrap of them is too
    narrow. The variance is therefore ``(1 / n + n_test / n_train) * s**2``, and the
    quantile is Student's t with n - 1 degrees of freedom.

    Args:
        values: (n,) finite numbers, one for each split, n >= 2; of a paired comparison,
            the difference of each split.
        test_share: Share of the data in the test part of a split, in (0, 1).

    Raises:
        ValueError: If `test_share` is out of range, or values are fewer than 2 or not
            finite.

    Source: Nadeau & Bengio, Machine Learning 52 (2003), doi:10.1023/A:1024068626366.

    >>> draws_interval([1.0, 1.0, 1.0], test_share=0.2)
    Interval(value=1.0, low=1.0, high=1.0, n=3)
    """
    mean, error, n = _corrected(values, test_share)
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, n - 1))
    return Interval(mean, mean - half, mean + half, n)


def draws_p(values: npt.ArrayLike, *, test_share: float) -> float:
    """Two-sided p-value of "the mean over random splits is 0", as `draws_interval`.

    >>> draws_p([1.0, -1.0], test_share=0.5)
    1.0
    """
    mean, error, n = _corrected(values, test_share)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number by Holm's step-down method.

    Rejecting those whose corrected value is at most .05 makes one or more false
    rejections with a probability of at most .05.

    Args:
        p_values: Name -> p-value in [0, 1].

    Raises:
        ValueError: If a p-value is outside [0, 1].

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise ValueError(f"p-values must be in [0, 1]; got {p} for {name!r}")
    largest, corrected = 0.0, {}
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def _corrected(values: npt.ArrayLike, test_share: float) -> tuple[float, float, int]:
    """Mean of repeated splits, its corrected standard error, and their number."""
    sample = _checked(values)
    if len(sample) < 2:
        raise ValueError(f"values must be of two splits or more; got {len(sample)}")
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be in (0, 1); got {test_share}")
    n, overlap = len(sample), test_share / (1 - test_share)
    error = math.sqrt((1 / n + overlap) * float(sample.var(ddof=1)))
    return float(sample.mean()), error, n


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Float64Array:
    left, right = _checked(a), _checked(b)
    if left.shape != right.shape:
        raise ValueError(
            f"a and b must pair up; got shapes {left.shape} and {right.shape}"
        )
    return left - right


def _unit_means(sample: Float64Array, units: npt.ArrayLike) -> Float64Array:
    """Mean of the values of each unit, in the order of the sorted units."""
    sums, sizes = _unit_sums(sample, units)
    return sums / sizes


def _sized_units(
    sample: Float64Array, units: npt.ArrayLike
) -> tuple[Float64Array, Callable[..., Any]]:
    """The numbers of the units, and the mean of all values of those drawn."""
    sums, sizes = _unit_sums(sample, units)

    def mean_of(drawn: Float64Array, axis: int) -> Float64Array:
        rows = drawn.astype(np.int64)
        return np.asarray(sums[rows].sum(axis=axis) / sizes[rows].sum(axis=axis))

    return np.arange(len(sums), dtype=np.float64), mean_of


def _unit_sums(
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
