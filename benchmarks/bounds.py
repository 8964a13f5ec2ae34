"""Bounds of the machine: its arithmetic, its memory, and the least time of a pass.

A stage takes at least its operations over the best rate of a matrix product and its
bytes over the best rate of reading, whichever is more (the roofline).

Source: Williams et al., Roofline, CACM 52(4), 2009, doi 10.1145/1498765.1498785.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.report import Row, exact

GEMM_SIZE = 1536  # 28 MB of operands: large enough for the full rate
READ_FLOATS = 64_000_000  # 256 MB: beyond any cache here

BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}  # of a weight

SHARE = ": share of its bound"


@dataclass(frozen=True)
class Transformer:
    """Sizes that decide the cost of a pass; all-MiniLM-L6-v2 by default."""

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
        """Operations of one text: two for each weight and token, and attention.

        >>> Transformer().flops(16)
        342097920
        """
        attention = 4 * n_tokens**2 * self.hidden * self.layers
        return 2 * self.weights * n_tokens + attention


@dataclass(frozen=True)
class Bounds:
    """Best rates measured on this machine, all cores together.

    Attributes:
        gflops: By precision: 1e9 operations a second of a matrix product.
        gbytes_per_s: Of reading from memory.
    """

    gflops: Mapping[str, float]
    gbytes_per_s: float

    def least_ms(
        self, flops: float, n_bytes: float, precision: str = "float32"
    ) -> tuple[float, str]:
        """Least time of a stage, and which bound sets it.

        >>> Bounds({"float32": 100.0}, 10.0).least_ms(2e8, 1e6)
        (2.0, 'arithmetic')
        """
        times = {
            "arithmetic": flops / self.gflops[precision] / 1e6,
            "memory": n_bytes / self.gbytes_per_s / 1e6,
        }
        nearest = max(times, key=lambda name: times[name])
        return times[nearest], nearest


def gflops(threads: int, precision: str = "float32", *, repeats: int = 8) -> float:
    """Best rate of a matrix product, in 1e9 operations a second."""
    torch.set_num_threads(threads)
    left, right = 30 * torch.randn(2, GEMM_SIZE, GEMM_SIZE)
    kind = getattr(torch, precision)
    multiply = torch._int_mm if precision == "int8" else torch.mm
    call = partial(multiply, left.to(kind), right.to(kind))
    return 2 * GEMM_SIZE**3 / _best_s(call, repeats) / 1e9


def gbytes_per_s(threads: int, *, repeats: int = 8) -> float:
    """Best rate of reading from memory, in 1e9 bytes a second."""
    parts = np.array_split(np.ones(READ_FLOATS, dtype=np.float32), threads)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        seconds = _best_s(lambda: [*pool.map(np.dot, parts, parts)], repeats)
    return 4 * READ_FLOATS / seconds / 1e9


def measure_bounds(threads: int) -> tuple[Bounds, list[Row]]:
    """Measure the machine with one thread and with all."""
    rows = []
    for n in sorted({1, threads}):
        of = f"{n} thread{'s' * (n > 1)}"
        rates, memory = {x: gflops(n, x) for x in BYTES}, gbytes_per_s(n)
        rows += [
            Row("bounds", f"matrix product, {x}, {of}", exact(rate), "GFLOP/s")
            for x, rate in rates.items()
        ]
        rows.append(Row("bounds", f"reading, {of}", exact(memory), "GB/s"))
    return Bounds(rates, memory), rows


def pass_row(bounds: Bounds, n_tokens: int, precision: str = "float32") -> Row:
    """Row of the least time of one pass of MiniLM over one text."""
    model = Transformer()
    flops, n_bytes = model.flops(n_tokens), BYTES[precision] * model.weights
    least_ms, bound = bounds.least_ms(flops, n_bytes, precision)
    note = f"{flops / 1e6:.0f} MFLOP, {n_bytes / 1e6:.0f} MB {precision}: {bound}"
    name = f"least time of a pass, {n_tokens} tokens"
    return Row("bounds", name, exact(least_ms), "ms", note=note)


def nearness(
    bench: str, stage: str, measured_ms: float, least: tuple[float, str]
) -> Row:
    """Row of a stage's share of its bound; 1 reaches it.

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
