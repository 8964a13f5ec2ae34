import multiprocessing

import numpy as np
import pytest

from recsys_lib.scaling.tensor_parallel import (
    MESSAGE_BYTES,
    SplitTimes,
    Stack,
    fit_link,
    measure_split,
)

SMALL = Stack(dim=16, hidden=30, n_layers=3, batch=4)


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("n_processes", [1, 2, 4])
def test_the_split_computes_what_the_whole_does(n_processes):
    times = measure_split(SMALL, n_processes=n_processes, repeats=4)
    assert times.max_error < 1e-5
    for seconds in (times.whole_s, times.crowded_s, times.serial_s, times.split_s):
        assert seconds.shape == (4,)
        assert (seconds > 0).all()
    assert times.reduce_s.shape == (5, 4)
    assert 0 <= times.parallel_fraction <= 1


def test_communication_is_the_fitted_link_times_the_messages():
    stack = Stack(dim=10, batch=5, n_layers=3)
    reduce_s = 1e-4 + 2e-9 * np.array([MESSAGE_BYTES] * 2).T
    times = SplitTimes(stack, *np.ones((4, 2)), reduce_s, max_error=0.0)
    assert stack.message_bytes == 4 * 10 * 5
    assert times.link == pytest.approx((1e-4, 2e-9))
    assert times.communication_s == pytest.approx(3 * (1e-4 + 200 * 2e-9))


def test_link_is_fitted_to_small_messages_too():
    sizes = np.array([1e3, 1e4, 1e6])
    assert fit_link(sizes, 1e-4 + 2e-9 * sizes) == pytest.approx((1e-4, 2e-9))
    assert fit_link([1, 2], [2.0, 1.0])[1] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_split(repeats=0), "repeats must be >= 1.*got 0"),
        (lambda: measure_split(n_processes=0), "n_processes must be >= 1; got 0"),
        (lambda: fit_link([1, 1], [1, 1]), "two sizes or more; got"),
        (lambda: fit_link([1, 2], [1]), "two sizes or more; got"),
        (lambda: fit_link([1, 2], [1, 0]), "seconds must be finite and > 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
