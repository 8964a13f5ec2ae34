import multiprocessing
import os
import threading
import time

import pytest
import torch
import torch.distributed as dist

from recsys_lib.scaling.process_group import (
    measure_together,
    own_part,
    process_device,
    run_processes,
)

HANG_S = 300  # longer than anything here takes on a busy machine


def fail(process: int, how: str) -> None:
    if how == "raise":
        raise KeyError("lost weights")
    if process == 1:
        os._exit(7)
    dist.barrier()  # waits for the other, in vain


def die_while_all_work(process: int) -> None:
    if process == 1:
        threading.Timer(0.2, os._exit, [7]).start()
    while True:
        dist.all_reduce(torch.ones(1000))


def sum_of_numbers(process: int) -> tuple[float, str, list[int]]:
    total = torch.tensor(float(process))
    dist.all_reduce(total)
    return float(total), str(process_device()), own_part(torch.arange(4)).tolist()


def sleep_and_count(process: int) -> tuple[tuple[int, ...], list[int], bool]:
    calls: list[int] = []
    tasks = [lambda: calls.append(0), lambda: (time.sleep(0.01), calls.append(1))]
    seconds = measure_together(tasks, repeats=3)
    return seconds.shape, calls, bool((seconds[1] >= 0.01).all())


def sleep_long(process: int) -> None:
    time.sleep(HANG_S)


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert not multiprocessing.active_children()


def test_processes_are_one_group_and_divide_a_tensor():
    found = run_processes(sum_of_numbers, n_processes=3, timeout_s=HANG_S)
    assert found == [(3.0, "cpu", part) for part in ([0, 1], [2], [3])]


def test_tasks_are_timed_in_turn_after_two_rounds_of_warm_up():
    found = run_processes(sleep_and_count, n_processes=2, timeout_s=HANG_S)
    assert found == [((2, 3), [0, 1] * 5, True)] * 2


def test_a_process_that_died_is_named_and_the_other_ended():
    with pytest.raises(RuntimeError, match="process 1 died with exit code 7"):
        run_processes(fail, "die", n_processes=2, timeout_s=HANG_S)


def test_a_process_that_dies_in_the_middle_is_named():
    with pytest.raises(RuntimeError, match="process 1 died with exit code 7"):
        run_processes(die_while_all_work, n_processes=3, timeout_s=HANG_S)


def test_what_a_process_raises_is_passed_on():
    with pytest.raises(
        RuntimeError, match=r"process 0: [\s\S]*KeyError: 'lost weights'"
    ):
        run_processes(fail, "raise", n_processes=1, timeout_s=HANG_S)


def test_silent_processes_are_given_up():
    with pytest.raises(TimeoutError, match=r"process must answer within 0\.1 s"):
        run_processes(sleep_long, n_processes=2, timeout_s=0.1)


def test_on_gpus_each_process_needs_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="got 2 processes and 1 GPUs"):
        run_processes(float, n_processes=2, device="cuda")


def _of_the_notebook() -> None: ...


_of_the_notebook.__module__ = "__main__"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: run_processes(float, n_processes=0),
            "n_processes must be >= 1; got 0",
        ),
        (
            lambda: run_processes(_of_the_notebook, n_processes=1),
            "work must be importable",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
