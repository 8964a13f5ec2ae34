"""This machine: processor, cores, GPU, and versions of the packages that matter."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
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


@dataclass(frozen=True)
class Machine:
    """The hardware and the software that a run's times belong to."""

    cpu: str
    cores: int
    memory_gib: int
    gpu: str
    system: str
    python: str
    versions: dict[str, str]

    @property
    def hardware_class(self) -> str:
        """What must stay the same for two timings to be comparable, in one line."""
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
    """Count the cores that this process may run on.

    >>> usable_cores() >= 1
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_name() -> str:
    """Model name and its widest matrix instructions, which decide int8 speed."""
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
    """Name of the first NVIDIA GPU, without the seconds that importing torch takes."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(
        query, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 else ""


def map_in_threads(
    function: Callable[[_In], _Out], values: Iterable[_In]
) -> list[_Out]:
    """Results of a function for each value, in order; one thread for each core.

    BLAS uses one thread meanwhile, so that all threads together use the cores once.

    Args:
        function: Safe to call from several threads. It gains where most of its time
            passes in code that frees Python's global lock, such as NumPy's.
        values: Its arguments.

    Raises:
        Exception: The first that the function raises.

    >>> map_in_threads(abs, [-1, 2])
    [1, 2]
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(function, values))
