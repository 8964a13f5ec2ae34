"""Two towers, one for users and one for items, trained until likes lie together.

Each tower makes an item's vector of its features, of a vector of its own, or of both. A
user is the mean over the history, so that new users and (by their features) new items
need no training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from torch.nn.functional import cross_entropy, normalize

from recsys_lib.models.training import LearningCurve, Report, train
from recsys_lib.models.training_options import TrainingOptions

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TowerOptions:
    """The shape of both towers, and their loss.

    Attributes:
        kind: "linear", or "mlp": a hidden layer after the mean.
        dim: Of the common space.
        ids: Whether each item has a vector of its own; 0 for one never met.
        dropout: Part of a history, and of a hidden layer, left out in training.
        temperature: That cosines are divided by.
        log_q: Whether to subtract the log of how often an item is a negative, so
            that those met by many are not pushed away for being so.
    """

    kind: Literal["linear", "mlp"] = "linear"
    dim: int = 64
    ids: bool = True
    dropout: float = 0.0
    temperature: float = 0.1
    log_q: bool = True

    def __post_init__(self) -> None:
        """Refuse what no tower can be built of."""
        rules = {
            "kind must be linear or mlp": self.kind in ("linear", "mlp"),
            "dim must be at least 1": self.dim >= 1,
            "dropout must lie in [0, 1)": 0 <= self.dropout < 1,
            "temperature must be positive": self.temperature > 0,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"{rule}; got {self}")


@dataclass(frozen=True, eq=False)
class TwoTower:
    """A trained pair: its vectors are of length 1, its scores are cosines.

    Attributes:
        towers: The torch module.
        features: (n_items, n_features), with 0 columns where only ids count.
        curve: How it was trained.
    """

    towers: "Towers"
    features: Array
    curve: LearningCurve

    def score(self, histories: csr_matrix) -> Array:
        """Scores (n, n_items) for n histories; 0 for an empty one.

        Raises:
            ValueError: If the histories have other items than the model.
        """
        return self.embed_users(histories) @ self.embed_items().T

    @torch.no_grad()
    def embed_users(self, histories: csr_matrix) -> Array:
        """Vectors (n, dim) of n histories, the zero vector of an empty one."""
        if histories.shape[1] != len(self.features):
            got = f"got {histories.shape[1]}"
            raise ValueError(f"histories must have {len(self.features)} columns; {got}")
        met = _dense(histories).to(self.towers.features.device)
        vectors = self.towers.users(met) * met.any(dim=1, keepdim=True)
        return np.asarray(vectors.cpu().numpy())

    @torch.no_grad()
    def embed_items(self, features: npt.ArrayLike | None = None) -> Array:
        """Vectors (n, dim) of the catalogue, or of new items by their features.

        Raises:
            ValueError: If the features are not as many as the model knows.
        """
        tower, device = self.towers.item_tower, self.towers.features.device
        if features is None:
            return np.asarray(self.towers.items().cpu().numpy())
        rows = torch.as_tensor(np.asarray(features, dtype=np.float32), device=device)
        n_features, known = self.features.shape[1], tower.of_features
        if known is None or rows.ndim != 2 or rows.shape[1] != n_features:
            got = f"got {tuple(rows.shape)}"
            raise ValueError(f"features must be (n, {n_features}), not 0; {got}")
        vectors = normalize(tower.head(known(rows)))
        return np.asarray(vectors.cpu().numpy())


def fit_two_tower(
    interactions: csr_matrix,
    features: npt.ArrayLike | None,
    options: TrainingOptions,
    *,
    towers: TowerOptions | None = None,
    validate: Callable[[TwoTower], float] | None = None,
    report: Report | None = None,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
) -> TwoTower:
    """Train both towers to find each item of a history from the rest of it.

    The other items of the batch are the negatives, but for those the user has met.

    Args:
        interactions: (n_users, n_items) sparse; what matters is which are non-zero.
        features: (n_items, n_features) of all items, those never met included: text
            vectors, metadata beside them; None for ids alone.
        options: Of the training loop; an example is an interaction of a user with two.
        towers: Shape and loss.
        validate: Value of the model after an epoch, such as its nDCG (with
            ``better="higher"``).
        report: Called after each step.
        checkpoint: File of this run alone, that a killed one goes on from.
        device: "cpu" or "cuda[:i]".

    Raises:
        ValueError: If there is neither feature nor id, no user has two items, or
            features are not finite or not one row an item.
        FloatingPointError: If the loss diverges.

    Source: Yi et al., RecSys 2019, doi 10.1145/3298689.3346996.

    >>> likes = csr_matrix([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    >>> options = TrainingOptions(epochs=60, learning_rate=0.05)
    >>> model = fit_two_tower(likes, None, options)
    >>> model.score(csr_matrix([[1, 0, 0, 0], [0, 0, 0, 1]])).argmax(axis=1).tolist()
    [1, 2]
    """
    matrix = csr_matrix(interactions) != 0
    known = _checked_features(features, matrix.shape[1])
    users, items = _examples(matrix)
    met_by = np.asarray(matrix.sum(axis=0)).ravel()
    shape = towers or TowerOptions()
    if not (known.shape[1] or shape.ids):
        raise ValueError("towers must have features or ids; got neither")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        module = Towers(known, met_by, shape).to(device)

    def value() -> float:
        return validate(TwoTower(module, known, LearningCurve())) if validate else 0.0

    def loss(batch: torch.Tensor) -> torch.Tensor:
        met = _dense(matrix[users[batch.numpy()]]).to(device)
        return in_batch_loss(module, met, torch.from_numpy(items)[batch].to(device))

    curve = train(
        module,
        loss,
        len(users),
        options,
        validate=value if validate else None,
        report=report,
        checkpoint=checkpoint,
    )
    return TwoTower(module, known, curve)


def in_batch_loss(
    towers: "Towers", met: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of finding each target among the batch's, corrected by log q.

    Args:
        towers: The module.
        met: (batch, n_items) 1 where a user met an item, the target included.
        targets: (batch,) item codes.
    """
    rows = torch.arange(len(targets), device=targets.device)
    history = met.clone()
    history[rows, targets] = 0
    cosines = towers.users(history) @ towers.items(targets).T  # (batch, batch)
    logits = cosines / towers.options.temperature
    if towers.options.log_q:
        logits = logits - towers.log_q[targets]
    own = torch.eye(len(targets), dtype=torch.bool, device=met.device)
    also_liked = (met[:, targets] > 0) & ~own
    return cross_entropy(logits.masked_fill(also_liked, -torch.inf), rows)


class Towers(torch.nn.Module):
    """Both towers over one catalogue.

    Args:
        features: (n_items, n_features).
        met_by: (n_items,) users of each item.
        options: Shape and loss.
    """

    features: torch.Tensor
    log_q: torch.Tensor

    def __init__(
        self, features: Array, met_by: npt.NDArray[Any], options: TowerOptions
    ) -> None:
        super().__init__()
        self.options = options
        share = np.log(np.maximum(met_by, 1) / met_by.sum(), dtype=np.float32)
        self.register_buffer("features", torch.from_numpy(features), persistent=False)
        self.register_buffer("log_q", torch.from_numpy(share), persistent=False)
        known = torch.from_numpy(met_by > 0)
        self.user_tower = _Tower(features.shape[1], known, options)
        self.item_tower = _Tower(features.shape[1], known, options)

    def users(self, met: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, dim) of histories, (n, n_items) with 1 where met."""
        kept = _thinned(met, self.options.dropout) if self.training else met
        mean = kept / kept.sum(dim=1, keepdim=True).clamp(min=1)
        tower = self.user_tower
        return normalize(tower.head(mean @ tower.embed(self.features)))

    def items(self, rows: Any = ...) -> torch.Tensor:
        """Unit vectors (n, dim) of some items, or of the catalogue."""
        tower = self.item_tower
        return normalize(tower.head(tower.embed(self.features, rows)))


class _Tower(torch.nn.Module):
    def __init__(
        self, n_features: int, known: torch.Tensor, options: TowerOptions
    ) -> None:
        super().__init__()
        dim = options.dim
        self.of_features = torch.nn.Linear(n_features, dim) if n_features else None
        own = torch.randn(len(known), dim) * known[:, None] / dim**0.5
        self.of_item = torch.nn.Parameter(own) if options.ids else None
        self.head: torch.nn.Module = torch.nn.Identity()
        if options.kind == "mlp":
            self.head = _Residual(dim, options.dropout)

    def embed(self, features: torch.Tensor, rows: Any = ...) -> torch.Tensor:
        """Vectors (n, dim) before the head: of features, of ids, or their sum."""
        parts = [] if self.of_features is None else [self.of_features(features[rows])]
        parts += [] if self.of_item is None else [self.of_item[rows]]
        return torch.stack(parts).sum(dim=0)


class _Residual(torch.nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        wide = [torch.nn.Linear(dim, 2 * dim), torch.nn.ReLU()]
        narrow = [torch.nn.Dropout(dropout), torch.nn.Linear(2 * dim, dim)]
        self.hidden = torch.nn.Sequential(*wide, *narrow)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.hidden(vectors)
        return vectors + changed


def _thinned(met: torch.Tensor, part: float) -> torch.Tensor:
    places = tuple(met.nonzero().T)  # few, and so are the draws
    return met.index_put(places, (torch.rand(len(places[0])) >= part).to(met))


def _dense(histories: csr_matrix) -> torch.Tensor:
    return torch.from_numpy((histories.toarray() != 0).astype(np.float32))


def _checked_features(features: npt.ArrayLike | None, n_items: int) -> Array:
    if features is None:
        return np.zeros((n_items, 0), dtype=np.float32)
    table = np.array(features, dtype=np.float32)  # its own copy: torch will hold it
    if table.ndim != 2 or len(table) != n_items:
        raise ValueError(f"features must have {n_items} rows; got {table.shape}")
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).sum())
        raise ValueError(f"features must be finite; got {bad} NaN or infinite")
    return table


def _examples(matrix: csr_matrix) -> tuple[npt.NDArray[np.int64], ...]:
    """Users and items of all interactions that leave a history without themselves."""
    users, items = matrix.nonzero()
    enough = np.asarray(matrix.sum(axis=1)).ravel()[users] >= 2
    if not enough.any():
        raise ValueError(
            f"a user must have met two items; got {matrix.shape[0]} users of fewer"
        )
    return users[enough].astype(np.int64), items[enough].astype(np.int64)
