import threading
from time import sleep

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.load import (
    arrival_times,
    closed_loop,
    open_loop,
    simulate_queue,
)


class FakeClock:
    """Seconds that pass when slept, and a microsecond when read."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 1e-6
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_arrivals_have_the_rate_and_repeat_with_the_seed():
    times = arrival_times(20_000, rate_per_s=50, seed=3)
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.05)
    assert (times == arrival_times(20_000, rate_per_s=50, seed=3)).all()
    assert (times != arrival_times(20_000, rate_per_s=50, seed=4)).all()


def test_open_loop_counts_from_the_intended_start():
    clock = FakeClock()
    run = open_loop(
        lambda i: clock.sleep(0.15),
        rate_per_s=1000,
        n_requests=4,
        clock=clock,
        sleep=clock.sleep,
    )
    assert (run.intended_s == arrival_times(4, rate_per_s=1000)).all()
    assert run.service_ms == pytest.approx([150] * 4, abs=0.1)
    last_ms = 600 - 1e3 * (run.intended_s[-1] - run.intended_s[0])
    assert run.latency_ms[[0, -1]] == pytest.approx([150, last_ms], abs=0.1)
    assert run.waiting_ms[[0, -1]] == pytest.approx([0, last_ms - 150], abs=0.1)
    assert run.throughput_per_s == pytest.approx(4 / 0.6, rel=1e-3)


def test_open_loop_follows_its_own_simulation():
    clock = FakeClock()
    service_s = np.random.default_rng(0).exponential(0.01, 200)
    run = open_loop(
        lambda i: clock.sleep(service_s[i]),
        rate_per_s=70,
        n_requests=200,
        clock=clock,
        sleep=clock.sleep,
    )
    simulated = simulate_queue(arrival_times(200, rate_per_s=70), service_s)
    assert run.latency_ms == pytest.approx(simulated.latency_ms, abs=1)


def test_closed_loop_hides_the_queue():
    clock = FakeClock()
    run = closed_loop(
        lambda i: clock.sleep(0.1),
        clients=1,
        n_requests=3,
        clock=clock,
    )
    assert run.latency_ms == pytest.approx([100] * 3, abs=0.1)
    assert run.started_s == pytest.approx([0, 0.1, 0.2], abs=1e-3)
    assert run.throughput_per_s == pytest.approx(3 / 0.3, rel=1e-3)


def test_workers_serve_at_the_same_time_and_each_request_once():
    together = threading.Barrier(4, timeout=120)
    seen: list[int] = []

    def call(i: int) -> None:
        seen.append(i)
        together.wait()

    run = open_loop(call, rate_per_s=1e4, n_requests=8, workers=4)
    assert sorted(seen) == list(range(8))
    assert run.in_flight(run.started_s).max() >= 4
    closed_loop(call, clients=4, n_requests=8)
    assert sorted(seen[8:]) == list(range(8))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_call_ends_the_run(workers):
    seen: list[int] = []

    def call(i: int) -> None:
        seen.append(i)
        if i == 2:
            raise KeyError("request 2")
        sleep(1e-4)  # all of them would take minutes

    with pytest.raises(KeyError, match="request 2"):
        closed_loop(call, clients=workers, n_requests=10**6)
    assert len(seen) < 10**6


gaps_and_services = st.tuples(
    st.floats(0, 1, allow_subnormal=False), st.floats(0.01, 2)
)


@given(st.lists(gaps_and_services, min_size=1, max_size=30), st.integers(1, 4))
def test_simulation_equals_a_naive_queue(steps, servers):
    gaps, services = np.array(steps).T
    run = simulate_queue(np.cumsum(gaps), services, servers=servers)
    free_s = [0.0] * servers
    for i, arrival in enumerate(np.cumsum(gaps)):
        first = int(np.argmin(free_s))
        assert run.started_s[i] == max(arrival, free_s[first])
        free_s[first] = run.started_s[i] + services[i]
    more = simulate_queue(np.cumsum(gaps), services, servers=servers + 1)
    assert (more.latency_ms <= run.latency_ms + 1e-6).all()


def test_in_flight_by_hand():
    run = simulate_queue([0, 1, 2], [2, 2, 2])
    assert run.in_flight([-1, 0, 1.5, 2, 5.5, 6]).tolist() == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arrival_times(0, rate_per_s=1), "n_requests must be >= 1; got 0"),
        (lambda: arrival_times(1, rate_per_s=0), "rate_per_s must be finite and > 0"),
        (
            lambda: arrival_times(1, rate_per_s=1, arrivals="bursts"),
            "arrivals must be .* got 'bursts'",
        ),
        (
            lambda: open_loop(id, rate_per_s=1e4, n_requests=1, workers=0),
            "workers or clients must be >= 1; got 0",
        ),
        (lambda: closed_loop(id, clients=1, n_requests=0), "n_requests must be >= 1"),
        (lambda: simulate_queue([0], [1], servers=0), "servers must be >= 1; got 0"),
        (lambda: simulate_queue([0, 1], [1]), r"got \(2,\) and \(1,\)"),
        (lambda: simulate_queue([], []), "n >= 1"),
        (lambda: simulate_queue([1, 0], [1, 1]), "arrival_s must be finite and asc"),
        (lambda: simulate_queue([0], [0]), "service_s must be finite and > 0"),
        (lambda: simulate_queue([0], [np.nan]), "service_s must be finite"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
