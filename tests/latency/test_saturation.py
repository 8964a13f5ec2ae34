from dataclasses import dataclass

import numpy as np
import pytest

from recsys_lib.latency.load import LoadResult, arrival_times, simulate_queue
from recsys_lib.latency.queueing import mg1_mean_response
from recsys_lib.latency.saturation import find_saturation, summarize_load

N = 10_000
SERVICE_S = 0.01


def queue(rate, *, servers=1, constant=False, seed=0):
    rng = np.random.default_rng(seed)
    services = np.full(N, SERVICE_S) if constant else rng.exponential(SERVICE_S, N)
    arrivals = arrival_times(N, rate_per_s=rate, seed=seed + 1)
    return simulate_queue(arrivals, services, servers=servers)


@dataclass(frozen=True)
class Refusing(LoadResult):
    """At most `most` answers; the others are refused at once."""

    most: int

    @property
    def ok(self):
        return np.arange(len(self.finished_s)) % 100 < self.most


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("servers", [1, 3])
def test_a_queue_saturates_at_servers_over_service_time(servers, constant):
    found = find_saturation(
        lambda rate: queue(rate, servers=servers, constant=constant), start_per_s=30
    )
    assert found.rate_per_s == pytest.approx(servers / SERVICE_S, rel=0.06)
    assert found.low_per_s < found.rate_per_s < found.high_per_s
    assert found.high_per_s <= found.low_per_s * 1.05
    rates = [point.rate_per_s for point in found.points]
    assert rates == sorted(rates)
    assert found.kept_pace


def test_the_start_does_not_matter():
    low, high = (find_saturation(queue, start_per_s=start) for start in (20, 700))
    assert low.rate_per_s == pytest.approx(high.rate_per_s, rel=0.06)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_percentiles_are_those_of_theory(load):
    rate = load / SERVICE_S
    point = summarize_load(queue(rate), rate_per_s=rate)
    assert point.kept_up
    assert point.refused == 0
    assert point.throughput_per_s == pytest.approx(rate, rel=0.03)
    for interval, q in ((point.latency.p50_ms, 0.5), (point.latency.p99_ms, 0.99)):
        mean_ms = mg1_mean_response(rate, SERVICE_S, scv=1) * 1e3
        expected_ms = -np.log1p(-q) * mean_ms  # response times are exponential
        assert interval.value == pytest.approx(expected_ms, rel=0.15)


def test_a_slight_overload_is_seen_by_its_backlog():
    point = summarize_load(queue(104, constant=True), rate_per_s=104)
    assert point.throughput_per_s > 0.95 * 104  # by itself enough
    assert not point.kept_up


def test_refusals_are_no_throughput():
    times = np.arange(1, 201) / 100

    def refusing(most):
        run = Refusing(times, times, times + 0.001, most=most)
        return summarize_load(run, rate_per_s=100)

    assert refusing(96).kept_up
    assert refusing(94).refused == pytest.approx(0.06)
    assert not refusing(94).kept_up
    assert refusing(0).latency is None
    assert refusing(0).throughput_per_s == 0


def test_a_late_sender_shows():
    @dataclass(frozen=True)
    class Late(LoadResult):
        kept_pace: bool = False

    def offer(rate):
        run = queue(rate)
        return Late(run.intended_s, run.started_s, run.finished_s)

    assert not find_saturation(offer, start_per_s=50).kept_pace


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_per_s": 0}, "start_per_s must be > 0.*got 0, 2.0, 1.05"),
        ({"start_per_s": 1, "step": 1}, "step and width > 1; got 1, 1, 1.05"),
        ({"start_per_s": 1, "width": 1}, "step and width > 1; got 1, 2.0, 1"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        find_saturation(queue, **options)


@pytest.mark.parametrize("answered_s", [0.001, 1000.0])
def test_a_search_without_end_is_ended(answered_s):
    times = np.arange(1, 3, dtype=float)

    def offer(rate):
        return LoadResult(times, times, times + answered_s)

    with pytest.raises(ValueError, match="must keep up with some rate and not with"):
        find_saturation(offer, start_per_s=1)
