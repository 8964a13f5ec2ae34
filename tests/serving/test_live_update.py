import multiprocessing
import threading
import time

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_lib.models.incremental_ease import IncrementalEase
from recsys_lib.serving import live_update
from recsys_lib.serving.live_update import (
    PublishedArray,
    updates_in_process,
    updates_in_thread,
)

SEEN = csr_matrix(np.array([[1, 1, 0], [0, 1, 1]]))
EVENTS = np.array([[0, 2], [1, 0], *[[0, 0]] * 100_000])
WHOLE = IncrementalEase(csr_matrix(np.ones((2, 3)))).inverse


def wait_for(reached):
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_readers_map_the_newest_array(tmp_path):
    shared = PublishedArray(tmp_path / "weights.npy")
    shared.publish(np.zeros((2, 2)))
    before = shared.latest()
    assert shared.latest() is before  # mapped once
    shared.publish(np.ones((2, 2)))
    assert shared.latest().all()
    assert not before.any()  # a request in progress keeps what it has read
    with pytest.raises(FileNotFoundError):
        PublishedArray(tmp_path / "none.npy").latest()


def test_a_thread_updates_until_the_block_ends():
    called = threading.Event()
    with updates_in_thread(called.set, every_s=0.001):
        assert called.wait(30)
    called.clear()
    time.sleep(0.02)
    assert not called.is_set()


def test_updates_follow_a_fixed_schedule_and_late_ones_at_once(monkeypatch):
    clock = iter([0.0, 0.0, 0.5, 2.5, 4.2])
    monkeypatch.setattr(live_update.time, "monotonic", lambda: next(clock))
    waits_s = live_update._waits(1.0)
    assert [next(waits_s) for _ in range(4)] == [0.5, 1.0, 0.0, 0.0]


def test_a_failed_update_of_a_thread_reaches_the_caller():
    failed = threading.Event()

    def fail():
        failed.set()
        raise OSError("disk full")

    with (
        pytest.raises(OSError, match="disk full"),
        updates_in_thread(fail, every_s=0.001),
    ):
        assert failed.wait(30)


def test_a_fault_of_the_block_itself_is_not_hidden():
    failed = threading.Event()

    def fail():
        failed.set()
        raise OSError("disk full")

    def block():
        with updates_in_thread(fail, every_s=0.001):
            failed.wait(30)
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        block()


def test_a_process_publishes_the_model_that_a_refit_gives(tmp_path):
    shared = PublishedArray(tmp_path / "inverse.npy")
    with updates_in_process(SEEN, EVENTS, shared.path, every_s=0.001) as updating:
        first = IncrementalEase(SEEN).inverse
        assert np.array_equal(shared.latest(), first)
        time.sleep(0.02)
        assert np.array_equal(shared.latest(), first)  # it waits until it is let
        with updating.running():
            wait_for(lambda: np.allclose(shared.latest(), WHOLE, rtol=1e-12))
        version = shared.path.stat().st_mtime_ns
        time.sleep(0.02)
        assert shared.path.stat().st_mtime_ns == version
        with updating.running():
            wait_for(lambda: shared.path.stat().st_mtime_ns != version)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([[0, 9]], "an update failed: ValueError: codes must lie in"),
        ([], "an update failed: ValueError: events must last until the end"),
    ],
)
def test_a_failed_update_of_a_process_reaches_the_caller(events, message, tmp_path):
    path, wrong = tmp_path / "inverse.npy", np.array(events, int).reshape(-1, 2)
    with updates_in_process(SEEN, wrong, path, every_s=0.001) as updating:
        with pytest.raises(RuntimeError, match=message), updating.running():
            time.sleep(0.1)
        with pytest.raises(RuntimeError, match="it died"), updating.running():
            pass


def test_a_process_that_cannot_start_is_named(tmp_path):
    nowhere = tmp_path / "none" / "inverse.npy"
    with (
        pytest.raises(RuntimeError, match="an update failed: FileNotFoundError"),
        updates_in_process(SEEN, EVENTS, nowhere, every_s=1),
    ):
        pass


def test_the_death_of_the_process_is_noticed(tmp_path):
    def kill(updating):
        with updating.running():
            (child,) = multiprocessing.active_children()
            child.kill()
            child.join()

    path = tmp_path / "inverse.npy"
    with (
        updates_in_process(SEEN, EVENTS, path, every_s=1) as updating,
        pytest.raises(RuntimeError, match="it died"),
    ):
        kill(updating)


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
def test_an_interval_must_be_positive(wrong, tmp_path):
    with (
        pytest.raises(ValueError, match="every_s must be > 0"),
        updates_in_thread(print, every_s=wrong),
    ):
        pass
    with (
        pytest.raises(ValueError, match="every_s must be > 0"),
        updates_in_process(SEEN, EVENTS, tmp_path / "x.npy", every_s=wrong),
    ):
        pass
