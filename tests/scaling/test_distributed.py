import multiprocessing

import numpy as np
import pytest

from recsys_lib.scaling.distributed import (
    Stack,
    _build,
    _forward,
    _share,
    fit_link,
    measure_split,
)

SMALL = Stack(dim=16, hidden=30, n_layers=3, batch=4)


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert not multiprocessing.active_children()


def test_the_split_computes_what_the_whole_does():
    times = measure_split(SMALL, repeats=4, reduce_bytes=(64, 4096), timeout_s=300)
    assert times.max_error < 1e-5
    for seconds in (times.whole_s, times.crowded_s, times.serial_s, times.split_s):
        assert seconds.shape == (4,)
        assert (seconds > 0).all()
    assert times.reduce_s.shape == (2, 4)
    assert 0 <= times.parallel_fraction <= 1
    assert times.communication_s > 0
    assert SMALL.reduce_bytes == 4 * 16 * 4


@pytest.mark.parametrize("n_processes", [1, 2, 4])
def test_shares_of_a_layer_add_up_to_it(n_processes):
    x, layers = _build(Stack(dim=8, hidden=10, n_layers=1, batch=3))
    parts = [
        _forward(x, _share(layers, rank, n_processes)) - x
        for rank in range(n_processes)
    ]
    whole = _forward(x, layers) - x
    assert sum(parts).numpy() == pytest.approx(whole.numpy(), abs=1e-5)


def test_link_is_fitted_to_small_messages_too():
    sizes = np.array([1e3, 1e4, 1e6])
    assert fit_link(sizes, 1e-4 + 2e-9 * sizes) == pytest.approx((1e-4, 2e-9))
    assert fit_link([1, 2], [2.0, 1.0])[1] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_split(repeats=0), "repeats must be >= 1.*got 0"),
        (lambda: measure_split(reduce_bytes=[4]), r"two or more multiples.*\[4\]"),
        (lambda: measure_split(reduce_bytes=[4, 7]), r"multiples of 4.*\[4, 7\]"),
        (lambda: measure_split(n_processes=0), "n_processes must be >= 1; got 0"),
        (lambda: fit_link([1, 1], [1, 1]), "two sizes or more; got"),
        (lambda: fit_link([1, 2], [1]), "two sizes or more; got"),
        (lambda: fit_link([1, 2], [1, 0]), "seconds must be finite and > 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
