import numpy as np
import pytest

from recsys_lib.serving.adaptation import Day, serve_day, simulate_day


def rng():
    return np.random.default_rng(0)


def test_a_day_has_its_peaks_and_counts_the_second_before():
    day = simulate_day(200, 120, rng=rng())
    counts = np.bincount(day.arrivals_s.astype(int), minlength=120)
    assert 150 < counts[30] < 260
    assert counts[0] < 40
    second = day.arrivals_s.astype(int)
    later = second > 0
    assert (day.load_before[later] == counts[second[later] - 1]).all()
    assert (day.load_before[~later] == counts[0]).all()


def test_an_overloaded_configuration_is_late_and_a_faster_one_is_not():
    day = simulate_day(200, 60, rng=rng())
    options = {"quality": [0.9, 0.5], "scv": 0.2, "cores": 1, "deadline_ms": 50}
    times = {"service_s": [0.01, 0.001]}
    best = serve_day(day, 0, **times, **options, rng=rng())
    fast = serve_day(day, 1, **times, **options, rng=rng())
    assert best.in_time < 0.6
    assert fast.in_time == 1
    assert fast.quality == pytest.approx(0.5)
    adapted = serve_day(day, day.load_before > 60, **times, **options, rng=rng())
    assert adapted.quality > max(best.quality, fast.quality)


def test_late_answers_have_no_quality():
    day = Day(np.array([0.0, 0.0]), np.array([2, 2]))
    options = {"scv": 1e-9, "cores": 1, "deadline_ms": 15, "rng": rng()}
    found = serve_day(day, 0, service_s=[0.01], quality=[0.8], **options)
    assert (found.quality, found.in_time) == (pytest.approx(0.4), 0.5)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match="peak_qps must be above 0"):
        simulate_day(0, 60, rng=rng())
    with pytest.raises(ValueError, match="n_seconds at least 1"):
        simulate_day(5, 0, rng=rng())
    day = Day(np.array([0.0]), np.array([1]))
    options = {"cores": 1, "deadline_ms": 5, "rng": rng()}
    with pytest.raises(ValueError, match="scv must be above 0"):
        serve_day(day, 0, service_s=[1], quality=[1], scv=0, **options)
