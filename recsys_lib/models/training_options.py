"""How to train, whatever the model: length, batches, rate and when to stop."""

import math
from dataclasses import dataclass
from typing import Literal

_SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `recsys_lib.models.training.train`.

    Attributes:
        epochs: Passes over the examples, at most.
        batch_size: Examples in a step; the last step of an epoch takes what is left.
        learning_rate: Of AdamW, at its highest.
        schedule: "constant", or "cosine" down to 0 at the last step.
        warmup: Part of all steps in which the rate rises linearly, in [0, 1).
        weight_decay: Of AdamW; vectors (biases, norms) are spared.
        patience: Epochs without a better validation value before it stops; None: never.
        better: Whether a "lower" or a "higher" validation value is the better one.
        seed: Of batches and dropout.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    patience: int | None = None
    better: Literal["lower", "higher"] = "lower"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        rules = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "learning_rate must be > 0 and finite": 0 < self.learning_rate < math.inf,
            "schedule must be constant or cosine": self.schedule in _SCHEDULES,
            "warmup must lie in [0, 1)": 0 <= self.warmup < 1,
            "weight_decay must be >= 0 and finite": 0 <= self.weight_decay < math.inf,
            "patience must be None or >= 1": self.patience is None or self.patience > 0,
            "better must be lower or higher": self.better in ("lower", "higher"),
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"{rule}; got {self}")


def rate_factor(step: int, n_steps: int, options: TrainingOptions) -> float:
    """Part of the learning rate that a step, from 0, is taken with: in (0, 1].

    >>> options = TrainingOptions(warmup=0.5, schedule="cosine")
    >>> [round(rate_factor(step, 8, options), 2) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    rising = round(options.warmup * n_steps)
    if step < rising:
        return (step + 1) / rising
    if options.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - rising) / (n_steps - rising))) / 2
