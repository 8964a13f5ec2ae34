"""What the machine allows: its arithmetic, its memory, and the time of a pass by both.

A stage takes at least its operations over the best rate of a matrix product and its
bytes over the best rate of reading, whichever is more (the roofline).

Source: Williams et al., Roofline, CACM 52(4), 2009, doi 10.1145/1498765.1498785.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.report import Row, exact

GEMM_SIZE = 1536  # 28 MB of operands: large enough for the full rate
READ_FLOATS = 64_000_000  # 256 MB: beyond any cache here

SHARE = ": share of its bound"


@dataclass(frozen=True)
class Transformer:
    """Sizes that decide the cost of a pass; by default those of all-MiniLM-L6-v2."""

    layers: int = 6
    hidden: int = 384
    intermediate: int = 1536

    @property
    def weights(self) -> int:
        """Numbers in the matrices of all layers; a pass reads each once.

        >>> Transformer().weights
        10616832
        """
        attention, mlp = 4 * self.hidden**2, 2 * self.hidden * self.intermediate
        return self.layers * (attention + mlp)

    def flops(self, n_tokens: int) -> int:
        """Operations of one text: two a weight and token, and the attention itself.

        >>> Transformer().flops(16)
        342097920
        """
        attention = 4 * n_tokens**2 * self.hidden * self.layers
        return 2 * self.weights * n_tokens + attention


@dataclass(frozen=True)
class Bounds:
    """Best rates found on this machine, all cores together."""

    gflops: float
    gbytes_per_s: float

    def least_ms(self, flops: float, n_bytes: float) -> tuple[float, str]:
        """Least time of a stage, and which bound sets it.

        >>> Bounds(100.0, 10.0).least_ms(2e8, 1e6)
        (2.0, 'arithmetic')
        """
        times = {
            "arithmetic": flops / self.gflops / 1e6,
            "memory": n_bytes / self.gbytes_per_s / 1e6,
        }
        nearest = max(times, key=lambda name: times[name])
        return times[nearest], nearest


def gflops(threads: int, *, repeats: int = 8) -> float:
    """Best rate of a float32 matrix product, in 1e9 operations a second."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, GEMM_SIZE, GEMM_SIZE), dtype=np.float32)
    out = np.empty_like(left)
    with threadpool_limits(threads):
        seconds = _best_s(partial(np.matmul, left, right, out=out), repeats)
    return 2 * GEMM_SIZE**3 / seconds / 1e9


def gbytes_per_s(threads: int, *, repeats: int = 8) -> float:
    """Best rate of reading from memory, in 1e9 bytes a second."""
    parts = np.array_split(np.ones(READ_FLOATS, dtype=np.float32), threads)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        seconds = _best_s(lambda: [*pool.map(np.dot, parts, parts)], repeats)
    return 4 * READ_FLOATS / seconds / 1e9


def measure_bounds(threads: int) -> tuple[Bounds, list[Row]]:
    """Measure the machine with one thread and with all."""
    rates = {n: (gflops(n), gbytes_per_s(n)) for n in sorted({1, threads})}
    rows = []
    for n, (arithmetic, memory) in rates.items():
        of = f"{n} thread{'s' * (n > 1)}"
        rows += [
            Row("bounds", f"matrix product, {of}", exact(arithmetic), "GFLOP/s"),
            Row("bounds", f"reading, {of}", exact(memory), "GB/s"),
        ]
    return Bounds(*rates[threads]), rows


def pass_row(bounds: Bounds, n_tokens: int) -> Row:
    """The least time of one float32 pass of MiniLM over one text."""
    model = Transformer()
    flops, n_bytes = model.flops(n_tokens), 4 * model.weights
    least_ms, bound = bounds.least_ms(flops, n_bytes)
    note = f"{flops / 1e6:.0f} MFLOP, {n_bytes / 1e6:.0f} MB f32: {bound}"
    name = f"least time of a pass, {n_tokens} tokens"
    return Row("bounds", name, exact(least_ms), "ms", note=note)


def nearness(
    bench: str, stage: str, measured_ms: float, least: tuple[float, str]
) -> Row:
    """How near a stage is to its bound: 1 touches it.

    >>> nearness("request", "pass", 4.0, (2.0, "memory")).note
    'nearest bound: memory, 2.000 ms'
    """
    share = exact(least[0] / measured_ms)
    note = f"nearest bound: {least[1]}, {least[0]:.3f} ms"
    return Row(bench, f"{stage}{SHARE}", share, "", note=note)


def _best_s(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
