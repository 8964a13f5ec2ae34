"""Processes of this machine that form one group of torch.distributed, its ranks.

They talk through gloo over the loopback interface, one torch thread each; with
device="cuda" through nccl, one GPU each.
"""

import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessException, start_processes


def run_ranks(
    work: Callable[..., Any],
    *arguments: object,
    n_processes: int,
    timeout_s: float = 60,
    device: Literal["cpu", "cuda"] = "cpu",
) -> list[Any]:
    """Call work(rank, *arguments) in new processes that form one group.

    Args:
        work: Importable from a module: processes start afresh, under Jupyter too.
        *arguments: Picklable.
        n_processes: Ranks, >= 1.
        timeout_s: Seconds, starting the processes included.
        device: "cpu" (gloo), or "cuda" (nccl) where each rank finds a GPU of its own.

    Returns:
        The answers by rank. Whatever happens, no process is left behind.

    Raises:
        ValueError: If `n_processes` is below 1, or above the number of GPUs on "cuda",
            or `work` is a notebook's own function.
        RuntimeError: If a rank raises or dies; says which and how.
        TimeoutError: If a rank has not answered in time.

    >>> run_ranks(float, n_processes=1)
    [0.0]
    """
    if n_processes < 1:
        raise ValueError(f"n_processes must be >= 1; got {n_processes}")
    if device == "cuda" and (n_gpus := torch.cuda.device_count()) < n_processes:
        raise ValueError(f"each rank needs a GPU; got {n_gpus} for {n_processes} ranks")
    if getattr(work, "__module__", None) == "__main__":
        raise ValueError(f"work must be importable from a module; got {work}")
    deadline_s = time.monotonic() + timeout_s
    get_context("forkserver").set_forkserver_preload([__name__])  # torch: only once
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        task = (folder, n_processes, timeout_s, device, work, arguments)
        ranks = start_processes(  # type: ignore[no-untyped-call]
            _serve_rank, task, n_processes, join=False, start_method="forkserver"
        )
        try:
            while not ranks.join(max(deadline_s - time.monotonic(), 0)):
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"every rank must answer within {timeout_s} s")
        except ProcessException as failure:
            raise RuntimeError(_what_failed(failure, ranks.processes)) from None
        finally:
            for process in ranks.processes:
                process.kill()
                process.join()
        answers = [Path(folder, str(rank)).read_bytes() for rank in range(n_processes)]
    return [pickle.loads(answer) for answer in answers]


def rank_device() -> torch.device:
    """Where a rank computes: its own GPU under nccl, else the CPU."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", dist.get_rank()) if on_gpu else torch.device("cpu")


def timed_together(task: Callable[[], object]) -> float:
    """Seconds of a task that all ranks begin at one barrier, to its end on this one."""
    dist.barrier()
    start_s = time.perf_counter()
    task()
    if dist.get_backend() == "nccl":
        torch.cuda.synchronize()
    return time.perf_counter() - start_s


def _what_failed(failure: ProcessException, processes: list[Any]) -> str:
    """The rank that died, rather than one that raised because it lost touch with it."""
    alive_or_raised = (None, 0, 1, -signal.SIGTERM)  # the last: ended, since one failed
    for rank, process in enumerate(processes):
        if process.exitcode not in alive_or_raised:
            died = f"process {rank} terminated with exit code {process.exitcode}"
            return f"every rank must answer; got rank {rank}: {died}"
    return f"every rank must answer; got rank {failure.error_index}: {failure}"


def _serve_rank(
    rank: int,
    folder: str,
    n_processes: int,
    timeout_s: float,
    device: str,
    work: Any,
    arguments: Any,
) -> None:
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    torch.set_num_threads(1)
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    store, patience = f"file://{folder}/store", timedelta(seconds=timeout_s)
    dist.init_process_group(backend, store, patience, n_processes, rank)
    dist.barrier()  # a rank that ended early would leave the others without a peer
    Path(folder, str(rank)).write_bytes(pickle.dumps(work(rank, *arguments)))
    dist.destroy_process_group()
