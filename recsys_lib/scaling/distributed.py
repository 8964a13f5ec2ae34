"""One model split over processes: what dividing the work saves, what talking costs.

A stack of residual layers x + gelu(norm(x) up) down is divided as in Megatron-LM
(Shoeybi et al., arXiv 1909.08053): every rank keeps a share of the hidden columns, and
one all-reduce a layer adds the partial outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import gelu, layer_norm

from recsys_lib.scaling.process_group import rank_device, run_ranks, timed_together

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # up (dim, hidden), down (hidden, dim)

WARMUP_ROUNDS = 3


@dataclass(frozen=True)
class Stack:
    """The model that is split; weights and input are drawn from the seed."""

    dim: int = 1024
    hidden: int = 4096
    n_layers: int = 4
    batch: int = 32
    seed: int = 0

    @property
    def reduce_bytes(self) -> int:
        """Bytes of the all-reduce that ends each layer."""
        return self.batch * self.dim * 4


@dataclass(frozen=True)
class SplitTimes:
    """Measured seconds of one forward pass and of the all-reduces it needs.

    Attributes:
        stack, n_processes: The model, and the ranks it was split over.
        whole_s: (repeats,) one process, the others idle.
        crowded_s: (repeats,) the same while every other process does the same.
        serial_s: (repeats,) the norms and sums alone, which every rank repeats.
        split_s: (repeats,) one pass of all processes together.
        reduce_s: (n_sizes, repeats) one all-reduce of each of `reduce_bytes`, in a
            chain of n_layers: alone after a barrier it would look faster than it is.
        max_error: Largest difference of split and whole output over the largest output.
    """

    stack: Stack
    n_processes: int
    whole_s: NDArray[np.float64]
    crowded_s: NDArray[np.float64]
    serial_s: NDArray[np.float64]
    split_s: NDArray[np.float64]
    reduce_s: NDArray[np.float64]
    reduce_bytes: NDArray[np.int64]
    max_error: float

    @property
    def parallel_fraction(self) -> float:
        """Part of the whole pass that divides, in [0, 1]."""
        return float(1 - min(np.median(self.serial_s) / np.median(self.whole_s), 1))

    @property
    def communication_s(self) -> float:
        """Seconds the all-reduces of a pass take by the link fitted to `reduce_s`."""
        alpha_s, beta_s = fit_link(self.reduce_bytes, np.median(self.reduce_s, axis=1))
        return self.stack.n_layers * (alpha_s + beta_s * self.stack.reduce_bytes)


def measure_split(
    stack: Stack | None = None,
    *,
    n_processes: int = 2,
    repeats: int = 20,
    reduce_bytes: Sequence[int] = (2**10, 2**14, 2**16, 2**18, 2**20),
    timeout_s: float = 60.0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> SplitTimes:
    """Time a stack whole and split over processes, and the all-reduces alone.

    Every repeat times each of them once, in turn, all ranks starting from a barrier.

    Args:
        stack: The model, `Stack()` unless given.
        n_processes: Ranks, >= 1.
        repeats: Times each is measured, after three rounds of warm-up; >= 1.
        reduce_bytes: Message sizes, two or more, multiples of 4.
        timeout_s: Seconds until everything is given up.
        device: As of `run_ranks`.

    Raises:
        ValueError: If an argument is out of its range.
        RuntimeError, TimeoutError: As in `run_ranks`.

    >>> measure_split(Stack(n_layers=1), n_processes=1, repeats=2).split_s.shape
    (2,)
    """
    if repeats < 1 or len(set(reduce_bytes)) < 2 or any(n % 4 for n in reduce_bytes):
        raise ValueError(
            "repeats must be >= 1, reduce_bytes two or more multiples of 4; "
            f"got {repeats} and {list(reduce_bytes)}"
        )
    stack = stack or Stack()
    work = (_time_rank, stack, repeats, list(reduce_bytes))
    options: dict[str, Any] = {"timeout_s": timeout_s, "device": device}
    measured = run_ranks(*work, n_processes=n_processes, **options)[0]
    return SplitTimes(stack, n_processes, **measured)


def fit_link(n_bytes: ArrayLike, seconds: ArrayLike) -> tuple[float, float]:
    """Fit seconds = alpha + beta * bytes, neither negative, by least relative error.

    Args:
        n_bytes: (n,) message sizes, two different ones at least.
        seconds: (n,) measured times, > 0.

    Returns:
        alpha in seconds a message, beta in seconds a byte.

    Raises:
        ValueError: If the arrays do not fit each other or a time is not positive.

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
    from scipy.optimize import nnls  # here, so that the ranks start without it

    terms = np.stack([np.ones_like(sizes), sizes], axis=1) / times[:, None]
    alpha_s, beta_s = nnls(terms, np.ones_like(times))[0]
    return float(alpha_s), float(beta_s)


@torch.inference_mode()
def _time_rank(
    rank: int, stack: Stack, repeats: int, reduce_bytes: list[int]
) -> dict[str, Any]:
    x, layers = _on_device(*_build(stack))
    share = _share(layers, rank, dist.get_world_size())
    messages = [torch.zeros(n // 4, device=x.device) for n in reduce_bytes]
    tasks: list[Callable[[], object]] = [
        lambda: rank or _forward(x, layers),
        lambda: _forward(x, layers),
        lambda: rank or _serial(x, stack.n_layers),
        lambda: _forward(x, share, reduce=True),
        *(partial(_reduce_chain, message, stack.n_layers) for message in messages),
    ]
    n_rounds = WARMUP_ROUNDS + repeats
    rounds = [[timed_together(task) for task in tasks] for _ in range(n_rounds)]
    seconds = np.array(rounds[WARMUP_ROUNDS:]).T  # (tasks, repeats)
    whole, split = _forward(x, layers), _forward(x, share, reduce=True)
    names = ("whole_s", "crowded_s", "serial_s", "split_s")
    return dict(zip(names, seconds, strict=False)) | {
        "reduce_s": seconds[len(names) :] / stack.n_layers,
        "reduce_bytes": np.array(reduce_bytes),
        "max_error": float((whole - split).abs().max() / whole.abs().max()),
    }


def _reduce_chain(message: torch.Tensor, n_layers: int) -> None:
    for _ in range(n_layers):
        dist.all_reduce(message)


def _build(stack: Stack) -> tuple[torch.Tensor, Layers]:
    rng = torch.Generator().manual_seed(stack.seed)
    x = torch.randn(stack.batch, stack.dim, generator=rng)
    shape = (stack.n_layers, stack.dim, stack.hidden)
    ups = torch.randn(shape, generator=rng) / stack.dim**0.5
    downs = torch.randn(shape, generator=rng).mT.contiguous() / stack.hidden**0.5
    return x, list(zip(ups, downs, strict=True))


def _on_device(x: torch.Tensor, layers: Layers) -> tuple[torch.Tensor, Layers]:
    to = rank_device()
    return x.to(to), [(up.to(to), down.to(to)) for up, down in layers]


def _share(layers: Layers, rank: int, n_processes: int) -> Layers:
    def part(weight: torch.Tensor, dim: int) -> torch.Tensor:
        return weight.tensor_split(n_processes, dim)[rank].contiguous()

    return [(part(up, 1), part(down, 0)) for up, down in layers]


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
