import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from recsys_lib.metrics.intervals import Interval, bootstrap_interval, paired_interval

number = st.floats(-1e6, 1e6, allow_subnormal=False)
finite = st.lists(number, min_size=1, max_size=20)


def naive_bootstrap(values, n_resamples, seed):
    """One resample at a time, from the same stream of draws."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(values), size=(n_resamples, len(values)))
    means = [np.mean([values[i] for i in row]) for row in picks]
    return np.quantile(means, [0.025, 0.975])


def test_equals_one_resample_at_a_time():
    values = [1.0, 4.0, 2.0, 8.0]
    low, high = naive_bootstrap(values, 200, 7)
    got = bootstrap_interval(values, n_resamples=200, seed=7)
    assert got == Interval(3.75, pytest.approx(low), pytest.approx(high), 4)


def test_agrees_with_the_normal_interval_of_a_mean():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    half = 1.96 * values.std(ddof=1) / 20
    got = bootstrap_interval(values, n_resamples=4000)
    assert got.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert got.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    samples = rng.exponential(1.0, size=(200, 60))
    intervals = [bootstrap_interval(x, n_resamples=300) for x in samples]
    assert 0.88 < np.mean([i.low <= 1 <= i.high for i in intervals]) < 0.99


def test_statistics_by_name_and_as_a_callable():
    values = [1.0, 2.0, 10.0, 3.0, 4.0]
    assert bootstrap_interval(values, statistic="median").value == 3.0
    named = bootstrap_interval(values, statistic="median")
    assert named == bootstrap_interval(values, statistic=np.median)

    def p90(x, axis):
        return np.quantile(x, 0.9, axis=axis)

    assert bootstrap_interval(values, statistic=p90).high <= 10.0


def test_a_long_sample_is_resampled_in_chunks(monkeypatch):
    values = np.arange(50.0)
    whole = bootstrap_interval(values, n_resamples=100)
    monkeypatch.setattr("recsys_lib.metrics.intervals._CHUNK", 150)
    assert bootstrap_interval(values, n_resamples=100) == whole


@pytest.mark.parametrize("n", [2, 37, 400])
def test_agrees_with_scipy(n):
    values = np.random.default_rng(n).lognormal(size=n)
    theirs = bootstrap((values,), np.mean, n_resamples=500, method="percentile", rng=4)
    got = bootstrap_interval(values, n_resamples=500, seed=4)
    assert (got.low, got.high) == pytest.approx(theirs.confidence_interval)


@given(finite, st.integers(0, 5))
def test_lies_between_the_extremes_and_repeats(values, seed):
    interval = bootstrap_interval(values, n_resamples=50, seed=seed)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval == bootstrap_interval(values, n_resamples=50, seed=seed)


@given(number, st.integers(1, 9))
def test_constant_and_single_values_have_no_width(value, n):
    got = bootstrap_interval([value] * n)
    assert got.low == got.high == got.value == pytest.approx(value)


def test_paired_is_the_interval_of_the_differences():
    a, b = np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 5.0])
    assert paired_interval(a, b, seed=3) == bootstrap_interval(a - b, seed=3)
    assert paired_interval(b, a).value == -paired_interval(a, b).value


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "not empty; got shape"),
        ([[1.0]], {}, "one-dimensional"),
        ([1.0, np.nan], {}, "finite; got 1"),
        ([np.inf], {}, "finite; got 1"),
        ([1.0], {"n_resamples": 0}, "n_resamples must be"),
        ([1.0], {"statistic": "mode"}, "statistic must be"),
    ],
)
def test_refuses(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


def test_refuses_a_part_of_a_resample():
    with pytest.raises(TypeError, match="n_resamples must be a whole number"):
        bootstrap_interval([1.0], n_resamples=2.5)


def test_refuses_what_does_not_pair_up():
    with pytest.raises(ValueError, match="must pair up"):
        paired_interval([1.0, 2.0], [1.0])


def test_refuses_a_statistic_without_a_value():
    with pytest.raises(ValueError, match="must give finite values"):
        bootstrap_interval([1.0, 2.0], statistic=lambda x, axis: x.sum(axis) * np.nan)


def naive_cluster_bootstrap(values, units, n_resamples, seed):
    """Draw whole units with replacement; average the means of those drawn."""
    names = sorted(set(units))
    means = [
        np.mean([v for v, u in zip(values, units, strict=True) if u == x])
        for x in names
    ]
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(names), size=(n_resamples, len(names)))
    return np.quantile(
        [np.mean([means[i] for i in row]) for row in picks], [0.025, 0.975]
    )


def test_units_are_drawn_whole():
    values, units = [1.0, 3.0, 5.0, 9.0, 0.0], ["b", "b", "a", "a", "c"]
    low, high = naive_cluster_bootstrap(values, units, 200, 3)
    got = bootstrap_interval(values, units=units, n_resamples=200, seed=3)
    assert got == Interval(3.0, pytest.approx(low), pytest.approx(high), 3)


def test_repeats_of_a_unit_do_not_narrow_an_interval():
    values = np.random.default_rng(4).normal(size=50)
    once = bootstrap_interval(values)
    repeated = bootstrap_interval(np.repeat(values, 4), units=np.repeat(range(50), 4))
    assert repeated == once
    assert bootstrap_interval(np.repeat(values, 4)).high < once.high


def test_paired_units():
    a, b, units = [1.0, 2.0, 6.0], [0.0, 2.0, 2.0], [0, 0, 1]
    assert paired_interval(a, b, units=units).value == pytest.approx((0.5 + 4) / 2)
    assert paired_interval(a, b, units=units).n == 2


def naive_sized_bootstrap(values, units, n_resamples, seed):
    """Draw whole units with replacement; average all values of those drawn."""
    groups = [
        [v for v, u in zip(values, units, strict=True) if u == x]
        for x in sorted(set(units))
    ]
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(groups), size=(n_resamples, len(groups)))
    means = [np.mean([v for i in row for v in groups[i]]) for row in picks]
    return np.quantile(means, [0.025, 0.975])


def test_units_may_count_by_their_size():
    values, units = [1.0, 3.0, 5.0, 9.0, 0.0], ["b", "b", "b", "a", "c"]
    options = {"units": units, "by_size": True}
    got = bootstrap_interval(values, **options, n_resamples=200, seed=3)
    low, high = naive_sized_bootstrap(values, units, 200, 3)
    assert (got.value, got.n) == (pytest.approx(np.mean(values)), 3)
    assert (got.low, got.high) == pytest.approx((low, high))
    assert paired_interval(values, [0.0] * 5, **options).value == got.value
    constant = bootstrap_interval([0.5] * 5, **options)
    assert (constant.low, constant.high, constant.n) == (0.5, 0.5, 3)


def test_units_are_checked():
    with pytest.raises(ValueError, match="units must name one for each value"):
        bootstrap_interval([1.0, 2.0], units=[1])
    with pytest.raises(ValueError, match='with units, statistic must be "mean"'):
        bootstrap_interval([1.0, 2.0], statistic="median", units=[1, 2])


def test_formats_the_value_and_its_ends_alike():
    interval = Interval(0.5, 0.4, 0.625, 9)
    assert f"{interval:.2%}" == "50.00% [40.00%, 62.50%]"
    assert f"{interval}" == str(interval)
