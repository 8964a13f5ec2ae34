import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.serving.batching import (
    Batcher,
    BatchFailed,
    Closed,
    DeadlineExceeded,
    QueueFull,
)

HANG_S = 120  # longer than anything here takes on a busy machine


class Gated:
    """Doubles numbers, a batch at a time, once the gate is open; -1 is fatal."""

    def __init__(self):
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.batches = []

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.gate.wait(HANG_S)
        if -1 in numbers:
            raise StopIteration("minus one")
        return [2 * n for n in numbers]


def patient(compute, **options):
    """A batcher whose deadline no test reaches by being slow."""
    return Batcher(compute, **{"deadline_ms": HANG_S * 1e3} | options)


def stepping_clock():
    """A clock for each thread that advances by one second at each reading."""
    own = threading.local()

    def clock():
        own.now_s = getattr(own, "now_s", 0) + 1
        return own.now_s

    return clock


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time can be moved on."""

    moved_s = 0

    def time(self):
        return super().time() + self.moved_s


async def begin(batcher, compute):
    """A worker that is busy with 0, so that all that follows waits."""
    compute.gate.clear()
    compute.begun.clear()
    first = asyncio.create_task(batcher.submit(0))
    while not compute.begun.is_set():
        await asyncio.sleep(1e-3)
    return first


async def submit_all(batcher, numbers):
    tasks = [asyncio.create_task(batcher.submit(n)) for n in numbers]
    await asyncio.sleep(0)
    return tasks


def test_what_waits_is_computed_together_in_order_and_an_idle_worker_starts_at_once():
    async def run():
        compute, sizes = Gated(), []
        async with patient(compute, max_batch=3, on_batch=sizes.append) as batcher:
            first = await begin(batcher, compute)
            tasks = await submit_all(batcher, [1, 2, 3, 4])
            assert batcher.waiting == 4
            compute.gate.set()
            assert await asyncio.gather(first, *tasks) == [0, 2, 4, 6, 8]
        assert compute.batches == [[0], [1, 2, 3], [4]]
        assert sizes == [1, 3, 1]

    asyncio.run(run())


def test_workers_compute_at_once_and_the_queue_drains_as_much_faster():
    both, gate = threading.Barrier(2), threading.Event()

    def wait_for_both(numbers):
        both.wait(HANG_S)  # broken unless two are here at once
        assert numbers[0] < 4 or gate.wait(HANG_S)
        return numbers

    async def run():
        options = {"workers": 2, "max_batch": 1, "clock": stepping_clock()}
        async with patient(wait_for_both, **options) as batcher:
            tasks = await submit_all(batcher, range(10))
            await asyncio.gather(*tasks[:4])
            while batcher.waiting > 4:  # two are in work
                await asyncio.sleep(1e-3)
            assert batcher.retry_after_s == 4 * 1 / 2
            gate.set()
            assert await asyncio.gather(*tasks) == list(range(10))

    asyncio.run(run())


def test_nobody_is_taken_who_would_be_answered_too_late():
    async def run():
        compute, clock = Gated(), stepping_clock()
        options = {"max_batch": 1, "max_queue": 1000, "clock": clock}
        async with Batcher(compute, deadline_ms=240_000, **options) as batcher:
            await batcher.submit(1)  # the pace is known now: one a second
            first = await begin(batcher, compute)
            tasks = await submit_all(batcher, range(200))
            assert batcher.waiting == 121, "with 120 before it, the last one was taken"
            compute.gate.set()
            assert await asyncio.gather(first, *tasks[:121]) == [
                0,
                *range(0, 242, 2),
            ]
            for task in tasks[121:]:
                with pytest.raises(QueueFull, match=r"must drain in half of 240 s"):
                    await task
        assert len(compute.batches) == 2 + 121, "nothing was computed in vain"

    asyncio.run(run())


def test_a_full_queue_refuses_and_says_when_to_come_back():
    async def run():
        compute, clock = Gated(), stepping_clock()
        options = {"max_batch": 1, "max_queue": 2, "clock": clock}
        async with patient(compute, **options) as batcher:
            await batcher.submit(1)  # the pace is known now: one a second
            first = await begin(batcher, compute)
            tasks = await submit_all(batcher, [1, 2])
            with pytest.raises(QueueFull, match="at most 2 queries may wait") as caught:
                await batcher.submit(3)
            assert caught.value.retry_after_s == 2
            assert batcher.waiting == 2
            compute.gate.set()
            assert await asyncio.gather(first, *tasks) == [0, 2, 4]

    asyncio.run(run())


def test_an_expired_query_is_answered_in_time_and_never_computed():
    async def run():
        compute, loop = Gated(), asyncio.get_running_loop()
        async with patient(compute) as batcher:
            first = await begin(batcher, compute)
            (second,) = await submit_all(batcher, [1])
            loop.moved_s += HANG_S
            with pytest.raises(DeadlineExceeded, match="must come within 120 s"):
                await second
            with pytest.raises(DeadlineExceeded, match="must come within 120 s"):
                await first  # computed, but nobody waits for it any more
            compute.gate.set()
            assert await batcher.submit(2) == 4
        assert compute.batches == [[0], [2]]

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run())


def test_a_cancelled_caller_is_not_computed_and_harms_nobody():
    async def run():
        compute = Gated()
        async with patient(compute) as batcher:
            first = await begin(batcher, compute)
            gone, stays = await submit_all(batcher, [1, 2])
            gone.cancel()
            first.cancel()  # in work: its answer is dropped
            await asyncio.sleep(0)
            compute.gate.set()
            assert await stays == 4
            with pytest.raises(asyncio.CancelledError):
                await gone
        assert compute.batches == [[0], [2]]

    asyncio.run(run())


def test_a_failed_batch_fails_its_own_callers_only():
    async def run():
        compute = Gated()
        async with patient(compute, max_batch=2) as batcher:
            first = await begin(batcher, compute)
            tasks = await submit_all(batcher, [1, -1, 2, 3])
            compute.gate.set()
            answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [answers[0], *answers[3:]] == [0, 4, 6]
        assert answers[1] is not answers[2]
        for error in answers[1:3]:
            assert isinstance(error, BatchFailed)
            assert isinstance(error.__cause__, StopIteration)

    asyncio.run(run())


def test_a_wrong_number_of_answers_is_a_failure():
    async def run():
        async with patient(lambda numbers: []) as batcher:
            with pytest.raises(BatchFailed, match="one answer per query; got 0 for 1"):
                await batcher.submit(1)

    asyncio.run(run())


def test_closing_answers_all_that_was_taken_and_refuses_the_rest():
    async def run():
        compute = Gated()
        batcher = patient(compute, max_batch=2)
        with pytest.raises(Closed, match="must be open"):
            await batcher.submit(0)
        async with batcher:
            first = await begin(batcher, compute)
            tasks = await submit_all(batcher, range(1, 6))
            closing = asyncio.create_task(batcher.close())
            await asyncio.sleep(0)
            with pytest.raises(Closed, match="must be open"):
                await batcher.submit(9)
            compute.gate.set()
            await closing
            assert all(task.done() for task in [first, *tasks])
            assert await asyncio.gather(first, *tasks) == [0, 2, 4, 6, 8, 10]
        await batcher.close()  # once more does nothing
        async with batcher:  # and it may start again
            assert await batcher.submit(6) == 12

    asyncio.run(run())


@given(
    queries=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["stay", "cancel", "fatal"])),
        max_size=40,
    ),
    workers=st.integers(1, 3),
    max_batch=st.integers(1, 5),
    max_queue=st.integers(1, 12),
)
def test_no_answer_is_lost_doubled_or_another_ones(
    queries, workers, max_batch, max_queue
):
    computed = []

    def compute(batch):
        computed.append(batch)
        time.sleep(1e-4)
        if any(kind == "fatal" for _, kind, _ in batch):
            raise ValueError("fatal")
        return [number for number, _, _ in batch]

    async def run():
        options = {"workers": workers, "max_batch": max_batch, "max_queue": max_queue}
        async with patient(compute, **options) as batcher:
            tasks = []
            for number, (pause, kind) in enumerate(queries):
                query = (number, kind, pause)
                tasks.append(asyncio.create_task(batcher.submit(query)))
                await asyncio.sleep(1e-4 if pause == 0 else 0)
                assert batcher.waiting <= max_queue
                if kind == "cancel":
                    tasks[-1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(run())
    done = [number for batch in computed for number, _, _ in batch]
    assert len(done) == len(set(done))
    assert workers > 1 or done == sorted(done)
    assert all(len(batch) <= max_batch for batch in computed)
    failed = {
        number
        for batch in computed
        for number, _, _ in batch
        if any(kind == "fatal" for _, kind, _ in batch)
    }
    for number, answer in enumerate(answers):
        if isinstance(answer, QueueFull):
            assert number not in done
        elif isinstance(answer, BatchFailed):
            assert number in failed
        elif not isinstance(answer, asyncio.CancelledError):
            assert answer == number
        else:
            assert queries[number][1] == "cancel"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "must be >= 1; got 0, 32 and 256"),
        ({"max_batch": 0}, "must be >= 1; got 1, 0 and 256"),
        ({"max_queue": 0}, "must be >= 1; got 1, 32 and 0"),
        ({"deadline_ms": 0}, "deadline_ms must be > 0; got 0"),
        ({"deadline_ms": float("nan")}, "deadline_ms must be > 0; got nan"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Batcher(list, **options)
