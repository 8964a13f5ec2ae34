"""Run a function in a group of processes of this machine, by torch.distributed.

The processes communicate by gloo over the loopback interface and use one torch thread
each. With device="cuda" they communicate by nccl and use one GPU each. The number of a
process in its group, which torch calls its rank, is the process number here.
"""

import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from recsys_lib.arrays import Float64Array
from recsys_lib.extras import needs

with needs("torch"):
    import torch
    import torch.distributed as dist
    from torch.multiprocessing.spawn import ProcessException, start_processes


Device = Literal["cpu", "cuda"]
Answer = TypeVar("Answer")

WARMUP_ROUNDS = 2


def run_processes(
    work: Callable[..., Answer],
    *arguments: object,
    n_processes: int,
    timeout_s: float = 300,
    device: Device = "cpu",
) -> list[Answer]:
    """Call work(process, *arguments) in new processes that form one group.

    Args:
        work: Function of a module, not of a notebook: each process imports it.
        *arguments: Picklable.
        n_processes: Size of the group, >= 1.
        timeout_s: Seconds until all answers must be there, start-up included.
        device: "cpu" (gloo), or "cuda" (nccl), which needs one GPU per process.

    Returns:
        The answers, by process number. No process outlives the call.

    Raises:
        ValueError: If `n_processes` is below 1 or, with "cuda", above the number of
            GPUs, or if `work` is defined in a notebook.
        RuntimeError: If a process raises or dies; the message names it.
        TimeoutError: If a process does not answer in time.

    >>> run_processes(float, n_processes=1)
    [0.0]
    """
    if n_processes < 1:
        raise ValueError(f"n_processes must be >= 1; got {n_processes}")
    if device == "cuda" and (n_gpus := torch.cuda.device_count()) < n_processes:
        got = f"got {n_processes} processes and {n_gpus} GPUs"
        raise ValueError(f"each process needs a GPU of its own; {got}")
    if getattr(work, "__module__", None) == "__main__":
        raise ValueError(f"work must be importable from a module; got {work}")
    deadline_s = time.monotonic() + timeout_s
    get_context("forkserver").set_forkserver_preload([__name__])  # torch: only once
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        task = (folder, n_processes, timeout_s, device, work, arguments)
        group = start_processes(  # type: ignore[no-untyped-call]
            _run_process, task, n_processes, join=False, start_method="forkserver"
        )
        try:
            while not group.join(max(deadline_s - time.monotonic(), 0)):
                if time.monotonic() > deadline_s:
                    message = f"every process must answer within {timeout_s} s"
                    raise TimeoutError(message)
        except ProcessException as failure:
            raise RuntimeError(_what_failed(failure, group.processes)) from None
        finally:
            for process in group.processes:
                process.kill()
                process.join()
        answers = [Path(folder, str(i)).read_bytes() for i in range(n_processes)]
    return [pickle.loads(answer) for answer in answers]


def process_device() -> torch.device:
    """Device of this process: its own GPU under nccl, else the CPU."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", dist.get_rank()) if on_gpu else torch.device("cpu")


def own_part(whole: torch.Tensor, dim: int = 0) -> torch.Tensor:
    """Part of a tensor that belongs to this process: `dim` divided by the group."""
    return whole.tensor_split(dist.get_world_size(), dim)[dist.get_rank()].contiguous()


def measure_together(
    tasks: Sequence[Callable[[], object]], *, repeats: int
) -> Float64Array:
    """Time tasks in turn; all processes start each task together, at a barrier.

    Every process of the group has to call this with the same number of tasks.

    Args:
        tasks: What this process does in each task; it may be nothing.
        repeats: Rounds in which each task runs once, >= 1, after two of warm-up.

    Returns:
        (n_tasks, repeats) seconds on this process.
    """
    n_rounds = WARMUP_ROUNDS + repeats
    rounds = [[_time_together(task) for task in tasks] for _ in range(n_rounds)]
    return np.array(rounds[WARMUP_ROUNDS:]).T


def _time_together(task: Callable[[], object]) -> float:
    dist.barrier()
    start_s = time.perf_counter()
    task()
    if dist.get_backend() == "nccl":
        torch.cuda.synchronize()
    return time.perf_counter() - start_s


def _what_failed(failure: ProcessException, processes: list[Any]) -> str:
    """Name the process that died, not one that failed because its peer had died."""
    alive_or_raised = (None, 0, 1, -signal.SIGTERM)  # SIGTERM: ended after a failure
    for number, process in enumerate(processes):
        if process.exitcode not in alive_or_raised:
            died = f"process {number} died with exit code {process.exitcode}"
            return f"every process must answer; {died}"
    return f"every process must answer; process {failure.error_index}: {failure}"


def _run_process(
    process: int,
    folder: str,
    n_processes: int,
    timeout_s: float,
    device: Device,
    work: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    torch.set_num_threads(1)
    if device == "cuda":
        torch.cuda.set_device(process)
    backend = "nccl" if device == "cuda" else "gloo"
    store, patience = f"file://{folder}/store", timedelta(seconds=timeout_s)
    dist.init_process_group(backend, store, patience, n_processes, process)
    dist.barrier()  # a process that ended before all have joined would be missed
    Path(folder, str(process)).write_bytes(pickle.dumps(work(process, *arguments)))
    dist.destroy_process_group()
