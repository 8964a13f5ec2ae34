"""Data-parallel training: every process has the whole model and a share of each batch.

After each backward pass an all-reduce averages the gradients, so that every process
takes the step that one process with the whole batch would take (Li et al., VLDB 2020,
arXiv 2006.15704).
"""

import time
from dataclasses import dataclass

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
    from torch import nn


@dataclass(frozen=True)
class TrainingTimes:
    """Seconds of training steps with the same total batch, and the weights they give.

    Attributes:
        alone_s: (repeats,) seconds of a step of one process, which has the whole batch.
        together_s: (repeats,) seconds of a step of all processes, in process 0.
        synchronising_s: (repeats,) the part of it that averages the gradients,
            which includes the wait for slower processes.
        n_gradients: Numbers that each process sends for a step.
        between_processes: Largest difference of a weight between two processes.
        from_alone: Largest difference of a weight from one process's.
    """

    alone_s: Float64Array
    together_s: Float64Array
    synchronising_s: Float64Array
    n_gradients: int
    between_processes: float
    from_alone: float


@dataclass(frozen=True)
class Training:
    """A stack of feed-forward layers that is trained to map one batch to another.

    Attributes:
        dim: Width of input and output.
        hidden: Width between them.
        n_layers: Pairs of linear maps.
        batch: Rows of the whole batch, which the processes share.
    """

    dim: int = 384
    hidden: int = 1536
    n_layers: int = 2
    batch: int = 512


def measure_training(
    training: Training,
    *,
    n_processes: int = 2,
    repeats: int = 10,
    device: Device = "cpu",
) -> TrainingTimes:
    """Time training steps of one process and of a group that averages its gradients.

    Args:
        training: Sizes of model and batch.
        n_processes: Processes that share a batch; they have to divide it.
        repeats: Steps of each kind that are timed in turn, >= 1.
        device: As in `run_processes`.

    Raises:
        ValueError: If `repeats` is below 1, or the processes do not divide the batch.
        RuntimeError, TimeoutError: As in `run_processes`.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be >= 1; got {repeats}")
    if n_processes < 1 or training.batch % n_processes:
        got = f"got {n_processes} for {training.batch} rows"
        raise ValueError(f"n_processes must divide the batch; {got}")
    work = (_measure, training, repeats)
    return run_processes(*work, n_processes=n_processes, device=device)[0]


def _measure(process: int, training: Training, repeats: int) -> TrainingTimes:
    torch.manual_seed(0)
    to = process_device()
    rows = torch.randn(2, training.batch, training.dim).to(to)
    alone, together = (_Trained(_stack(training).to(to)) for _ in range(2))
    mine = own_part(rows, dim=1)

    def whole_batch() -> None:
        if process == 0:
            alone.step(*rows, synchronised=False)

    seconds = measure_together(
        [whole_batch, lambda: together.step(*mine, synchronised=True)], repeats=repeats
    )
    ours, first = together.weights(), together.weights()
    dist.broadcast(first, 0)
    apart = (ours - first).abs().max()
    dist.all_reduce(apart, dist.ReduceOp.MAX)
    alone_s, together_s = seconds
    return TrainingTimes(
        alone_s,
        together_s,
        torch.tensor(together.synchronising_s[-repeats:]).double().numpy(),
        ours.numel(),
        float(apart),
        float((ours - alone.weights()).abs().max()),
    )


class _Trained:
    """A model with the seconds that each of its steps spent on averaging gradients."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.synchronising_s = model, list[float]()
        self._optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def weights(self) -> torch.Tensor:
        return nn.utils.parameters_to_vector(self.model.parameters()).detach()

    def step(self, x: torch.Tensor, y: torch.Tensor, *, synchronised: bool) -> None:
        self._optimizer.zero_grad()
        nn.functional.mse_loss(self.model(x), y).backward()  # type: ignore[no-untyped-call]
        if synchronised:
            start_s = time.perf_counter()
            _average_gradients(self.model)
            self.synchronising_s.append(time.perf_counter() - start_s)
        self._optimizer.step()


def _average_gradients(model: nn.Module) -> None:
    """Replace each gradient by its mean over the processes, in one message."""
    gradients = [x.grad for x in model.parameters() if x.grad is not None]
    flat = torch.cat([x.flatten() for x in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    ends = torch.tensor([x.numel() for x in gradients]).cumsum(0)[:-1]
    for gradient, mean in zip(gradients, flat.tensor_split(ends), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _stack(training: Training) -> nn.Module:
    """The layers in sequence, with the same weights in each process."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for _ in range(training.n_layers):
        wide = nn.Linear(training.dim, training.hidden)
        layers += [wide, nn.GELU(), nn.Linear(training.hidden, training.dim)]
    return nn.Sequential(*layers)
