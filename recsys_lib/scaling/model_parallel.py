"""One encoder split over processes: texts, parts of each layer, or layers divided.

- data: every rank holds the whole model and encodes a share of the texts;
- tensor: every rank holds a share of the heads and hidden columns of each layer; two
  all-reduces a layer add up the parts (Megatron-LM, arXiv 1909.08053);
- layer: every rank holds some of the layers, and the texts pass from rank to rank;
- pipeline: the same in micro-batches, so that the ranks work at once (GPipe, arXiv
  1811.06965).

A request starts on rank 0, and its vectors end there. Each rank reads the whole model
before it takes its share: here it is time that is split, not memory.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import linear

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.engines.torch import (
    load_torch_network,
    random_torch_network,
)
from recsys_lib.embeddings.pooling import pool_tensors
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import load_tokenizer, pad, token_ids
from recsys_lib.scaling.process_group import rank_device, run_ranks, timed_together

Way = Literal["data", "tensor", "layer", "pipeline"]

WARMUP_ROUNDS = 2
_DEFAULTS = {"num_attention_heads": 12, "num_hidden_layers": 12}  # of BertConfig
BOUND = 1e-5  # of a component of a unit vector, split against whole, in float32


@dataclass(frozen=True)
class WaysTimes:
    """Measured seconds from the request on rank 0 to its vectors there.

    Attributes:
        n_processes: Ranks that the model was split over.
        batch: Texts in the batch.
        batch_s: By way, and "whole" for one process alone: (repeats,) for the batch.
        single_s: The same for its first text alone.
        max_error: By way, the largest difference of a component from the whole model's.
    """

    n_processes: int
    batch: int
    batch_s: dict[str, NDArray[np.float64]]
    single_s: dict[str, NDArray[np.float64]]
    max_error: dict[str, float]


def encode_split(
    texts: Sequence[str], *, way: Way, n_processes: int = 2, **options: Any
) -> Float32Array:
    """Embed texts with one encoder split over new processes.

    Args:
        texts: Some; they run as one batch of 128 tokens a text at most.
        way: How the work is divided.
        n_processes: Ranks, >= 1; has to divide the heads ("tensor") or be at most the
            layers ("layer", "pipeline").
        **options: As of `measure_ways`: dimensions, micro_batches, timeout_s, device.

    Returns:
        (n, dim) unit vectors, within `BOUND` of the whole model's.

    Raises:
        ValueError: If an argument is out of its range.
        RuntimeError, TimeoutError: As of `run_ranks`: a rank died, say.

    >>> small = {"num_hidden_layers": 1, "hidden_size": 24}
    >>> encode_split(["a film"], way="data", n_processes=1, dimensions=small).shape
    (1, 24)
    """
    if way not in get_args(Way):
        raise ValueError(f"way must be one of {get_args(Way)}; got {way!r}")
    found: Float32Array = _run(_encode_rank, texts, n_processes, [way], **options)
    return found


def measure_ways(
    texts: Sequence[str],
    *,
    n_processes: int = 2,
    repeats: int = 10,
    **options: Any,
) -> WaysTimes:
    """Time one encoder whole and split in every way: a batch, and one text alone.

    Every repeat times each of them once, in turn, all ranks starting from a barrier.

    Args:
        texts: The batch, of one text or more.
        n_processes: Ranks, >= 1, as of `encode_split` for every way.
        repeats: Times each is measured, after two rounds of warm-up; >= 1.
        **options: `dimensions` of random weights, as `BertConfig` calls them (None: the
            carried all-MiniLM-L6-v2); `micro_batches` of "pipeline" (4); `timeout_s`
            until everything is given up (120); `device`, "cpu" or "cuda".

    Raises:
        ValueError: If an argument is out of its range.
        RuntimeError, TimeoutError: As of `run_ranks`.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be >= 1; got {repeats}")
    ways = list(get_args(Way))
    measured = _run(_measure_rank, texts, n_processes, ways, repeats, **options)
    return WaysTimes(n_processes, len(texts), *measured)


def _run(
    work: Any,
    texts: Sequence[str],
    n_processes: int,
    ways: Sequence[Way],
    *arguments: object,
    dimensions: Mapping[str, int] | None = None,
    micro_batches: int = 4,
    timeout_s: float = 120.0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Any:
    if isinstance(texts, str) or not len(texts) or micro_batches < 1:
        got = f"got {texts!r:.40} and {micro_batches}"
        raise ValueError(f"texts must be some, micro_batches >= 1; {got}")
    carried = json.loads((minilm_folder() / "config.json").read_text())
    sizes = carried if dimensions is None else {**_DEFAULTS, **dimensions}
    heads, layers = sizes["num_attention_heads"], sizes["num_hidden_layers"]
    if "tensor" in ways and heads % max(n_processes, 1):
        raise ValueError(f"n_processes must divide {heads} heads; got {n_processes}")
    if {"layer", "pipeline"} & {*ways} and n_processes > layers:
        raise ValueError(f"n_processes must be <= {layers} layers; got {n_processes}")
    task = (dimensions, micro_batches, list(texts), list(ways), *arguments)
    options: dict[str, Any] = {"timeout_s": timeout_s, "device": device}
    return run_ranks(work, *task, n_processes=n_processes, **options)[0]


def _encode_rank(rank: int, *task: Any) -> Float32Array:
    dimensions, micro_batches, texts, (way,) = task
    split = _Split.load(dimensions, micro_batches)
    return np.asarray(split.run(way, *split.tokens(texts)).cpu().numpy())


def _measure_rank(rank: int, *task: Any) -> Any:
    dimensions, micro_batches, texts, ways, repeats = task
    split = _Split.load(dimensions, micro_batches)
    names, requests = ["whole", *ways], [split.tokens(x) for x in (texts, texts[:1])]
    rounds = [
        [
            [timed_together(partial(split.run, x, *request)) for x in names]
            for request in requests
        ]
        for _ in range(WARMUP_ROUNDS + repeats)
    ]
    seconds = np.array(rounds[WARMUP_ROUNDS:])  # (repeats, batch or single, ways)
    batch_s, single_s = (dict(zip(names, seconds[:, i].T, strict=True)) for i in (0, 1))
    vectors = {name: split.run(name, *requests[0]) for name in names}
    if rank:
        return None
    errors = {x: float((vectors[x] - vectors["whole"]).abs().max()) for x in ways}
    return batch_s, single_s, errors


@dataclass(frozen=True, eq=False)
class _Split:
    """What a rank holds of the model, and the ways to run it with the others."""

    model: Any
    micro_batches: int

    @classmethod
    def load(cls, dimensions: Mapping[str, int] | None, micro_batches: int) -> "_Split":
        options: Any = {"device": str(rank_device()), "precision": "float32"}
        if dimensions is None:
            network = load_torch_network(minilm_folder(), **options)
        else:
            network = random_torch_network(dimensions, seed=0, **options)
        return cls(network.model, micro_batches)

    def tokens(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = pad(token_ids(load_tokenizer(minilm_folder(), 128), texts), 0)
        to = rank_device()
        return torch.from_numpy(batch.ids).to(to), torch.from_numpy(batch.mask).to(to)

    @torch.inference_mode()
    def run(self, way: str, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, dim) on rank 0; anything on the others."""
        if way == "whole":
            return ids if dist.get_rank() else self._encode(self.model, ids, mask)
        request = torch.stack([ids, mask])
        dist.broadcast(request, 0)
        ids, mask = request
        if way == "data":
            return self._data(ids, mask)
        if way == "tensor":
            return self._encode(self._shared, ids, mask)
        n = min(self.micro_batches if way == "pipeline" else 1, len(ids))
        return self._pass_on(ids.tensor_split(n), mask.tensor_split(n))

    def _data(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rank, n = dist.get_rank(), dist.get_world_size()
        vectors = torch.zeros(len(ids), self.model.config.hidden_size).to(ids.device)
        own, ids, mask = (x.tensor_split(n)[rank] for x in (vectors, ids, mask))
        if len(own):
            own.copy_(self._encode(self.model, ids, mask))
        dist.reduce(vectors, 0)
        return vectors

    def _pass_on(
        self, ids: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        rank, n = dist.get_rank(), dist.get_world_size()
        results, messages = [], []  # a tensor has to live until it is sent
        for part in zip(ids, masks, strict=True):
            results.append(self._stage(*part))
            if n > 1:
                messages.append(dist.isend(results[-1], (rank + 1) % n))
        if rank == 0 and n > 1:
            results = [self._received(n - 1, len(x)) for x in ids]
        for message in filter(None, messages):
            message.wait()
        return torch.cat(results)

    def _stage(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run this rank's layers on what the rank before sends."""
        rank, n = dist.get_rank(), dist.get_world_size()
        if rank == 0:
            hidden = self.model.embeddings(input_ids=ids)
        else:
            hidden = self._received(rank - 1, *ids.shape)
        allowed = None if mask.all() else mask[:, None, None].bool()
        for i in np.array_split(np.arange(len(self.model.encoder.layer)), n)[rank]:
            hidden = self.model.encoder.layer[i](hidden, allowed)
        return pool_tensors(hidden, mask) if rank == n - 1 else hidden

    def _received(self, sender: int, *shape: int) -> torch.Tensor:
        dim = self.model.config.hidden_size
        hidden = torch.empty(*shape, dim, device=rank_device())
        dist.recv(hidden, sender)
        return hidden

    @staticmethod
    def _encode(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return pool_tensors(hidden, mask)

    @cached_property
    def _shared(self) -> Any:
        """The model with this rank's share of each layer."""
        model = copy.deepcopy(self.model)
        for layer in model.encoder.layer:
            attention = layer.attention
            for name in ("query", "key", "value"):
                setattr(attention.self, name, _rows(getattr(attention.self, name)))
            layer.intermediate.dense = _rows(layer.intermediate.dense)
            for block in (attention.output, layer.output):
                block.dense = _Columns(block.dense)
        return model


def _own(weight: torch.Tensor, dim: int) -> torch.Tensor:
    return weight.tensor_split(dist.get_world_size(), dim)[dist.get_rank()].contiguous()


def _rows(whole: nn.Linear) -> nn.Linear:
    """A rank's share of the outputs: of the heads, if they divide."""
    share = copy.deepcopy(whole)
    share.weight = nn.Parameter(_own(whole.weight, 0))
    share.bias = nn.Parameter(_own(whole.bias, 0))
    return share


class _Columns(nn.Module):
    """A rank's share of the inputs; the parts of all ranks are added."""

    def __init__(self, whole: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(_own(whole.weight, 1))
        self.bias = whole.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = linear(x, self.weight)
        dist.all_reduce(part)
        return part + self.bias
