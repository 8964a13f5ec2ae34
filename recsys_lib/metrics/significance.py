"""Whether a difference could be chance: by the unit drawn, over splits, and of many.

Splits of the same data overlap, so their results need another interval than independent
ones. It stands here because it comes from Student's t, as the tests do.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from recsys_lib.arguments import whole_number
from recsys_lib.metrics.intervals import (
    LEVEL,
    Interval,
    differences,
    finite_values,
    unit_means,
    unit_sums,
)

_FLIPPED = 4_000_000  # signs in memory at once: 32 MB


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
        TypeError: If `n_flips` is no whole number.
        ValueError: As `paired_interval` does, or if `n_flips` is below 1.

    Source: Smucker, Allan & Carterette, CIKM 2007, doi:10.1145/1321440.1321528.

    >>> paired_p([1.0, 1.0], [0.0, 0.0]) > 0.4  # two pairs: half of the draws agree
    True
    """
    whole_number("n_flips", n_flips)
    gain = differences(a, b)
    if units is not None:
        gain = unit_sums(gain, units)[0] if by_size else unit_means(gain, units)
    rng = np.random.default_rng(seed)
    rows = max(1, _FLIPPED // len(gain))
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
    sample = finite_values(values)
    if len(sample) < 2:
        raise ValueError(f"values must be of two splits or more; got {len(sample)}")
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be in (0, 1); got {test_share}")
    n, overlap = len(sample), test_share / (1 - test_share)
    error = math.sqrt((1 / n + overlap) * float(sample.var(ddof=1)))
    return float(sample.mean()), error, n
