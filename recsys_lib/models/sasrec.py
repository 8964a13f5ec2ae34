"""SASRec: causal self-attention over the order of a history, trained in PyTorch.

The other models of this package read a history as a set. This one reads it as a
sequence: the value of an entry is its time, or any number that rises with time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.arrays import Float32Array
from recsys_lib.artifacts import cache_arrays
from recsys_lib.extras import needs
from recsys_lib.models.history_model import (
    checked_features,
    checked_histories,
    checked_interactions,
)
from recsys_lib.models.training import TrainingOptions, train

with needs("torch"):
    import torch
    from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class SasRecOptions:
    """The architecture.

    Attributes:
        dim: Width of the item vectors and of the layers, a multiple of `heads`.
        layers: Blocks of attention and feed-forward.
        heads: Attention heads of a block.
        length: Items of a history that are read: the latest, >= 2.
        dropout: Fraction of activations dropped in training.

    Raises:
        ValueError: If an option is out of its range.
    """

    dim: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 50
    dropout: float = 0.2

    def __post_init__(self) -> None:
        rules = {
            "layers and heads must be at least 1": min(self.layers, self.heads) >= 1,
            "dim must be a multiple of heads": self.dim >= 1
            and self.dim % max(self.heads, 1) == 0,
            "length must be at least 2": self.length >= 2,
            "dropout must lie in [0, 1)": 0 <= self.dropout < 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"{rule}; got {self}")


class SasRec(torch.nn.Module):
    """Item vectors, and attention from each place of a history to those before it.

    Args:
        start: (n_items, dim) item vectors before the training.
        options: The architecture.
    """

    def __init__(self, start: torch.Tensor, options: SasRecOptions) -> None:
        super().__init__()
        self._length = options.length
        dim = options.dim
        self.item_vectors = torch.nn.Parameter(start.clone())
        self.places = torch.nn.Parameter(torch.randn(options.length, dim) / dim**0.5)
        self.dropout = torch.nn.Dropout(options.dropout)
        blocks = [
            torch.nn.TransformerEncoderLayer(
                dim, options.heads, dim, options.dropout, "gelu", norm_first=True,
                batch_first=True,
            )
            for _ in range(options.layers)
        ]  # fmt: skip
        self.blocks = torch.nn.ModuleList(blocks)
        self.norm = torch.nn.LayerNorm(dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """States (n, length, dim) after each item; items (n, length), -1 at the end."""
        length = items.shape[1]
        vectors = (
            self.item_vectors[items.clamp(min=0)] * self.norm.weight.numel() ** 0.5
        )
        hidden = self.dropout(vectors + self.places[:length])
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        for block in self.blocks:
            hidden = block(hidden, src_mask=later)
        states: torch.Tensor = self.norm(hidden)
        return states

    @torch.no_grad()
    def score(self, histories: csr_matrix) -> Float32Array:
        """Score as `HistoryModel.score` does; zeros for an empty history.

        Args:
            histories: (n, n_items) sparse. Values rise with time; equal values are in
                the order of the items.
        """
        rows = checked_histories(histories, len(self.item_vectors))
        scores = np.zeros(rows.shape, dtype=np.float32)
        full = np.flatnonzero(np.diff(rows.indptr))
        for part in np.array_split(full, -(-len(full) // 256) or 1):
            if len(part):
                read = [x[-self._length :] for x in item_sequences(rows[part])]
                states = self(_padded(read))
                ends = torch.tensor([len(x) - 1 for x in read])
                last = states[torch.arange(len(read)), ends]
                scores[part] = (last @ self.item_vectors.T).numpy()
        return scores


def fit_sasrec(
    interactions: csr_matrix,
    training: TrainingOptions,
    *,
    start: npt.ArrayLike | None = None,
    options: SasRecOptions | None = None,
) -> SasRec:
    """Train to predict the next item at each place of each history.

    An example is a user with at least two items, of whom each epoch reads one window at
    a random place. The loss is the cross-entropy over the whole catalogue, without
    sampled negatives. Trained weights are cached.

    Args:
        interactions: (n_users, n_items) sparse; values rise with time.
        training: Of the training.
        start: (n_items, dim) item vectors to start from, such as principal axes of text
            vectors; random if None.
        options: The default `SasRecOptions` if None.

    Raises:
        ValueError: If no user has two items, or `start` has another shape or is not
            finite.
        FloatingPointError: If the loss diverges.

    Source: Kang & McAuley, ICDM 2018.

    >>> steps = csr_matrix([[1, 2, 3], [1, 2, 3], [3, 1, 2]])
    >>> training = TrainingOptions(epochs=60, learning_rate=0.02)
    >>> shape = SasRecOptions(dim=8, length=3, dropout=0.0)
    >>> model = fit_sasrec(steps, training, options=shape)
    >>> model.score(csr_matrix([[1, 0, 0], [0, 1, 0]])).argmax(axis=1).tolist()
    [1, 2]
    """
    seen, shape = checked_interactions(interactions), options or SasRecOptions()
    sequences = [x for x in item_sequences(seen) if len(x) > 1]
    if not sequences:
        raise ValueError(f"a user must have two items; got {seen.shape[0]} with fewer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        first = torch.randn(seen.shape[1], shape.dim) / shape.dim**0.5
        if start is not None:
            given = checked_features(start, seen.shape[1], name="start")
            if given.shape[1] != shape.dim:
                raise ValueError(
                    f"start must have {shape.dim} columns; got {given.shape[1]}"
                )
            first = torch.from_numpy(given.astype(np.float32))
        model = SasRec(first, shape)
    names = list(model.state_dict())

    def weights() -> list[npt.NDArray[np.float32]]:
        train(model, _next_item_loss(model, sequences, shape), len(sequences), training)
        return [value.numpy() for value in model.state_dict().values()]

    inputs = [seen.indptr, seen.indices, seen.data, first.numpy()]
    inputs += [vars(shape), vars(training)]
    trained = cache_arrays("sasrec", inputs, weights).arrays
    found = zip(names, map(torch.from_numpy, trained), strict=True)
    model.load_state_dict(dict(found))
    return model.eval()


def item_sequences(histories: csr_matrix) -> list[npt.NDArray[np.int64]]:
    """Items of each row in the order of their values, ties in the order of the items.

    >>> [x.tolist() for x in item_sequences(csr_matrix([[3, 0, 1], [0, 2, 0]]))]
    [[2, 0], [1]]
    """
    rows = csr_matrix(histories, copy=True)
    rows.eliminate_zeros()
    rows.sort_indices()
    ends = rows.indptr[1:-1]
    pairs = zip(np.split(rows.indices, ends), np.split(rows.data, ends), strict=True)
    return [x[np.argsort(t, kind="stable")].astype(np.int64) for x, t in pairs]


def _next_item_loss(  # type: ignore[no-untyped-def]
    model: SasRec, sequences: list[npt.NDArray[np.int64]], options: SasRecOptions
):
    def loss(batch: torch.Tensor) -> torch.Tensor:
        window = options.length + 1  # inputs and, one place later, targets
        chosen = [sequences[i] for i in batch.tolist()]
        places = torch.rand(len(chosen)).tolist()
        starts = [
            int(place * (max(len(x) - window, 0) + 1))
            for x, place in zip(chosen, places, strict=True)
        ]
        cut = [x[s : s + window] for x, s in zip(chosen, starts, strict=True)]
        items = _padded(cut)
        targets = items[:, 1:]
        real = targets >= 0
        logits = model(items[:, :-1])[real] @ model.item_vectors.T
        return cross_entropy(logits, targets[real])

    return loss


def _padded(sequences: list[npt.NDArray[np.int64]]) -> torch.Tensor:
    """(n, longest) int64, -1 after the end of each sequence."""
    parts = [torch.from_numpy(x) for x in sequences]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)
