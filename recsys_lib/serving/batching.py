"""Dynamic batching: a free worker computes all waiting queries together.

Coroutines submit queries, threads compute them. An idle worker takes a query at once;
under load the batches grow by themselves. The queue is bounded and each query has a
deadline, so that overload is refused early and not answered late.
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

_MEMORY = 0.8  # weight of the past in the moving average of seconds per query


class Refused(Exception):
    """A query that gets no answer.

    Attributes:
        retry_after_s: Expected seconds until the present queue is empty.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Refused):
    """The queue is full, or too long for the deadline."""


class DeadlineExceeded(Refused):
    """No answer before the deadline; the caller has stopped waiting."""


class Closed(Refused):
    """The batcher takes no queries: it has not started, or it is closing."""


class BatchFailed(RuntimeError):
    """Computing the batch raised an error, which is the ``__cause__``."""


@dataclass(frozen=True, eq=False, slots=True)
class _Job(Generic[Query, Answer]):
    query: Query
    future: asyncio.Future[Answer]


class Batcher(Generic[Query, Answer]):
    """Computes the queries of one event loop in batches, in order of arrival.

    Other threads submit by ``asyncio.run_coroutine_threadsafe`` on that loop.

    Args:
        compute: Returns one answer per query, in order; runs in the workers' threads.
        workers: Threads that call ``compute`` at the same time, >= 1.
        max_batch: Most queries in one call of ``compute``, >= 1.
        max_queue: Most queries that wait, those being computed not counted, >= 1.
        deadline_ms: Milliseconds from submission to answer, > 0.
        on_batch: Called on the loop with the size of each batch that was computed.
        clock: Monotonic seconds, to time batches; deadlines use the loop's clock.

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
        deadline_ms: float = 1000.0,
        on_batch: Callable[[int], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if min(workers, max_batch, max_queue) < 1:
            got = f"got {workers}, {max_batch} and {max_queue}"
            raise ValueError(f"workers, max_batch, max_queue must be >= 1; {got}")
        if not deadline_ms > 0:
            raise ValueError(f"deadline_ms must be > 0; got {deadline_ms}")
        self._compute, self._on_batch, self._clock = compute, on_batch, clock
        self._max_batch, self._max_queue = max_batch, max_queue
        self._deadline_s = deadline_ms / 1e3
        self._queue: SimpleQueue[_Job[Query, Answer] | None] = SimpleQueue()
        self._n_workers, self._workers = workers, list[threading.Thread]()
        self._is_open = False
        self._query_s = 0.0

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
        """Queries in the queue, cancelled and expired ones included."""
        return self._queue.qsize()

    @property
    def retry_after_s(self) -> float:
        """Seconds that the queue takes to drain at the pace of recent batches."""
        return self.waiting * self._query_s / self._n_workers

    async def submit(self, query: Query) -> Answer:
        """Wait for the answer to one query; cancelling it affects no other query.

        Raises:
            QueueFull: At once, if max_queue queries wait, or so many that this one
                would wait for more than half of deadline_ms.
            DeadlineExceeded: If there is no answer within deadline_ms; a query that
                is still waiting then is never computed.
            Closed: If the batcher has not started or is closing.
            BatchFailed: If computing the batch of the query failed.
        """
        if not self._is_open:
            raise Closed("batcher must be open; got a query while closed", 1.0)
        if self.waiting >= self._max_queue or self.retry_after_s > self._deadline_s / 2:
            message = f"at most {self._max_queue} queries may wait; got one more"
            if self.waiting < self._max_queue:  # its answer would be too late
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
        """Refuse new queries, answer those accepted, and end the workers."""
        if self._is_open:
            self._is_open = False
            for _ in self._workers:
                self._queue.put(None)
        while any(worker.is_alive() for worker in self._workers):
            await asyncio.sleep(1e-3)  # their last answers are delivered on this loop
        await asyncio.sleep(0)

    def _expire(self, future: "asyncio.Future[Answer]") -> None:
        if not future.done():
            message = f"an answer must come within {self._deadline_s:g} s; got none"
            future.set_exception(DeadlineExceeded(message, self.retry_after_s))

    def _work(self) -> None:
        closing = False
        while not closing:
            batch, closing = self._next_batch()
            jobs = [job for job in batch if not job.future.done()]
            if jobs:
                answers = self._answers([job.query for job in jobs])
                self._loop.call_soon_threadsafe(self._deliver, jobs, answers)

    def _next_batch(self) -> tuple[list[_Job[Query, Answer]], bool]:
        """Wait for a job and take all that are there; True if they are the last."""
        jobs, job = [], self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._max_batch:
                return jobs, False
            try:
                job = self._queue.get_nowait()
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
        except BaseException as error:  # a dead worker would answer nobody
            return error
        query_s = (self._clock() - start) / len(queries)
        past_s = self._query_s or query_s
        self._query_s = _MEMORY * past_s + (1 - _MEMORY) * query_s
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
