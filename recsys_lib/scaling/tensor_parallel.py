"""A stack of layers split over processes: what it saves, and what communication costs.

The residual layers x + gelu(norm(x) up) down are divided as in Megatron-LM (Shoeybi et
al., arXiv 1909.08053): each process holds a share of the hidden columns of every layer,
and one all-reduce per layer adds the partial outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from recsys_lib.arrays import Float64Array
from recsys_lib.extras import needs
from recsys_lib.scaling.process_group import (
    Device,
    measure_together,
    own_part,
    process_device,
    run_processes,
)

with needs("torch"):
    import torch
    import torch.distributed as dist
    from torch.nn.functional import gelu, layer_norm


Layers = list[tuple[torch.Tensor, torch.Tensor]]  # up (dim, hidden), down (hidden, dim)

MESSAGE_BYTES = (2**10, 2**14, 2**16, 2**18, 2**20)


@dataclass(frozen=True)
class Stack:
    """Sizes of the model; its weights and its input are drawn from the seed."""

    dim: int = 1024
    hidden: int = 4096
    n_layers: int = 4
    batch: int = 32
    seed: int = 0

    @property
    def message_bytes(self) -> int:
        """Bytes of the all-reduce that ends each layer."""
        return self.batch * self.dim * 4


@dataclass(frozen=True)
class SplitTimes:
    """Measured seconds of one forward pass and of the all-reduces it needs.

    Attributes:
        stack: The model.
        whole_s: (repeats,) the whole model in one process, the others idle.
        crowded_s: (repeats,) the same while every other process does the same.
        serial_s: (repeats,) only the norms and sums, which every process repeats.
        split_s: (repeats,) the model split over all processes.
        reduce_s: (n_sizes, repeats) one all-reduce of each of `MESSAGE_BYTES`, measured
            in a chain of n_layers: a single one after a barrier looks too fast.
        max_error: Largest difference of split and whole output over the largest output.
    """

    stack: Stack
    whole_s: Float64Array
    crowded_s: Float64Array
    serial_s: Float64Array
    split_s: Float64Array
    reduce_s: Float64Array
    max_error: float

    @property
    def parallel_fraction(self) -> float:
        """Part of the whole pass that can be divided, in [0, 1]."""
        return float(1 - min(np.median(self.serial_s) / np.median(self.whole_s), 1))

    @property
    def link(self) -> tuple[float, float]:
        """Seconds per message and per byte, by `fit_link` on the all-reduces."""
        return fit_link(MESSAGE_BYTES, np.median(self.reduce_s, axis=1))

    @property
    def communication_s(self) -> float:
        """Seconds that the all-reduces of one pass take, predicted from `link`."""
        alpha_s, beta_s = self.link
        return self.stack.n_layers * (alpha_s + beta_s * self.stack.message_bytes)


def measure_split(
    stack: Stack | None = None,
    *,
    n_processes: int = 2,
    repeats: int = 20,
    device: Device = "cpu",
) -> SplitTimes:
    """Time a stack whole and split over processes, and the all-reduces alone.

    Args:
        stack: The model; None for `Stack()`.
        n_processes: Processes that share it, >= 1.
        repeats: Rounds in which each is measured once, >= 1.
        device: As in `run_processes`.

    Raises:
        ValueError: If an argument is out of its range.
        RuntimeError, TimeoutError: As in `run_processes`.

    >>> measure_split(Stack(n_layers=1), n_processes=1, repeats=2).split_s.shape
    (2,)
    """
    if repeats < 1:
        raise ValueError(f"repeats must be >= 1; got {repeats}")
    work = (_measure, stack or Stack(), repeats)
    return run_processes(*work, n_processes=n_processes, device=device)[0]


def fit_link(n_bytes: ArrayLike, seconds: ArrayLike) -> tuple[float, float]:
    """Fit seconds = alpha + beta * bytes, neither negative, by least relative error.

    Args:
        n_bytes: (n,) message sizes, at least two different ones.
        seconds: (n,) measured times, > 0.

    Returns:
        alpha in seconds per message, beta in seconds per byte.

    Raises:
        ValueError: If the shapes differ, all sizes are equal, or a time is not
            positive.

    Source: Hockney, Parallel Computing 20(3), 1994, doi 10.1016/S0167-8191(06)80021-9.

    >>> [round(part, 6) for part in fit_link([0, 100], [1.0, 3.0])]
    [1.0, 0.02]
    """
    sizes, times = np.asarray(n_bytes, float), np.asarray(seconds, float)
    if sizes.shape != times.shape or sizes.ndim != 1 or len(np.unique(sizes)) < 2:
        raise ValueError(
            "n_bytes and seconds must be (n,) with two sizes or more; "
            f"got {sizes.tolist()} and {times.tolist()}"
        )
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError(f"seconds must be finite and > 0; got {times.tolist()}")
    from scipy.optimize import nnls  # here, so that the processes start without it

    terms = np.stack([np.ones_like(sizes), sizes], axis=1) / times[:, None]
    alpha_s, beta_s = nnls(terms, np.ones_like(times))[0]
    return float(alpha_s), float(beta_s)


@torch.inference_mode()
def _measure(process: int, stack: Stack, repeats: int) -> SplitTimes:
    x, layers = _build(stack)
    share = [(own_part(up, 1), own_part(down, 0)) for up, down in layers]
    messages = [torch.zeros(n // 4, device=x.device) for n in MESSAGE_BYTES]
    tasks: list[Callable[[], object]] = [
        lambda: process or _forward(x, layers),
        lambda: _forward(x, layers),
        lambda: process or _serial(x, stack.n_layers),
        lambda: _forward(x, share, reduce=True),
        *(partial(_reduce_chain, message, stack.n_layers) for message in messages),
    ]
    seconds = measure_together(tasks, repeats=repeats)
    whole, split = _forward(x, layers), _forward(x, share, reduce=True)
    error = float((whole - split).abs().max() / whole.abs().max())
    whole_s, crowded_s, serial_s, split_s = seconds[:4]
    reduce_s = seconds[4:] / stack.n_layers
    return SplitTimes(stack, whole_s, crowded_s, serial_s, split_s, reduce_s, error)


def _build(stack: Stack) -> tuple[torch.Tensor, Layers]:
    """Draw the input (batch, dim) and the layers, on this process's device."""
    rng = torch.Generator().manual_seed(stack.seed)
    x = torch.randn(stack.batch, stack.dim, generator=rng)
    shape = (stack.n_layers, stack.dim, stack.hidden)
    ups = torch.randn(shape, generator=rng) / stack.dim**0.5
    downs = torch.randn(shape, generator=rng).mT.contiguous() / stack.hidden**0.5
    to = process_device()
    return x.to(to), list(zip(ups.to(to), downs.to(to), strict=True))


def _forward(x: torch.Tensor, layers: Layers, *, reduce: bool = False) -> torch.Tensor:
    for up, down in layers:
        part = gelu(layer_norm(x, x.shape[1:]) @ up) @ down  # (batch, dim)
        if reduce:
            dist.all_reduce(part)
        x = x + part
    return x


def _serial(x: torch.Tensor, n_layers: int) -> torch.Tensor:
    for _ in range(n_layers):
        x = x + layer_norm(x, x.shape[1:])
    return x


def _reduce_chain(message: torch.Tensor, n_layers: int) -> None:
    for _ in range(n_layers):
        dist.all_reduce(message)
