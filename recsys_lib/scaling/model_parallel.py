"""One encoder split over processes, in four ways.

- data: each process has the whole model and encodes a share of the texts;
- tensor: each process has a share of the heads and hidden columns of every layer, and
  two all-reduces per layer add the partial outputs (Megatron-LM, arXiv 1909.08053);
- layer: each process has some of the layers, and the texts pass from one to the next;
- pipeline: the same in micro-batches, so that the processes work at the same time
  (GPipe, arXiv 1811.06965).

A request starts in process 0, and its vectors end there. Each process loads the whole
model before it takes its share: what is split here is time, not memory.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from recsys_lib.arrays import Float64Array
from recsys_lib.embeddings.engines.torch import load_network
from recsys_lib.embeddings.pooling import unit_means
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import load_tokenizer, pad, token_ids
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
    from torch.nn.functional import linear


WAYS = ("data", "tensor", "layer", "pipeline")
MICRO_BATCHES = 4  # of "pipeline"
TOLERANCE = 1e-5  # largest difference of a component, split against whole, in float32
_HEADS, _LAYERS = 12, 6  # of all-MiniLM-L6-v2


@dataclass(frozen=True)
class WaysTimes:
    """Measured seconds from the request in process 0 to its vectors there.

    Attributes:
        batch_s: (repeats,) for the batch, by way; "whole" is one process alone.
        single_s: The same for the first text of the batch alone.
        max_error: By way, the largest difference of a component from "whole".
    """

    batch_s: dict[str, Float64Array]
    single_s: dict[str, Float64Array]
    max_error: dict[str, float]


def measure_ways(
    texts: Sequence[str],
    *,
    n_processes: int = 2,
    repeats: int = 10,
    device: Device = "cpu",
) -> WaysTimes:
    """Time all-MiniLM-L6-v2 whole and split in every way: for a batch and one text.

    Args:
        texts: The batch, one text or more; the first 128 tokens of each are used.
        n_processes: Processes that share the work: a divisor of its 12 heads, and at
            most its 6 layers.
        repeats: Rounds in which each is measured once, >= 1.
        device: As in `run_processes`.

    Raises:
        ValueError: If an argument is out of its range.
        RuntimeError, TimeoutError: As in `run_processes`.
    """
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"texts must be one or more; got {texts!r:.40}")
    if repeats < 1:
        raise ValueError(f"repeats must be >= 1; got {repeats}")
    if n_processes > _LAYERS or _HEADS % max(n_processes, 1):
        needed = f"divide {_HEADS} heads and be <= {_LAYERS} layers"
        raise ValueError(f"n_processes must {needed}; got {n_processes}")
    work = (_measure, [*texts], repeats)
    return run_processes(*work, n_processes=n_processes, device=device)[0]


def _measure(process: int, texts: list[str], repeats: int) -> WaysTimes:
    encoder, names = _SplitEncoder.load(), ["whole", *WAYS]
    requests = [encoder.tokens(texts), encoder.tokens(texts[:1])]
    tasks = [partial(encoder.run, x, *request) for request in requests for x in names]
    seconds = measure_together(tasks, repeats=repeats)
    vectors = {name: encoder.run(name, *requests[0]) for name in names}
    errors = {}
    if process == 0:
        whole = vectors["whole"]
        errors = {x: float((vectors[x] - whole).abs().max()) for x in WAYS}
    batch_s, single_s = seconds[: len(names)], seconds[len(names) :]
    return WaysTimes(
        dict(zip(names, batch_s, strict=True)),
        dict(zip(names, single_s, strict=True)),
        errors,
    )


@dataclass(frozen=True, eq=False)
class _SplitEncoder:
    """The encoder in one process, which runs it together with the other processes."""

    model: Any

    @classmethod
    def load(cls) -> "_SplitEncoder":
        to = str(process_device())
        return cls(load_network(minilm_folder(), device=to, precision="float32").model)

    def tokens(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = pad(token_ids(load_tokenizer(minilm_folder(), 128), texts), 0)
        to = process_device()
        return torch.from_numpy(batch.ids).to(to), torch.from_numpy(batch.mask).to(to)

    @torch.inference_mode()
    def run(self, way: str, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, dim) in process 0; in the others the result has no use."""
        if way == "whole":
            return ids if dist.get_rank() else _encode(self.model, ids, mask)
        request = torch.stack([ids, mask])
        dist.broadcast(request, 0)
        ids, mask = request
        if way == "data":
            return self._data(ids, mask)
        if way == "tensor":
            return _encode(self._shared, ids, mask)
        n = min(MICRO_BATCHES if way == "pipeline" else 1, len(ids))
        return self._pass_on(ids.tensor_split(n), mask.tensor_split(n))

    def _data(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        vectors = torch.zeros(len(ids), self.model.config.hidden_size).to(ids.device)
        own = own_part(vectors)  # a view
        if len(own):
            own.copy_(_encode(self.model, own_part(ids), own_part(mask)))
        dist.reduce(vectors, 0)
        return vectors

    def _pass_on(
        self, ids: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        process, n = dist.get_rank(), dist.get_world_size()
        results, messages = [], []  # a tensor must stay alive until it is sent
        for part in zip(ids, masks, strict=True):
            results.append(self._stage(*part))
            if n > 1:
                messages.append(dist.isend(results[-1], (process + 1) % n))
        if process == 0 and n > 1:
            results = [self._received(n - 1, len(x)) for x in ids]
        for message in filter(None, messages):
            message.wait()
        return torch.cat(results)

    def _stage(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the layers of this process on the output of the process before."""
        process, n = dist.get_rank(), dist.get_world_size()
        if process == 0:
            hidden = self.model.embeddings(input_ids=ids)
        else:
            hidden = self._received(process - 1, *ids.shape)
        allowed = None if mask.all() else mask[:, None, None].bool()
        for i in own_part(torch.arange(_LAYERS)).tolist():
            hidden = self.model.encoder.layer[i](hidden, allowed)
        return unit_means(hidden, mask) if process == n - 1 else hidden

    def _received(self, sender: int, *shape: int) -> torch.Tensor:
        dim = self.model.config.hidden_size
        hidden = torch.empty(*shape, dim, device=process_device())
        dist.recv(hidden, sender)
        return hidden

    @cached_property
    def _shared(self) -> Any:
        """The model with the share of each layer that belongs to this process."""
        model = copy.deepcopy(self.model)
        for layer in model.encoder.layer:
            attention = layer.attention
            for name in ("query", "key", "value"):
                setattr(attention.self, name, _rows(getattr(attention.self, name)))
            layer.intermediate.dense = _rows(layer.intermediate.dense)
            for block in (attention.output, layer.output):
                block.dense = _Columns(block.dense)
        return model


def _encode(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return unit_means(hidden, mask)


def _rows(whole: nn.Linear) -> nn.Linear:
    """The share of a layer's outputs; of whole heads, since their number divides."""
    share = copy.deepcopy(whole)
    share.weight = nn.Parameter(own_part(whole.weight))
    share.bias = nn.Parameter(own_part(whole.bias))
    return share


class _Columns(nn.Module):
    """The share of a layer's inputs; the outputs of all processes are added."""

    def __init__(self, whole: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(own_part(whole.weight, 1))
        self.bias = whole.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = linear(x, self.weight)
        dist.all_reduce(part)
        return part + self.bias
