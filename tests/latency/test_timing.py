import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.timing import (
    breakdown,
    measure,
    measure_interleaved,
    ratio,
    summarize,
    synchronize,
)

milliseconds = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=30)


class Clock:
    """A clock that advances only by the durations given to `takes`."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def takes(self, ms, result=None):
        def call(*_):
            self.now += ms / 1e3
            return result

        return call


def test_measures_what_a_call_takes():
    clock = Clock()
    got = measure(clock.takes(3), repeats=4, clock=clock)
    np.testing.assert_allclose(got, [3, 3, 3, 3])


def test_warm_up_is_called_and_not_counted():
    clock, costs = Clock(), iter([50, 40, 2, 2])
    got = measure(lambda: clock.takes(next(costs))(), repeats=2, warmup=2, clock=clock)
    np.testing.assert_allclose(got, [2, 2])


def test_every_round_runs_each_call_once_in_an_order_of_its_own():
    seen = []
    calls = {name: lambda name=name: seen.append(name) for name in "abc"}
    measure_interleaved(calls, repeats=20, warmup=1)
    rounds = [tuple(seen[i : i + 3]) for i in range(3, len(seen), 3)]
    assert len(rounds) == 20
    assert {tuple(sorted(order)) for order in rounds} == {("a", "b", "c")}
    assert len(set(rounds)) > 3
    first, seen[:] = list(seen), []
    measure_interleaved(calls, repeats=20, warmup=1)
    assert seen == first


def test_interleaved_samples_belong_to_their_names():
    clock = Clock()
    calls = {"slow": clock.takes(8), "fast": clock.takes(2)}
    got = measure_interleaved(calls, repeats=5, clock=clock)
    np.testing.assert_allclose(got["slow"], [8] * 5)
    assert ratio(got["slow"], got["fast"]).value == pytest.approx(4)


def test_the_collector_rests_while_timed_and_works_again_after():
    states = []
    measure(lambda: states.append(gc.isenabled()), repeats=2, warmup=1)
    assert states == [True, False, False]
    assert gc.isenabled()
    with pytest.raises(KeyError):
        measure({}.popitem, repeats=1, warmup=0)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        measure(int, repeats=1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_gpu_is_awaited_inside_every_sample(monkeypatch):
    clock, awaited = Clock(), []

    def wait(device):
        awaited.append(device)
        clock.now += 0.005

    torch = SimpleNamespace(cuda=SimpleNamespace(synchronize=wait))
    monkeypatch.setitem(sys.modules, "torch", torch)
    got = measure(clock.takes(1), repeats=3, warmup=0, device="cuda:1", clock=clock)
    np.testing.assert_allclose(got, [6, 6, 6])
    assert awaited == ["cuda:1"] * 4  # once more, before the first


def test_breakdown_by_hand():
    clock = Clock()
    stages = {"tokenise": clock.takes(1), "forward": clock.takes(5)}
    times = breakdown(stages, "text", repeats=3, clock=clock)
    assert list(times) == ["tokenise", "forward", "whole"]
    for name, ms in [("tokenise", 1), ("forward", 5), ("whole", 6)]:
        np.testing.assert_allclose(times[name], [ms] * 3)


def test_breakdown_hands_each_result_on():
    seen = []
    stages = {"double": lambda x: 2 * x, "see": seen.append}
    breakdown(stages, 4, repeats=2, warmup=1)
    assert seen == [8] * 6  # staged and whole, three rounds


def test_breakdown_drops_the_staged_warm_up():
    clock, costs = Clock(), iter([9, 9, 1, 1, 1, 1])
    times = breakdown(
        {"only": lambda _: clock.takes(next(costs))()},
        0,
        repeats=2,
        warmup=1,
        clock=clock,
    )
    np.testing.assert_allclose(times["only"], [1, 1])


def test_summary_of_known_percentiles():
    summary = summarize(np.arange(101.0))
    values = [summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.mean_ms]
    assert [x.value for x in values] == pytest.approx([50, 95, 99, 50])
    assert all(x.low <= x.value <= x.high <= 100 for x in values)
    assert summary.n == 101


@given(milliseconds, st.floats(0.1, 10))
def test_summary_scales_with_the_unit(samples, scale):
    one = summarize(samples, n_resamples=20)
    other = summarize([scale * x for x in samples], n_resamples=20)
    for a, b in zip(vars(one).values(), vars(other).values(), strict=True):
        if a != one.n:
            assert b.value == pytest.approx(scale * a.value)
            assert b.low == pytest.approx(scale * a.low)
    assert one.p50_ms.value <= one.p95_ms.value <= one.p99_ms.value


@given(milliseconds, st.floats(0.1, 10))
def test_a_constant_ratio_has_no_width(samples, factor):
    got = ratio([factor * x for x in samples], samples)
    assert (got.value, got.low, got.high) == pytest.approx((factor,) * 3)
    assert got.n == len(samples)


def test_ratio_resamples_blocks_of_whole_rounds_from_the_formula():
    slow, fast = np.array([4.0, 9.0, 5.0]), np.array([2.0, 3.0, 1.0])
    drawn = np.random.default_rng(0).integers(3, size=(1000, 3))
    picks = [[a, (a + 1) % 3, b] for a, b, _ in drawn]  # blocks of two rounds
    ratios = [np.quantile(slow[p], 0.9) / np.quantile(fast[p], 0.9) for p in picks]
    got = ratio(slow, fast, quantile=0.9)
    assert got.value == pytest.approx(np.quantile(slow, 0.9) / np.quantile(fast, 0.9))
    ends = np.quantile(ratios, [0.025, 0.975])
    assert (got.low, got.high) == pytest.approx(tuple(ends))


def test_a_ratio_that_drifts_has_a_wider_interval():
    rng, fast = np.random.default_rng(0), np.ones(60)
    slow = np.linspace(1, 1.2, 60)
    drifting, mixed = ratio(slow, fast), ratio(rng.permutation(slow), fast)
    assert drifting.high - drifting.low > 1.3 * (mixed.high - mixed.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_interleaved({}, repeats=1), "got 0, 1, 5"),
        (lambda: measure(int, repeats=0), "must be >= 1.*got 1, 0, 5"),
        (lambda: measure(int, repeats=1, warmup=-1), "got 1, 1, -1"),
        (lambda: measure(int, repeats=1, device="tpu"), 'device must be "cpu" or'),
        (lambda: synchronize("mps"), "got 'mps'"),
        (lambda: breakdown({}, 0, repeats=1), "stages must be one or more"),
        (lambda: breakdown({"whole": id}, 0, repeats=1), 'none called "whole"'),
        (lambda: summarize([]), "not empty"),
        (lambda: summarize([np.nan]), "must be finite"),
        (
            lambda: ratio([1.0], [1.0, 2.0]),
            r"must pair up; got shapes \(1,\) and \(2,\)",
        ),
        (lambda: ratio([1.0], [0.0]), "must be above 0; got 0.0"),
        (lambda: ratio([np.nan], [1.0]), "must be above 0"),
        (lambda: ratio([], []), "not empty"),
        (lambda: ratio([1.0], [1.0], quantile=2), r"lie in \[0, 1\]; got 2"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
