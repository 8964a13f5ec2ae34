"""Dynamic batching: what waits when a worker is free is computed together.

Coroutines submit, threads compute. An idle worker takes a request alone and at
once; under load the batches grow by themselves. The queue is bounded and each request
has a deadline, so that overload is refused early instead of answered late.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Query = TypeVar("Query")
Answer = TypeVar("Answer")

_MEMORY = 0.8  # weight of the past in the running mean of seconds a request


class Refused(Exception):
    """A request that was not computed.

    Attributes:
        retry_after_s: Seconds until the queue as it stands should be drained.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Refused):
    """As many requests wait as may."""


class DeadlineExceeded(Refused):
    """The answer was not there in time; nobody waits for it any more."""


class Closed(Refused):
    """The batcher does not take requests: not started yet, or draining."""


class BatchFailed(RuntimeError):
    """Computing the batch raised what stands in ``__cause__``."""


@dataclass(frozen=True, eq=False, slots=True)
class _Job(Generic[Query, Answer]):
    query: Query
    future: asyncio.Future[Answer]


class Batcher(Generic[Query, Answer]):
    """Computes queries of one event loop in batches, in the order of their arrival.

    A thread reaches it by ``asyncio.run_coroutine_threadsafe`` on that loop.

    Args:
        compute: Gives one answer per query, in order; runs in the workers' threads.
        workers: Calls of ``compute`` at once, each in a thread, >= 1.
        max_batch: Queries in one call of ``compute``, >= 1.
        max_queue: Queries that may wait beside the batches in work, >= 1.
        max_wait_ms: How long a batch that is not full waits for company, >= 0.
        deadline_ms: From submission to answer, > 0.
        on_batch: Told the size of each batch that was computed, on the loop.
        clock: Seconds, monotonic; deadlines go by the loop's own.

    Raises:
        ValueError: If an option is out of its range.

    >>> async def lengths(words):
    ...     async with Batcher(lambda batch: [len(word) for word in batch]) as batcher:
    ...         return await asyncio.gather(*map(batcher.submit, words))
    >>> asyncio.run(lengths(["a", "film"]))
    [1, 4]
    """

    def __init__(
        self,
        compute: Callable[[list[Query]], Sequence[Answer]],
        *,
        workers: int = 1,
        max_batch: int = 32,
        max_queue: int = 256,
        max_wait_ms: float = 0.0,
        deadline_ms: float = 1000.0,
        on_batch: Callable[[int], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if min(workers, max_batch, max_queue) < 1:
            got = f"got {workers}, {max_batch} and {max_queue}"
            raise ValueError(f"workers, max_batch, max_queue must be >= 1; {got}")
        if not (max_wait_ms >= 0 and deadline_ms > 0):
            got = f"got {max_wait_ms} and {deadline_ms}"
            raise ValueError(f"max_wait_ms must be >= 0, deadline_ms > 0; {got}")
        self._compute, self._on_batch, self._clock = compute, on_batch, clock
        self._max_batch, self._max_queue = max_batch, max_queue
        self._max_wait_s, self._deadline_s = max_wait_ms / 1e3, deadline_ms / 1e3
        self._queue: SimpleQueue[_Job[Query, Answer] | None] = SimpleQueue()
        self._n_workers, self._workers = workers, list[threading.Thread]()
        self._is_open = False
        self._request_s = 0.0

    async def __aenter__(self) -> "Batcher[Query, Answer]":
        """Start the workers on the running loop; a closed batcher may start again."""
        self._loop = asyncio.get_running_loop()
        self._workers = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(self._n_workers)
        ]
        for worker in self._workers:
            worker.start()
        self._is_open = True
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close."""
        await self.close()

    @property
    def waiting(self) -> int:
        """Queries in the queue, those nobody waits for any more included."""
        return self._queue.qsize()

    @property
    def retry_after_s(self) -> float:
        """Seconds that the queue takes to drain, at the pace of the latest batches."""
        return self.waiting * self._request_s / self._n_workers

    async def submit(self, query: Query) -> Answer:
        """Wait for the answer to one query; cancelling it disturbs no other.

        Raises:
            QueueFull: At once, if max_queue queries wait, or so many that half of
                deadline_ms would pass before this one's turn.
            DeadlineExceeded: If there is no answer within deadline_ms; a query that
                still waits then is never computed.
            Closed: If the batcher has not started or is closing.
            BatchFailed: If the batch of the query could not be computed.
        """
        if not self._is_open:
            raise Closed("batcher must be open; got a query before or after", 1.0)
        if self.waiting >= self._max_queue or self.retry_after_s > self._deadline_s / 2:
            message = f"at most {self._max_queue} queries may wait; got one more"
            if self.waiting < self._max_queue:  # taken, it would be answered too late
                message = f"a queue must drain in half of {self._deadline_s:g} s"
            raise QueueFull(message, self.retry_after_s)
        future: asyncio.Future[Answer] = self._loop.create_future()
        timer = self._loop.call_later(self._deadline_s, self._expire, future)
        self._queue.put(_Job(query, future))
        try:
            return await future
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Refuse new queries, answer all that were taken, and end the workers."""
        if self._is_open:
            self._is_open = False
            for _ in self._workers:
                self._queue.put(None)
        while any(worker.is_alive() for worker in self._workers):
            await asyncio.sleep(1e-3)  # their last answers come through this loop
        await asyncio.sleep(0)

    def _expire(self, future: "asyncio.Future[Answer]") -> None:
        if not future.done():
            message = f"an answer must come within {self._deadline_s:g} s; got none"
            future.set_exception(DeadlineExceeded(message, self.retry_after_s))

    def _work(self) -> None:
        ended = False
        while not ended:
            taken, ended = self._next_batch()
            jobs = [job for job in taken if not job.future.done()]
            if jobs:
                answers = self._answers([job.query for job in jobs])
                self._loop.call_soon_threadsafe(self._deliver, jobs, answers)

    def _next_batch(self) -> tuple[list[_Job[Query, Answer]], bool]:
        """The jobs to compute next, and whether they are the last."""
        job, jobs = self._queue.get(), []
        until = time.monotonic() + self._max_wait_s
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._max_batch:
                return jobs, False
            try:
                left_s = until - time.monotonic() if self._max_wait_s else 0
                job = self._queue.get(left_s > 0, max(left_s, 0))
            except Empty:
                return jobs, False
        return jobs, True

    def _answers(self, queries: list[Query]) -> Sequence[Answer] | BaseException:
        start = self._clock()
        try:
            answers = self._compute(queries)
            if len(answers) != len(queries):
                got = f"got {len(answers)} for {len(queries)}"
                raise ValueError(f"compute must give one answer per query; {got}")
        except BaseException as error:  # a dead worker would leave its callers waiting
            return error
        request_s = (self._clock() - start) / len(queries)
        past_s = self._request_s or request_s
        self._request_s = _MEMORY * past_s + (1 - _MEMORY) * request_s
        return answers

    def _deliver(
        self,
        jobs: list[_Job[Query, Answer]],
        answers: Sequence[Answer] | BaseException,
    ) -> None:
        for i, job in enumerate(jobs):
            if job.future.done():
                continue
            if isinstance(answers, BaseException):
                failed = BatchFailed(f"a batch must be computed; got {answers!r}")
                failed.__cause__ = answers
                job.future.set_exception(failed)
            else:
                job.future.set_result(answers[i])
        if self._on_batch is not None:
            self._on_batch(len(jobs))
