"""Two towers: networks that embed users and items in one space, trained in PyTorch.

Each tower computes an item's vector from its features, from a vector of its own, or
from both. A user's vector is computed from the mean over the history. So new users, and
new items that have features, need no training.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.arrays import Float32Array, IntArray
from recsys_lib.extras import needs
from recsys_lib.models.history_model import (
    checked_features,
    checked_histories,
    checked_interactions,
)
from recsys_lib.models.training import TrainingOptions, train

with needs("torch"):
    import torch
    from torch.nn.functional import cross_entropy, normalize


_TEMPERATURE = 0.1  # the cosines are divided by it in the loss


@dataclass(frozen=True)
class TowerOptions:
    """The architecture of both towers.

    Attributes:
        kind: "linear", or "mlp": a hidden layer after the mean.
        dim: Dimension of the common space.
        ids: Whether each item has a vector of its own, which is 0 for an item without
            interactions.
        dropout: Fraction of a history, and of a hidden layer, dropped in training.

    Raises:
        ValueError: If an option is out of its range.
    """

    kind: Literal["linear", "mlp"] = "linear"
    dim: int = 64
    ids: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "kind must be linear or mlp": self.kind in ("linear", "mlp"),
            "dim must be at least 1": self.dim >= 1,
            "dropout must lie in [0, 1)": 0 <= self.dropout < 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"{rule}; got {self}")


class TwoTower(torch.nn.Module):
    """A user tower and an item tower over one catalogue; scores are cosines.

    Args:
        features: (n_items, n_features), with 0 columns if only ids are used.
        n_users: (n_items,) users who interacted with each item.
        options: The architecture.
    """

    features: torch.Tensor
    log_q: torch.Tensor

    def __init__(
        self, features: Float32Array, n_users: npt.NDArray[Any], options: TowerOptions
    ) -> None:
        super().__init__()
        self._dropout = options.dropout
        share = np.log(np.maximum(n_users, 1) / n_users.sum(), dtype=np.float32)
        self.register_buffer("features", torch.from_numpy(features), persistent=False)
        self.register_buffer("log_q", torch.from_numpy(share), persistent=False)
        warm = torch.from_numpy(n_users > 0)
        self.user_tower = _Tower(features.shape[1], warm, options)
        self.item_tower = _Tower(features.shape[1], warm, options)

    @torch.no_grad()
    def score(self, histories: csr_matrix) -> Float32Array:
        """Score as `HistoryModel.score` does: cosines; zeros for an empty history."""
        seen = _dense(checked_histories(histories, len(self.features)))
        users = self.users(seen) * seen.any(dim=1, keepdim=True)
        return np.asarray(users.numpy() @ self.items().numpy().T)

    def users(self, seen: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, dim) of histories, (n, n_items) of zeros and ones."""
        used = _dropped(seen, self._dropout) if self.training else seen
        mean = used / used.sum(dim=1, keepdim=True).clamp(min=1)
        tower = self.user_tower
        return normalize(tower.head(mean @ tower.embed(self.features)))

    def items(self, rows: Any = ...) -> torch.Tensor:
        """Unit vectors (n, dim) of some items, or of the whole catalogue."""
        tower = self.item_tower
        return normalize(tower.head(tower.embed(self.features, rows)))


def fit_two_tower(
    interactions: csr_matrix,
    features: npt.ArrayLike | None,
    options: TrainingOptions,
    *,
    towers: TowerOptions | None = None,
) -> TwoTower:
    """Train both towers to find each item of a history from the rest of it.

    The negatives are the other items of the batch that are not in the history.

    Args:
        interactions: (n_users, n_items) sparse; only which entries are non-zero counts.
        features: (n_items, n_features) of all items, such as text embeddings or
            metadata; None for ids alone.
        options: Of the training. An example is an interaction of a user who has at
            least two.
        towers: The default `TowerOptions` if None.

    Raises:
        ValueError: If there is neither feature nor id, no user has two items, or an
            array is empty, not finite or of the wrong shape.
        FloatingPointError: If the loss diverges.

    Source: Yi et al., RecSys 2019, doi 10.1145/3298689.3346996.

    >>> likes = csr_matrix([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    >>> options = TrainingOptions(epochs=60, learning_rate=0.05)
    >>> model = fit_two_tower(likes, None, options)
    >>> model.score(csr_matrix([[1, 0, 0, 0], [0, 0, 0, 1]])).argmax(axis=1).tolist()
    [1, 2]
    """
    seen = checked_interactions(interactions) != 0
    n_items, shape = seen.shape[1], towers or TowerOptions()
    given = np.empty((n_items, 0)) if features is None else features
    table = checked_features(given, n_items).astype(np.float32)
    if not (table.shape[1] or shape.ids):
        raise ValueError("towers must have features or ids; got neither")
    users, items = _examples(seen)
    n_users = np.asarray(seen.sum(axis=0)).ravel()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = TwoTower(table, n_users, shape)

    def loss(batch: torch.Tensor) -> torch.Tensor:
        histories = _dense(seen[users[batch.numpy()]])
        return in_batch_loss(model, histories, torch.from_numpy(items)[batch])

    train(model, loss, len(users), options)
    return model


def in_batch_loss(
    model: TwoTower, histories: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of finding each target among the targets of the batch.

    The log of how often an item is a negative (log q) is subtracted from its logits, so
    that popular items are not penalised for being frequent negatives.

    Args:
        model: The towers.
        histories: (batch, n_items), 1 for an item of the user, the target included.
        targets: (batch,) item codes.
    """
    rows = torch.arange(len(targets))
    rest = histories.clone()
    rest[rows, targets] = 0
    cosines = model.users(rest) @ model.items(targets).T  # (batch, batch)
    logits = cosines / _TEMPERATURE - model.log_q[targets]
    own = torch.eye(len(targets), dtype=torch.bool)
    also_liked = (histories[:, targets] > 0) & ~own
    return cross_entropy(logits.masked_fill(also_liked, -torch.inf), rows)


class _Tower(torch.nn.Module):
    def __init__(
        self, n_features: int, warm: torch.Tensor, options: TowerOptions
    ) -> None:
        super().__init__()
        dim = options.dim
        self.of_features = torch.nn.Linear(n_features, dim) if n_features else None
        own = torch.randn(len(warm), dim) * warm[:, None] / dim**0.5
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


def _dropped(seen: torch.Tensor, fraction: float) -> torch.Tensor:
    """Drop a fraction of the entries; a random number per entry, not per cell."""
    entries = tuple(seen.nonzero().T)
    return seen.index_put(entries, (torch.rand(len(entries[0])) >= fraction).to(seen))


def _dense(histories: csr_matrix) -> torch.Tensor:
    return torch.from_numpy((histories.toarray() != 0).astype(np.float32))


def _examples(seen: csr_matrix) -> tuple[IntArray, IntArray]:
    """Users and items of the interactions of users who have at least two."""
    users, items = seen.nonzero()
    enough = np.asarray(seen.sum(axis=1)).ravel()[users] >= 2
    if not enough.any():
        got = f"got {seen.shape[0]} users with fewer"
        raise ValueError(f"a user must have two items; {got}")
    return users[enough].astype(np.int64), items[enough].astype(np.int64)
