import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.load import arrival_times, simulate_queue
from recsys_lib.latency.queueing import (
    amdahl_speedup,
    erlang_b,
    littles_law,
    mg1_mean_response,
    mm1_mean_response,
    mm1_response_quantile,
    squared_cv,
    throughput_bound,
)

N = 60_000
RATE_PER_S, SERVICE_S = 60.0, 0.01


def up_to(most):
    return st.floats(0, most, allow_subnormal=False)


@pytest.fixture(scope="module")
def services() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "exponential": rng.exponential(SERVICE_S, N),
        "gamma": rng.gamma(4, SERVICE_S / 4, N),
        "constant": np.full(N, SERVICE_S),
    }


@pytest.fixture(scope="module")
def runs(services):
    arrivals = arrival_times(N, rate_per_s=RATE_PER_S, seed=2)
    return {name: simulate_queue(arrivals, s) for name, s in services.items()}


@pytest.mark.parametrize("kind", ["exponential", "gamma", "constant"])
def test_mg1_predicts_the_simulated_mean(kind, services, runs):
    service_s = services[kind]
    scv = squared_cv(service_s) if kind != "constant" else 0.0
    predicted_s = mg1_mean_response(RATE_PER_S, service_s.mean(), scv)
    assert runs[kind].latency_ms.mean() == pytest.approx(predicted_s * 1e3, rel=0.05)


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_mm1_quantile_predicts_the_simulated_one(q, runs):
    measured_ms = np.quantile(runs["exponential"].latency_ms, q)
    predicted_s = mm1_response_quantile(RATE_PER_S, SERVICE_S, q)
    assert measured_ms == pytest.approx(predicted_s * 1e3, rel=0.1)


def test_littles_law_equals_requests_counted_in_flight(runs):
    run = runs["gamma"]
    moments = np.linspace(0, run.finished_s.max(), 20_000)
    predicted = littles_law(run.throughput_per_s, run.latency_ms.mean() / 1e3)
    assert run.in_flight(moments).mean() == pytest.approx(predicted, rel=0.02)


def test_overload_takes_for_ever():
    assert mm1_mean_response(100, 0.01) == math.inf
    assert mg1_mean_response(101, 0.01, 0) == math.inf
    assert mm1_response_quantile(200, 0.01, 0) == math.inf


@given(up_to(0.99), st.floats(1e-4, 10), up_to(10))
def test_response_grows_with_load_and_spread(utilisation, service_s, scv):
    rate = utilisation / service_s
    response_s = mg1_mean_response(rate, service_s, scv)
    assert response_s >= service_s
    assert mg1_mean_response(rate, service_s, scv + 1) >= response_s
    assert mg1_mean_response(rate / 2, service_s, scv) <= response_s


@given(st.integers(0, 40), up_to(60))
def test_erlang_b_equals_its_sum(servers, load):
    terms = [load**n / math.factorial(n) for n in range(servers + 1)]
    assert erlang_b(servers, load) == pytest.approx(terms[-1] / sum(terms))


@given(st.integers(1, 50), st.integers(1, 8), st.floats(0.01, 1), up_to(1))
def test_throughput_bound_is_reached_by_constant_service(clients, servers, s, think):
    bound = throughput_bound(
        clients, response_s=s, service_s=s, think_s=think, servers=servers
    )
    assert bound == min(clients / (s + think), servers / s)


def test_throughput_bound_crosses_over_at_saturation():
    bounds = [throughput_bound(n, response_s=0.1, service_s=0.02) for n in (1, 5, 50)]
    assert bounds == pytest.approx([10, 50, 50])


@given(up_to(1), st.integers(1, 64), up_to(2))
def test_amdahl_stays_within_its_limits(fraction, workers, overhead):
    speedup = amdahl_speedup(fraction, workers, overhead=overhead)
    assert speedup <= workers * (1 + 1e-9)
    assert speedup * (1 - fraction) <= 1 + 1e-9
    assert speedup <= amdahl_speedup(fraction, workers)


def test_amdahl_by_hand():
    assert amdahl_speedup(0.9, 10) == pytest.approx(1 / 0.19)
    assert amdahl_speedup(1, 2, overhead=0.5) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: littles_law(-1, 1),
            "throughput_per_s must be finite and >= 0; got -1",
        ),
        (lambda: littles_law(1, math.nan), "response_s must be finite"),
        (lambda: mg1_mean_response(1, 1, -1), "scv must be finite and >= 0; got -1"),
        (lambda: mm1_mean_response(math.inf, 1), "arrivals_per_s must be finite"),
        (lambda: mm1_response_quantile(1, 0.1, 1), r"q must be in \[0, 1\); got 1"),
        (lambda: squared_cv([]), "samples must be positive and not empty"),
        (lambda: squared_cv([1, 0]), "samples must be positive"),
        (lambda: erlang_b(-1, 1), "servers must be finite and >= 0; got -1"),
        (lambda: erlang_b(1.5, 1), "servers must be a whole number; got 1.5"),
        (lambda: amdahl_speedup(1.1, 2), r"must be in \[0, 1\]; got 1.1"),
        (lambda: amdahl_speedup(1, 0), "workers must be >= 1; got 0"),
        (
            lambda: throughput_bound(0, response_s=1, service_s=1),
            "must be >= 1; got 0, 1",
        ),
        (
            lambda: throughput_bound(1, response_s=1, service_s=2),
            "service_s <= response_s must hold; got 2, 1",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
