import threading

import pytest

from recsys_lib.latency.workers import side_by_side

HANG_S = 120  # longer than anything here takes on a busy machine


def test_all_workers_call_at_the_same_time():
    together = threading.Barrier(3)  # passed by three calls at once, or never
    passed = []

    def call():
        passed.append(together.wait(HANG_S))

    with side_by_side(call, workers=3, calls=2) as make:
        make()
        assert sorted(passed) == [0, 0, 1, 1, 2, 2]
        make()
    assert len(passed) == 12


def test_each_thread_is_prepared_once_before_its_calls():
    own = threading.local()
    together, seen = threading.Barrier(2), []

    def prepare():
        own.n = getattr(own, "n", 0) + 1

    def call():
        together.wait(HANG_S)
        seen.append(own.n)

    with side_by_side(call, workers=2, prepare=prepare) as make:
        make()
        make()
    assert seen == [1, 1, 1, 1]


def test_what_a_call_raises_is_raised():
    def fail():
        raise OSError("no model")

    with (
        side_by_side(fail, workers=2) as make,
        pytest.raises(OSError, match="no model"),
    ):
        make()


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 1, "calls": 0}])
def test_numbers_below_one_are_refused(wrong):
    with (
        pytest.raises(ValueError, match="must be at least 1; got 0"),
        side_by_side(print, **wrong),
    ):
        pytest.fail("it must not get here")
