import threading
import time

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_lib.models.incremental_ease import IncrementalEase
from recsys_lib.serving.live_update import (
    PublishedArray,
    updates_in_process,
    updates_in_thread,
)

SEEN = csr_matrix(np.array([[1, 1, 0], [0, 1, 1]]))
EVENTS = np.array([[0, 2], [1, 0]])


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


def test_a_process_publishes_the_model_that_a_refit_gives(tmp_path):
    shared = PublishedArray(tmp_path / "inverse.npy")
    whole = IncrementalEase(csr_matrix(np.ones((2, 3)))).inverse
    with updates_in_process(SEEN, EVENTS, shared.path, every_s=0.001):
        deadline = time.monotonic() + 60
        while not np.allclose(shared.latest(), whole, rtol=1e-12):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("wrong", [0, -1])
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
