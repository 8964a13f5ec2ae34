"""Update a model while it serves: in the serving process, or in a process beside it.

In one process a lock keeps requests from reading a model that is half updated. Another
process updates its own copy and publishes finished weights as a file, which the server
maps when it has changed: no request waits for an update.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
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

    Args:
        update: Called at fixed times; one that is late is called at once.
        every_s: Seconds from one update to the next, > 0.

    Raises:
        ValueError: If `every_s` is not above 0. What `update` raises ends the updates,
            and is raised when the block ends.

    >>> done = []
    >>> with updates_in_thread(lambda: done.append(1), every_s=0.001):
    ...     time.sleep(0.1)
    >>> len(done) > 1
    True
    """
    waits_s, ended = _waits(every_s), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not ended.wait(next(waits_s)):
                update()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class UpdatingProcess:
    """A process that updates its own copy of a model; see `updates_in_process`."""

    _connection: Connection

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the process update until the block ends; between blocks it waits.

        Raises:
            RuntimeError: When the block ends, if an update failed, no event was left,
                or the process died.
        """
        self._send(True)
        try:
            yield
        finally:
            self._send(False)
            failure = self._failure()
        if failure:
            raise RuntimeError(failure)

    def _send(self, go_on: bool) -> None:
        with suppress(ConnectionError):  # the reason is received instead
            self._connection.send(go_on)

    def _failure(self) -> str:
        """Wait for the end of the update in progress; what failed, or ""."""
        try:
            return str(self._connection.recv())
        except (EOFError, ConnectionError):
            return "the process of updates must not end; it died"


@contextmanager
def updates_in_process(
    interactions: csr_matrix, events: IntArray, path: Path, *, every_s: float
) -> Iterator[UpdatingProcess]:
    """Start a process that updates a copy of EASE and publishes each new inverse.

    It updates within `UpdatingProcess.running`, at fixed times; an update that is late
    follows at once.

    Args:
        interactions: (n_users, n_items), what the copy knows at first.
        events: (n, 2) users and items, added one by one.
        path: Where the inverse is published; it is there when the block begins.
        every_s: Seconds from one update to the next, > 0.

    Raises:
        ValueError: If `every_s` is not above 0.
        RuntimeError: If the process cannot publish its first inverse.
        TimeoutError: If it does not do so in time.
    """
    _waits(every_s)
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    task = (interactions, events, path, every_s, theirs)
    process = context.Process(target=_update_and_publish, args=task, daemon=True)
    process.start()
    theirs.close()  # so that its end is noticed
    updating = UpdatingProcess(ours)
    try:
        if not ours.poll(START_TIMEOUT_S):
            raise TimeoutError(f"the updates must start within {START_TIMEOUT_S} s")
        if failure := updating._failure():
            raise RuntimeError(failure)
        yield updating
    finally:
        process.kill()
        process.join()
        ours.close()


def _update_and_publish(
    interactions: csr_matrix,
    events: IntArray,
    path: Path,
    every_s: float,
    connection: Connection,
) -> None:
    """Publish, then answer each end of a block by "", and a failure by its message."""
    try:
        model, shared = IncrementalEase(interactions), PublishedArray(path)
        shared.publish(model.inverse)
        connection.send("")
        left = iter(events)
        while connection.recv():
            waits_s = _waits(every_s)
            while not connection.poll(next(waits_s)):
                user, item = _next_event(left)
                model.add([user], [item])
                shared.publish(model.inverse)
            connection.recv()  # the end of the block
            connection.send("")
    except (EOFError, ConnectionError):
        pass  # the process that serves has ended
    except Exception as failure:
        connection.send(f"an update failed: {type(failure).__name__}: {failure}")


def _next_event(left: Iterator[IntArray]) -> IntArray:
    for event in left:
        return event
    raise ValueError("events must last until the end; got no more")


def _waits(every_s: float) -> Iterator[float]:
    """Seconds to wait until each update is due.

    The first is due after half a period, so that a short block has its share of them.
    """
    if not every_s > 0:
        raise ValueError(f"every_s must be > 0; got {every_s}")
    return _waits_from(time.monotonic(), every_s)


def _waits_from(start_s: float, every_s: float) -> Iterator[float]:
    for number in count(1):
        yield max(0.0, start_s + (number - 0.5) * every_s - time.monotonic())
