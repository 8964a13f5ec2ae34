import contextlib

import numpy as np
import pytest

from recsys_lib.latency.load import arrival_times
from recsys_lib.latency.windows import Case, measure_windows, of_windows, p99


def test_every_round_has_a_window_of_each_case_and_load():
    beside, order = [], []

    @contextlib.contextmanager
    def updating():
        beside.append(len(order))
        yield
        assert len(order) == beside[-1] + 3  # the requests of one window

    cases = {"quiet": Case(order.append), "busy": Case(order.append, updating)}
    rates = {"low": 1e4, "high": 1e5}
    found = measure_windows(cases, rates_per_s=rates, n_requests=3, rounds=4)
    assert set(found) == {(case, load) for case in cases for load in rates}
    assert all(x.shape == (4, 3) and (x > 0).all() for x in found.values())
    assert order == [0, 1, 2] * 16
    assert len(beside) == 8


def test_the_windows_of_a_round_have_the_same_arrivals(monkeypatch):
    sent = []

    class Run:
        latency_ms = np.ones(2)

    def remember(call, **options):
        sent.append(arrival_times(2, rate_per_s=1, seed=options["seed"])[0])
        return Run()

    monkeypatch.setattr("recsys_lib.latency.windows.open_loop", remember)
    cases = {"a": Case(print), "b": Case(print)}
    measure_windows(cases, rates_per_s={"low": 1.0}, n_requests=2, rounds=3, seed=5)
    assert sent[::2] == sent[1::2]
    assert len(set(sent)) == 3


def test_a_failed_request_ends_the_run():
    def fail(i):
        raise OSError(f"request {i}")

    with pytest.raises(OSError, match="request 0"):
        measure_windows(
            {"a": Case(fail)}, rates_per_s={"low": 1e4}, n_requests=1, rounds=2
        )


def test_whole_rounds_are_resampled():
    """Rounds differ, and a ratio within a round does not: its interval has no width."""
    quiet = np.outer([1.0, 5.0, 2.0, 9.0], [1, 1, 2])
    same = of_windows(lambda a, b: p99(a) / p99(b), 3 * quiet, quiet)
    assert (same.value, same.low, same.high, same.n) == pytest.approx((3, 3, 3, 4))
    alone = of_windows(p99, quiet)
    assert alone.value == np.quantile(quiet, 0.99)
    rng = np.random.default_rng(0)
    drawn = [quiet[rng.integers(4, size=4)].ravel() for _ in range(1000)]
    ends = np.quantile([np.quantile(x, 0.99) for x in drawn], [0.025, 0.975])
    assert (alone.low, alone.high) == pytest.approx(ends)


@pytest.mark.parametrize(
    "wrong", [{"rounds": 1}, {"rates_per_s": {}}, {"cases": {}}, {"n_requests": 0}]
)
def test_a_measurement_has_cases_rates_and_rounds(wrong):
    options = {"rates_per_s": {"low": 1e4}, "n_requests": 1, "rounds": 2}
    options |= {"cases": {"a": Case(print)}} | wrong
    with pytest.raises(ValueError, match="must be >= 1"):
        measure_windows(options.pop("cases"), **options)


def test_the_windows_must_pair_up():
    with pytest.raises(ValueError, match="the same rounds; got \\[2, 3\\]"):
        of_windows(lambda a, b: p99(a), np.ones((2, 1)), np.ones((3, 1)))
