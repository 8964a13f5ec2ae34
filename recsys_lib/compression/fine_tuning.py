"""Fine-tune an encoder on texts that belong together, or train a head on its vectors.

Two texts belong together if they describe one item, or two items of the same users. In
a batch, each text has to find those that it belongs to among all others (contrastive
learning). The last layers of the encoder are trained, or one linear layer after it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.arguments import positive, whole_number
from recsys_lib.arrays import Float32Array, Float64Array, IntArray
from recsys_lib.artifacts import cache_arrays
from recsys_lib.compression.pruning import bert_of
from recsys_lib.embeddings.pooling import pool_tensors
from recsys_lib.embeddings.tokens import Batching, length_batches, pad, token_ids
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores
from recsys_lib.models.training import TrainingOptions, train

with needs("torch"):
    import torch
    from torch.nn.functional import normalize
    from torch.nn.utils.rnn import pad_sequence

_BATCH = Batching(max_texts=32)  # of texts that are only read
_Read = Callable[[IntArray], torch.Tensor]  # positions of texts to unit vectors


@dataclass(frozen=True, eq=False)
class TextPairs:
    """Texts, and which of them belong together.

    Attributes:
        texts: All of them, those that are only encoded after the training included.
        together: (n_texts, n_texts) sparse, >= 0: how much two texts belong together.
        train: (n, m) positions of texts: m texts of each row are in one batch.
        validation: (n_validation,) positions of texts of other items.
    """

    texts: Sequence[str]
    together: csr_matrix
    train: IntArray
    validation: IntArray

    def __post_init__(self) -> None:
        """Check shapes and positions."""
        n = len(self.texts)
        if self.together.shape != (n, n):
            got = f"got {self.together.shape}"
            raise ValueError(f"together must be ({n}, {n}), as the texts; {got}")
        for name, ndim in {"train": 2, "validation": 1}.items():
            rows = getattr(self, name)
            if rows.ndim != ndim or not rows.size:
                got = f"got shape {rows.shape}"
                raise ValueError(f"{name} must have {ndim} axes and a text; {got}")
            if rows.min() < 0 or rows.max() >= n:
                got = f"got {rows.min()} to {rows.max()}"
                raise ValueError(f"{name} must be positions in {n} texts; {got}")


@dataclass(frozen=True, eq=False)
class Tuned:
    """The vectors of all texts after the training that was best on the validation.

    Attributes:
        vectors: (n_texts, dim) unit vectors.
        losses: (n_settings,) the lowest loss of each setting on the validation texts.
        untrained: That loss before any training.
        cpu_s: Processor time of the training with all settings, on this kind of
            machine.
    """

    vectors: Float32Array
    losses: Float64Array
    untrained: float
    cpu_s: float

    @property
    def best(self) -> int:
        """Number of the setting with the lowest loss."""
        return int(np.argmin(self.losses))


def fine_tune(
    encoder: Encoder,
    pairs: TextPairs,
    settings: Sequence[TrainingOptions],
    *,
    n_layers: int,
    temperature: float = 0.1,
) -> Tuned:
    """Train the last layers of an encoder with each setting; the result is cached.

    What the layers below compute for each text is computed once.

    Args:
        encoder: A BERT on the torch engine, on the CPU; it is not changed.
        pairs: Texts; all are encoded at the end.
        settings: Of the training; the one with the lowest validation loss is used.
        n_layers: Number of layers to train, from the last.
        temperature: The cosines are divided by it in the loss.

    Raises:
        TypeError: If the encoder is not a BERT on the torch engine.
        ValueError: If there is no setting, or fewer layers than n_layers.
        FloatingPointError: If the loss diverges.

    Source: Reimers & Gurevych, EMNLP 2019, arXiv 1908.10084.
    """
    model = bert_of(encoder)
    n_below = len(model.encoder.layer) - whole_number("n_layers", n_layers)
    if n_below < 0:
        got = f"got {n_layers}"
        raise ValueError(f"n_layers must be at most {len(model.encoder.layer)}; {got}")

    def start() -> tuple[torch.nn.Module, _Read]:
        states = _states(encoder, pairs.texts, n_below)
        layers = torch.nn.ModuleList(deepcopy(list(model.encoder.layer[n_below:])))
        return layers, partial(_read, encoder, layers, states)

    weights = [x.detach().float().cpu().numpy() for x in model.state_dict().values()]
    made_of = [weights, encoder.pooling, n_layers, temperature]
    return _best("tuned", made_of, pairs, settings, start, temperature)


def train_head(
    vectors: npt.ArrayLike,
    pairs: TextPairs,
    settings: Sequence[TrainingOptions],
    *,
    temperature: float = 0.1,
) -> Tuned:
    """Train a linear layer after a frozen encoder as `fine_tune` trains its layers.

    The layer starts as the identity. The result is cached.

    Args:
        vectors: (n_texts, dim) of the texts, such as of the encoder or of a control.
        pairs: As of `fine_tune`.
        settings: As of `fine_tune`.
        temperature: As of `fine_tune`.

    Raises:
        ValueError: If there is not one finite vector per text, or there is no setting.
        FloatingPointError: If the loss diverges.

    >>> groups = np.arange(64) // 2
    >>> noise = np.random.default_rng(0).normal(size=(64, 8))
    >>> signal = np.random.default_rng(1).normal(size=(32, 8))[groups]
    >>> together = csr_matrix(groups[:, None] == groups)
    >>> rows = np.arange(64).reshape(32, 2)
    >>> texts = TextPairs([""] * 64, together, rows[:24], rows[24:].ravel())
    >>> head = train_head(np.hstack([signal, 2 * noise]), texts, [TrainingOptions(40)])
    >>> bool(head.losses[0] < head.untrained)
    True
    """
    table = np.asarray(vectors, dtype=np.float32)
    if table.ndim != 2 or len(table) != len(pairs.texts):
        wanted = f"vectors must be ({len(pairs.texts)}, dim), as the texts"
        raise ValueError(f"{wanted}; got shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"vectors must be finite; got shape {table.shape} with NaN")

    def start() -> tuple[torch.nn.Module, _Read]:
        given = torch.from_numpy(table)
        layer = torch.nn.Linear(table.shape[1], table.shape[1])
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        return layer, lambda rows: normalize(layer(given[torch.from_numpy(rows)]))

    made_of = [table, temperature]
    return _best("heads", made_of, pairs, settings, start, temperature)


def contrastive_loss(
    vectors: torch.Tensor, together: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of finding, for each text, those that it belongs to.

    Args:
        vectors: (n, dim) unit vectors of a batch.
        together: (n, n) >= 0: how much two of them belong together. The diagonal does
            not count, nor does a text that belongs to no other of the batch.
        temperature: The cosines are divided by it.

    Source: Oord et al., 2018, arXiv 1807.03748.

    >>> a, b, c = [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]
    >>> pair = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    >>> round(contrastive_loss(torch.tensor([a, b, c]), pair, 1.0).item(), 4)
    0.3133
    """
    own = torch.eye(len(vectors), dtype=torch.bool)
    wanted = together.masked_fill(own, 0)
    rows = wanted.sum(dim=1) > 0
    if not rows.any():
        return (vectors * 0).sum()
    logits = (vectors @ vectors.T / temperature).masked_fill(own, -1e9)
    shares = wanted[rows] / wanted[rows].sum(dim=1, keepdim=True)
    return -(shares * logits[rows].log_softmax(dim=1)).sum(dim=1).mean()


def _best(
    kind: str,
    made_of: Sequence[object],
    pairs: TextPairs,
    settings: Sequence[TrainingOptions],
    start: Callable[[], tuple[torch.nn.Module, _Read]],
    temperature: float,
) -> Tuned:
    """Train with each setting, or read from the cache what was trained before."""
    positive("temperature", temperature)
    if not settings:
        raise ValueError("settings must hold a setting; got none")
    together = csr_matrix(pairs.together, dtype=np.float32)

    def loss(read: _Read, rows: IntArray) -> torch.Tensor:
        some = np.unique(rows)
        wanted = torch.from_numpy(together[some][:, some].toarray())
        return contrastive_loss(read(some), wanted, temperature)

    @_all_cores()
    def make() -> list[npt.ArrayLike]:
        began = time.process_time()
        model, read = start()
        loss_of = partial(loss, read)
        first, losses, best = deepcopy(model.state_dict()), [np.inf], model.state_dict()
        with torch.inference_mode():
            untrained = loss_of(pairs.validation).item()
        for options in settings:
            model.load_state_dict(first)
            lowest = _lowest_loss(model, loss_of, pairs, options)
            if lowest < min(losses):
                best = deepcopy(model.state_dict())
            losses.append(lowest)
        model.load_state_dict(best)
        cpu_s = time.process_time() - began
        return [_vectors(read, len(pairs.texts)), losses[1:], [untrained, cpu_s]]

    parts = [together.indptr, together.indices, together.data]
    inputs = [*made_of, list(pairs.texts), *parts, pairs.train, pairs.validation]
    inputs += [asdict(options) for options in settings]
    vectors, losses, notes = cache_arrays(kind, inputs, make).arrays
    return Tuned(vectors, losses, *notes.tolist())


def _lowest_loss(
    model: torch.nn.Module,
    loss: Callable[[IntArray], torch.Tensor],
    pairs: TextPairs,
    options: TrainingOptions,
) -> float:
    """Train a model with one setting; return its lowest loss on the validation."""
    curve = train(
        model,
        lambda batch: loss(pairs.train[batch.numpy()]),
        len(pairs.train),
        options,
        validate=lambda: loss(pairs.validation).item(),
    )
    return min(curve.validation)


@torch.inference_mode()
def _states(
    encoder: Encoder, texts: Sequence[str], n_layers: int
) -> list[torch.Tensor]:
    """Hidden states (length, dim) of each text after the first layers."""
    model, ids = bert_of(encoder), token_ids(encoder.tokenizer, texts)
    states = dict[int, torch.Tensor]()
    for rows in length_batches([len(x) for x in ids], _BATCH):
        tokens = pad([ids[i] for i in rows], encoder.pad_id)
        hidden = model.embeddings(input_ids=torch.from_numpy(tokens.ids))
        mask = torch.from_numpy(tokens.mask)
        hidden = _run(model.encoder.layer[:n_layers], hidden, mask)
        of_texts = zip(rows, hidden, strict=True)
        states |= {i: state[: len(ids[i])].clone() for i, state in of_texts}
    return [states[i] for i in range(len(ids))]


def _read(
    encoder: Encoder, layers: Any, states: Sequence[torch.Tensor], rows: IntArray
) -> torch.Tensor:
    """Unit vectors of some texts, by the layers that are trained."""
    some = [states[i] for i in rows]
    lengths = torch.tensor([len(x) for x in some])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    hidden = _run(layers, pad_sequence(some, batch_first=True), mask)
    return pool_tensors(hidden, mask, encoder.pooling, encoder.layers)


def _run(layers: Any, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Run layers of a BERT on hidden states (n, length, dim) that fill the mask."""
    allowed = mask.bool()[:, None, None, :]
    for layer in layers:
        found = layer(hidden, attention_mask=allowed)
        hidden = found if isinstance(found, torch.Tensor) else found[0]
    return hidden


@torch.inference_mode()
def _vectors(read: _Read, n_texts: int) -> Float32Array:
    """Unit vectors of all texts."""
    parts = np.array_split(np.arange(n_texts), -(-n_texts // 32))
    return np.concatenate([read(rows).numpy() for rows in parts])


@contextmanager
def _all_cores() -> Iterator[None]:
    """Use all cores for a product; the number of threads is as before at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
