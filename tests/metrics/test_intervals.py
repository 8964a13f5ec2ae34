from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from recsys_lib.metrics.intervals import (
    Interval,
    bootstrap_interval,
    draws_interval,
    draws_p,
    holm,
    paired_interval,
    paired_p,
)

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


def test_units_of_one_size_count_the_same_either_way():
    values, units = np.random.default_rng(2).normal(size=60), np.tile(range(20), 3)
    same = bootstrap_interval(values, units=units, by_size=True, seed=1)
    other = bootstrap_interval(values, units=units, seed=1)
    assert (same.low, same.high) == pytest.approx((other.low, other.high))
    zero = np.zeros(60)
    assert paired_p(values, zero, units=units, by_size=True) == paired_p(
        values, zero, units=units
    )


def test_units_are_checked():
    with pytest.raises(ValueError, match="units must name one for each value"):
        bootstrap_interval([1.0, 2.0], units=[1])
    with pytest.raises(ValueError, match='with units, statistic must be "mean"'):
        bootstrap_interval([1.0, 2.0], statistic="median", units=[1, 2])


def test_randomisation_p_is_that_of_all_sign_patterns():
    gain = np.array([0.5, 1.0, -0.2, 0.7, 0.4, 0.9])
    signs = np.array(list(product([-1, 1], repeat=len(gain))))
    exact = np.mean(np.abs(signs @ gain) >= gain.sum() - 1e-12)
    assert paired_p(gain, np.zeros(6)) == pytest.approx(exact, abs=0.01)


def test_randomisation_p_of_equal_and_of_repeated_pairs():
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1
    gain = np.linspace(-1, 2, 40)
    zero, units = np.zeros(40), range(40)
    once = paired_p(gain, zero)
    again = paired_p(np.tile(gain, 3), np.tile(zero, 3), units=np.tile(units, 3))
    assert once == again
    assert 0 < once < 0.01
    with pytest.raises(ValueError, match="n_flips must be at least 1"):
        paired_p(gain, zero, n_flips=0)


def test_interval_of_draws_is_wider_than_of_independent_values():
    values = [0.1, 0.2, 0.3, 0.4]
    s = np.std(values, ddof=1)
    half = 3.182446 * s * np.sqrt(1 / 4 + 0.25 / 0.75)
    got = draws_interval(values, test_share=0.25)
    assert (got.value, got.n) == (pytest.approx(0.25), 4)
    assert got.high - got.value == pytest.approx(half, rel=1e-6)
    assert got.value - got.low == pytest.approx(half, rel=1e-6)


def test_p_of_draws_agrees_with_their_interval():
    values = np.array([0.1, 0.2, 0.3, 0.4])
    low = draws_interval(values, test_share=0.25).low
    assert draws_p(values - low, test_share=0.25) == pytest.approx(0.05)
    assert draws_p([2.0, 2.0], test_share=0.25) == 0
    assert draws_p([0.0, 0.0], test_share=0.25) == 1


def test_draws_are_checked():
    with pytest.raises(ValueError, match="two splits or more; got 1"):
        draws_interval([1.0], test_share=0.5)
    with pytest.raises(ValueError, match=r"test_share must be in \(0, 1\); got 1"):
        draws_p([1.0, 2.0], test_share=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(values):
    raw = {str(n): p for n, p in enumerate(values)}
    corrected = holm(raw)
    assert list(corrected) == list(raw)
    for name, other in product(raw, raw):
        assert corrected[name] >= raw[name] or corrected[name] == 1
        assert raw[name] > raw[other] or corrected[name] <= corrected[other]
    smallest = min(raw, key=lambda name: raw[name])
    assert corrected[smallest] == min(1, len(raw) * raw[smallest])


def test_holm_checks_its_input():
    assert holm({}) == {}
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]; got 1.5 for 'a'"):
        holm({"a": 1.5})
