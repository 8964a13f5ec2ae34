"""Update a model while it serves: in the serving process, or in a process beside it.

In one process a lock keeps requests from reading a model that is half updated. Another
process updates its own copy and publishes finished weights as a file, which the server
maps when it has changed: no request waits for an update.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from recsys_lib.arrays import Float64Array, IntArray
from recsys_lib.models.incremental_ease import IncrementalEase

START_TIMEOUT_S = 120.0


@dataclass
class PublishedArray:
    """An array in a file that one process replaces and others read.

    >>> import tempfile
    >>> shared = PublishedArray(Path(tempfile.mkdtemp()) / "weights.npy")
    >>> shared.publish(np.arange(3.0)); shared.latest().tolist()
    [0.0, 1.0, 2.0]
    """

    path: Path
    _version: tuple[int, int] = (0, 0)
    _array: Float64Array | None = None

    def publish(self, array: Float64Array) -> None:
        """Replace the array; readers see the old one or the new one, never a part."""
        written = self.path.with_suffix(".new.npy")
        np.save(written, array)
        os.replace(written, self.path)

    def latest(self) -> Float64Array:
        """The newest array, mapped read-only.

        Raises:
            FileNotFoundError: If nothing has been published.
        """
        found = self.path.stat()
        version = found.st_ino, found.st_mtime_ns
        if self._array is None or version != self._version:
            self._array = np.load(self.path, mmap_mode="r")
            self._version = version
        return self._array


@contextmanager
def updates_in_thread(
    update: Callable[[], object], *, every_s: float
) -> Iterator[None]:
    """Call `update` every so many seconds in a thread, until the block ends.

    Raises:
        ValueError: If `every_s` is not above 0.
    """
    if not every_s > 0:
        raise ValueError(f"every_s must be > 0; got {every_s}")
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(every_s):
            update()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def updates_in_process(
    interactions: csr_matrix, events: IntArray, path: Path, *, every_s: float
) -> Iterator[None]:
    """Update a copy of EASE in a new process, which publishes its inverse each time.

    Args:
        interactions: (n_users, n_items), what the copy knows at first.
        events: (n, 2) users and items, added one by one; after the last one, no more.
        path: Where the inverse is published; it is there when the block begins.
        every_s: Seconds from one update to the next, > 0.

    Raises:
        ValueError: If `every_s` is not above 0.
        TimeoutError: If the process does not publish its first inverse in time.
    """
    if not every_s > 0:
        raise ValueError(f"every_s must be > 0; got {every_s}")
    context = get_context("spawn")
    ready = context.Event()
    task = (interactions, events, path, every_s, ready)
    process = context.Process(target=_update_and_publish, args=task, daemon=True)
    process.start()
    try:
        if not ready.wait(START_TIMEOUT_S):
            raise TimeoutError(f"the updates must start within {START_TIMEOUT_S} s")
        yield
    finally:
        process.kill()
        process.join()


def _update_and_publish(
    interactions: csr_matrix,
    events: IntArray,
    path: Path,
    every_s: float,
    ready: threading.Event,
) -> None:
    model, shared = IncrementalEase(interactions), PublishedArray(path)
    shared.publish(model.inverse)
    ready.set()
    for user, item in events:
        time.sleep(every_s)
        model.add([user], [item])
        shared.publish(model.inverse)
