"""A seeded PyTorch training loop, with AdamW and a learning-rate schedule."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from recsys_lib.extras import needs

with needs("torch"):
    import torch
    from torch.optim.lr_scheduler import LambdaLR


Loss = Callable[[torch.Tensor], torch.Tensor]
Schedule = Literal["constant", "cosine"]

_WARMUP = 0.1  # fraction of all steps in which the learning rate rises


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `train`.

    Attributes:
        epochs: Passes over the examples.
        batch_size: Examples per step; the last step of an epoch takes what is left.
        learning_rate: The highest learning rate of AdamW.
        schedule: After a linear rise, "constant", or "cosine" down to 0.
        weight_decay: Of AdamW; applied to matrices, not to biases and norms.
        seed: Of the order of the examples and of dropout.

    Raises:
        ValueError: If an option is out of its range.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "learning_rate must be > 0 and finite": 0 < self.learning_rate < math.inf,
            "schedule must be constant or cosine": self.schedule in get_args(Schedule),
            "weight_decay must be >= 0 and finite": 0 <= self.weight_decay < math.inf,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"{rule}; got {self}")


@dataclass(frozen=True)
class LearningCurve:
    """The course of a training.

    Attributes:
        train_loss: Mean loss over the examples, by epoch. The loss of each batch is
            taken before its own step.
        validation: Validation value after each epoch; empty without validation.
        best_epoch: Epoch, from 0, whose weights the model has now.
        seconds: Duration of the training.
    """

    train_loss: tuple[float, ...]
    validation: tuple[float, ...]
    best_epoch: int
    seconds: float


def train(
    model: torch.nn.Module,
    loss: Loss,
    n_examples: int,
    options: TrainingOptions,
    *,
    validate: Callable[[], float] | None = None,
) -> LearningCurve:
    """Train a model in place; it is in evaluation mode afterwards.

    With ``validate``, the model gets back the weights of its best epoch.

    Args:
        model: Its parameters with ``requires_grad`` are trained.
        loss: Maps the numbers of some examples, (batch,) int64, to their mean loss.
        n_examples: Examples are numbered from 0. Each occurs once in an epoch, in
            random order.
        options: How to train.
        validate: Returns the validation value of the model; lower is better. Called in
            evaluation mode after each epoch.

    Raises:
        FloatingPointError: If the loss, the weights or the validation value are not
            finite.
        ValueError: If there is no example.

    Source: Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101 (AdamW, cosine).

    >>> line = torch.nn.Linear(1, 1)
    >>> x = torch.linspace(-1, 1, 8)[:, None]
    >>> curve = train(line, lambda i: (line(x[i]) - 2 * x[i]).square().mean(), 8,
    ...               TrainingOptions(epochs=200, learning_rate=0.1))
    >>> round(line.weight.item(), 1)
    2.0
    """
    if n_examples < 1:
        raise ValueError(f"n_examples must be at least 1; got {n_examples}")
    began = time.monotonic()
    n_steps = options.epochs * math.ceil(n_examples / options.batch_size)
    optimizer = _optimizer(model, options)
    schedule = LambdaLR(
        optimizer, lambda step: rate_factor(step, n_steps, options.schedule)
    )
    losses, values, best = list[float](), list[float](), None
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays
        for epoch in range(options.epochs):
            batches = _batches(n_examples, epoch, options)
            total = _run_epoch(model, loss, batches, schedule, options.seed)
            losses.append(total / n_examples)
            if validate is not None:
                values.append(_validated(model, validate, schedule.last_epoch))
                if values[-1] < min(values[:-1], default=math.inf):
                    best = copy.deepcopy(model.state_dict())
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    best_epoch = values.index(min(values)) if values else options.epochs - 1
    seconds = time.monotonic() - began
    return LearningCurve(tuple(losses), tuple(values), best_epoch, seconds)


def rate_factor(step: int, n_steps: int, schedule: Schedule) -> float:
    """Fraction of the learning rate at a step, counted from 0: in [0, 1].

    >>> [round(rate_factor(step, 20, "cosine"), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.01]
    """
    rising = round(_WARMUP * n_steps)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - rising) / (n_steps - rising))) / 2


def _optimizer(model: torch.nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    weights = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in weights if p.ndim > 1]},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    rate, decay = options.learning_rate, options.weight_decay
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)


def _batches(
    n_examples: int, epoch: int, options: TrainingOptions
) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng([options.seed, epoch])
    order = torch.from_numpy(rng.permutation(n_examples))
    return torch.split(order, options.batch_size)


def _run_epoch(
    model: torch.nn.Module,
    loss: Loss,
    batches: Sequence[torch.Tensor],
    schedule: LambdaLR,
    seed: int,
) -> float:
    """Take a step per batch; return the sum of the examples' losses."""
    model.train()
    total = 0.0
    for batch in batches:
        step, optimizer = schedule.last_epoch, schedule.optimizer
        sequence = np.random.SeedSequence([seed, step])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        value = loss(batch)
        total += len(batch) * _finite("loss", value.item(), step)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    weights = sum(p.detach().double().sum().item() for p in model.parameters())
    _finite("sum of weights", weights, schedule.last_epoch)
    return total


def _validated(
    model: torch.nn.Module, validate: Callable[[], float], step: int
) -> float:
    model.eval()
    with torch.no_grad():
        return _finite("validation value", float(validate()), step)


def _finite(what: str, value: float, step: int) -> float:
    if not math.isfinite(value):
        hint = "try a lower learning_rate, or look for NaN in the inputs"
        raise FloatingPointError(
            f"{what} must be finite; got {value} at step {step}: {hint}"
        )
    return value
