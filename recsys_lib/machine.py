"""This machine: processor, cores, GPU, package versions, and memory in huge pages."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import psutil
from threadpoolctl import threadpool_limits

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_VERSIONED = (
    "torch",
    "transformers",
    "openvino",
    "onnxruntime",
    "ray",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "scikit-learn",
)
HUGE_PAGE_BYTES = 2 << 20
_MAPS = Path("/proc/self/maps")
_ANONYMOUS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0\s*(?:\[heap\])?")
_ADVISE, _COLLAPSE = 14, 25  # of <linux/mman.h>; the second needs Linux 6.1


@dataclass(frozen=True)
class Machine:
    """The hardware and software on which times were measured."""

    cpu: str
    cores: int
    memory_gib: int
    gpu: str
    system: str
    python: str
    versions: dict[str, str]

    @property
    def hardware_class(self) -> str:
        """The hardware in one line: times are comparable where it is equal."""
        gpu = self.gpu or "no GPU"
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, {gpu}"


@cache
def describe_machine() -> Machine:
    """Describe this machine: usable cores, installed memory, first GPU, versions."""
    installed = {
        d.metadata["Name"].lower(): d.version for d in metadata.distributions()
    }
    return Machine(
        cpu=_cpu_name(),
        cores=usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        gpu=_gpu_name(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: installed[name] for name in _VERSIONED if name in installed},
    )


def usable_cores() -> int:
    """Number of cores that this process may run on.

    >>> usable_cores() >= 1
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def map_in_threads(
    function: Callable[[_In], _Out], values: Iterable[_In]
) -> list[_Out]:
    """Results of a function for each value, in order; one thread for each core.

    NumPy's BLAS uses one thread meanwhile: the threads do not compete for the cores.

    Args:
        function: Safe to call from several threads. Threads save time if most of it is
            spent in code that releases Python's global lock, such as NumPy's.
        values: Arguments of the function, one for each call.

    Raises:
        Exception: The first exception that the function raises.

    >>> map_in_threads(abs, [-1, 2])
    [1, 2]
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(function, values))


@contextmanager
def huge_pages() -> Iterator[None]:
    """Ask Linux to back memory that the block allocates with pages of 2 MB.

    Weights and tables of tens of megabytes in pages of 4 KB exceed the processor's
    address cache (TLB), and each miss costs a walk of the page tables. Linux may ignore
    the request; other systems do not receive it.
    """
    before = set(_memory_ranges())
    yield
    for start, end in set(_memory_ranges()) - before:
        for advice in (_ADVISE, _COLLAPSE):
            address, size = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
            ctypes.CDLL(None).madvise(address, size, advice)


def _memory_ranges() -> list[tuple[int, int]]:
    """Start and end of this process's anonymous memory, rounded in to huge pages."""
    if not _MAPS.exists():
        return []
    found = map(_ANONYMOUS.fullmatch, _MAPS.read_text().splitlines())
    ranges = [(int(x[1], 16), int(x[2], 16)) for x in found if x]
    size = HUGE_PAGE_BYTES
    whole = [(-(-start // size) * size, end // size * size) for start, end in ranges]
    return [(start, end) for start, end in whole if start < end]


def _cpu_name() -> str:
    """Model name and widest vector instructions, which determine the speed of int8."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    text = cpuinfo.read_text()
    model = re.search(r"model name\s*: (.+)", text)
    name = model.group(1).strip() if model else platform.machine()
    flags = set((re.search(r"flags\s*: (.+)", text) or [""])[0].split())
    best = next((f for f in ("amx_tile", "avx512f", "avx2") if f in flags), "")
    return f"{name} ({best})" if best else name


def _gpu_name() -> str:
    """Name of the first NVIDIA GPU, or ""; importing torch would take seconds."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(
        query, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 else ""
