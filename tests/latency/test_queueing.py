import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.load import arrival_times, simulate_queue
from recsys_lib.latency.queueing import erlang_b, mg1_mean_response, squared_cv

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


def test_overload_takes_for_ever():
    assert mg1_mean_response(100, 0.01, 1) == math.inf
    assert mg1_mean_response(101, 0.01, 0) == math.inf


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mg1_mean_response(1, 1, -1), "scv must be finite and >= 0; got -1"),
        (lambda: mg1_mean_response(math.inf, 1, 0), "arrivals_per_s must be finite"),
        (lambda: squared_cv([]), "samples must be positive and not empty"),
        (lambda: squared_cv([1, 0]), "samples must be positive"),
        (lambda: erlang_b(-1, 1), "servers must be finite and >= 0; got -1"),
        (lambda: erlang_b(1.5, 1), "servers must be a whole number; got 1.5"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
