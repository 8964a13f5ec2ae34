from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.metrics.intervals import bootstrap_interval
from recsys_lib.metrics.significance import draws_interval, draws_p, holm, paired_p


def test_units_of_one_size_count_the_same_either_way():
    values, units = np.random.default_rng(2).normal(size=60), np.tile(range(20), 3)
    same = bootstrap_interval(values, units=units, by_size=True, seed=1)
    other = bootstrap_interval(values, units=units, seed=1)
    assert (same.low, same.high) == pytest.approx((other.low, other.high))
    zero = np.zeros(60)
    assert paired_p(values, zero, units=units, by_size=True) == paired_p(
        values, zero, units=units
    )


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
    with pytest.raises(TypeError, match="n_flips must be a whole number"):
        paired_p(gain, zero, n_flips=2.5)


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
