import multiprocessing
import os
import threading
import time

import pytest
import torch
import torch.distributed as dist

from recsys_lib.scaling import process_group as ranks
from recsys_lib.scaling.process_group import rank_device, run_ranks, timed_together

HANG_S = 300  # longer than anything here takes on a busy machine


def fail(rank: int, how: str) -> None:
    if how == "raise":
        raise KeyError("lost weights")
    if rank == 1:
        os._exit(7)
    dist.barrier()  # waits for the other, in vain


def die_while_all_work(rank: int) -> None:
    if rank == 1:
        threading.Timer(0.2, os._exit, [7]).start()
    while True:
        dist.all_reduce(torch.ones(1000))


def sum_of_ranks(rank: int) -> tuple[float, str]:
    total = torch.tensor(float(rank))
    seconds = timed_together(lambda: (time.sleep(0.01), dist.all_reduce(total)))
    assert seconds >= 0.01
    return float(total), str(rank_device())


def sleep_long(rank: int) -> None:
    time.sleep(HANG_S)


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert not multiprocessing.active_children()


def test_ranks_are_one_group():
    found = run_ranks(sum_of_ranks, n_processes=3, timeout_s=HANG_S)
    assert found == [(3.0, "cpu")] * 3


def test_a_dead_rank_is_named_and_the_other_ended():
    with pytest.raises(RuntimeError, match=r"got rank 1: .* with exit code 7"):
        run_ranks(fail, "die", n_processes=2, timeout_s=HANG_S)


def test_a_rank_that_dies_in_the_middle_is_named():
    with pytest.raises(RuntimeError, match=r"got rank 1: .* with exit code 7"):
        run_ranks(die_while_all_work, n_processes=3, timeout_s=HANG_S)


def test_what_a_rank_raises_is_passed_on():
    with pytest.raises(RuntimeError, match=r"rank 0: [\s\S]*KeyError: 'lost weights'"):
        run_ranks(fail, "raise", n_processes=1, timeout_s=HANG_S)


def test_silent_ranks_are_given_up():
    with pytest.raises(TimeoutError, match=r"rank must answer within 0\.1 s"):
        run_ranks(sleep_long, n_processes=2, timeout_s=0.1)


def test_on_gpus_each_rank_needs_its_own(monkeypatch):
    monkeypatch.setattr(ranks.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="needs a GPU; got 1 for 2 ranks"):
        run_ranks(float, n_processes=2, device="cuda")


def _of_the_notebook() -> None: ...


_of_the_notebook.__module__ = "__main__"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run_ranks(float, n_processes=0), "n_processes must be >= 1; got 0"),
        (lambda: run_ranks(_of_the_notebook, n_processes=1), "work must be importable"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
