"""The one training loop of the book: seeded, resumed after a kill, loud about NaN.

What is random in a step (its batch, its dropout) comes from the seed and the number of
the step alone. A run that was killed therefore goes on from its last checkpoint to the
very weights, bit for bit, of a run that was not.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys_lib.models.training_options import TrainingOptions, rate_factor

Loss = Callable[[torch.Tensor], torch.Tensor]
State = dict[str, Any]


@dataclass(frozen=True)
class LearningCurve:
    """What a training showed, epoch by epoch.

    Attributes:
        train_loss: Mean loss of an epoch's examples, each before its own step.
        validation: Value after each epoch; empty without validation.
        best_epoch: Whose weights the model holds, from 0.
        seconds: Spent in all, over all processes that worked on it.
    """

    train_loss: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int = -1
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step; ``curve`` holds the epochs that ended."""

    step: int
    n_steps: int
    loss: float
    curve: LearningCurve


Report = Callable[[Progress], None]


def train(
    model: torch.nn.Module,
    loss: Loss,
    n_examples: int,
    options: TrainingOptions,
    *,
    validate: Callable[[], float] | None = None,
    report: Report | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every_s: float = 30.0,
) -> LearningCurve:
    """Train a model in place, on the device where it is.

    Args:
        model: Ends with the weights of its best epoch, or of its last one without
            ``validate``, in evaluation mode.
        loss: From the numbers of some examples, (batch,) int64 on the CPU, to their
            mean loss under the model.
        n_examples: Numbered from 0; each comes once in an epoch, in random order.
        options: How to train.
        validate: Value of the model, in evaluation mode, after an epoch.
        report: Called after each step, such as `print_progress`.
        checkpoint: File that a killed run goes on from; written in one piece, at the
            end of an epoch or after ``checkpoint_every_s`` seconds.
        checkpoint_every_s: Work that a kill loses, at most, but for the step at hand.

    Raises:
        FloatingPointError: If loss, weights or validation value are not finite; the
            checkpoint stays as it was.
        ValueError: If there is no example, patience has no validation, or the
            checkpoint is damaged or of another run.

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
    if options.patience and validate is None:
        raise ValueError("patience must come with validate; got none")
    run = _Run(model, options, n_examples, Path(checkpoint) if checkpoint else None)
    run.resume()
    while not run.is_over:
        run.take_step(loss)
        if run.ended_epoch:
            run.close_epoch(validate)
        if run.ended_epoch or time.monotonic() - run.saved > checkpoint_every_s:
            run.save()
        if report:
            report(Progress(run.step, run.n_steps, run.last_loss, run.curve))
    if run.best:
        model.load_state_dict(run.best)
    model.eval()
    return run.curve


def print_progress(*, every_s: float = 10.0) -> Report:
    """Make a report that prints a line when an epoch ends, or nothing has for long.

    >>> report = print_progress(every_s=1000)
    >>> report(Progress(4, 8, 0.5, LearningCurve((0.75,), (0.6,), 0, 12.0)))
    step 4 of 8, 12 s: epoch 1, loss 0.7500, validation 0.6000
    """
    last: dict[str, float] = {"time": time.monotonic(), "epoch": 0}

    def report(progress: Progress) -> None:
        curve, now = progress.curve, time.monotonic()
        ended = len(curve.train_loss) > last["epoch"]
        if not ended and now - last["time"] < every_s:
            return
        last.update(time=now, epoch=len(curve.train_loss))
        where = f"step {progress.step} of {progress.n_steps}, {curve.seconds:.0f} s"
        what = f"loss {progress.loss:.4f}"
        if ended:
            what = f"epoch {len(curve.train_loss)}, loss {curve.train_loss[-1]:.4f}"
            what += "".join(f", validation {x:.4f}" for x in curve.validation[-1:])
        print(f"{where}: {what}", flush=True)

    return report


@dataclass
class _Run:
    """A training between two steps; all of it but the clock is in the checkpoint."""

    model: torch.nn.Module
    options: TrainingOptions
    n_examples: int
    file: Path | None
    step: int = 0
    summed_loss: float = 0.0
    last_loss: float = math.nan
    curve: LearningCurve = field(default_factory=LearningCurve)
    best: State | None = None

    def __post_init__(self) -> None:
        self.steps_per_epoch = math.ceil(self.n_examples / self.options.batch_size)
        self.n_steps = self.options.epochs * self.steps_per_epoch
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        tables = [p for p in self.weights if p.ndim > 1]
        vectors = [p for p in self.weights if p.ndim < 2]
        decayed: State = {"weight_decay": self.options.weight_decay, "params": tables}
        spared: State = {"weight_decay": 0.0, "params": vectors}
        self.optimizer = torch.optim.AdamW([decayed, spared], fused=True)
        self.counted = self.saved = time.monotonic()

    @property
    def ended_epoch(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    @property
    def is_over(self) -> bool:
        patience = self.options.patience or math.inf
        waited = len(self.curve.train_loss) - 1 - self.curve.best_epoch
        stops = self.step > 0 and self.ended_epoch and waited >= patience
        return stops or self.step >= self.n_steps

    def take_step(self, loss: Loss) -> None:
        batch = self._batch()
        factor = rate_factor(self.step, self.n_steps, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * factor
        self.model.train()
        with _seeded(self.model, [self.options.seed, self.step]):
            value = loss(batch)
            self.last_loss = self._finite("loss", value.item())
            self.optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        self.summed_loss += self.last_loss * len(batch)
        self._count_time()

    def close_epoch(self, validate: Callable[[], float] | None) -> None:
        self._check_weights()
        losses = (*self.curve.train_loss, self.summed_loss / self.n_examples)
        self.curve = replace(self.curve, train_loss=losses)
        self.summed_loss = 0.0
        if validate is None:
            self.curve = replace(self.curve, best_epoch=len(losses) - 1)
        else:
            self._validate(validate)
        self._count_time()

    def _validate(self, validate: Callable[[], float]) -> None:
        self.model.eval()
        with torch.no_grad():
            value = self._finite("validation value", float(validate()))
        past, sign = self.curve.validation, 1 if self.options.better == "lower" else -1
        if not past or sign * value < sign * past[self.curve.best_epoch]:
            self.curve = replace(self.curve, best_epoch=len(past))
            state = self.model.state_dict()
            self.best = {name: x.detach().clone() for name, x in state.items()}
        self.curve = replace(self.curve, validation=(*past, value))

    def save(self) -> None:
        if self.file is None:
            return
        self._check_weights()
        state = {name: getattr(self, name) for name in ("step", "summed_loss", "best")}
        state["curve"] = dataclasses.asdict(self.curve)
        state["model"] = self.model.state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        _write_whole(self.file, {"made_of": self._made_of(), **state})
        self.saved = time.monotonic()

    def resume(self) -> None:
        if self.file is None or not self.file.exists():
            return
        state = _read(self.file)
        if state["made_of"] != self._made_of():
            got = f"got {state['made_of']} in {self.file}"
            raise ValueError(f"checkpoint must be of {self._made_of()}; {got}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        self.summed_loss = state["summed_loss"]
        self.curve = LearningCurve(**state["curve"])

    def _made_of(self) -> State:
        shapes = {name: tuple(x.shape) for name, x in self.model.state_dict().items()}
        options = dataclasses.asdict(self.options)
        return {"options": options, "n_examples": self.n_examples, "shapes": shapes}

    def _batch(self) -> torch.Tensor:
        epoch, i = divmod(self.step, self.steps_per_epoch)
        rng = np.random.default_rng([self.options.seed, epoch])
        size = self.options.batch_size
        order = torch.from_numpy(rng.permutation(self.n_examples))
        return order[i * size : (i + 1) * size]

    def _count_time(self) -> None:
        now = time.monotonic()
        seconds = self.curve.seconds + now - self.counted
        self.curve, self.counted = replace(self.curve, seconds=seconds), now

    def _check_weights(self) -> None:
        total = sum(p.detach().double().sum().item() for p in self.weights)
        self._finite("sum of weights", total)

    def _finite(self, what: str, value: float) -> float:
        if not math.isfinite(value):
            where = f"got {value} at step {self.step} of {self.n_steps}"
            rate = f"a learning_rate below {self.options.learning_rate}"
            hint = f"try {rate} or a longer warmup, or look for NaN in the inputs"
            raise FloatingPointError(f"{what} must be finite; {where}: {hint}")
        return value


@contextmanager
def _seeded(model: torch.nn.Module, seed: list[int]) -> Iterator[None]:
    """Seed torch for one step, and give the caller's own state back."""
    devices = sorted({p.device.index for p in model.parameters() if p.is_cuda})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield


def _write_whole(file: Path, state: State) -> None:
    """Write beside and rename: a kill leaves the old file or the new, never a torso."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    with part.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _read(file: Path) -> State:
    try:
        state: State = torch.load(file, weights_only=True)
    except Exception as error:
        got = f"got {file}, which cannot be read (delete it to start anew)"
        raise ValueError(f"checkpoint must be a file of this loop; {got}") from error
    return state
