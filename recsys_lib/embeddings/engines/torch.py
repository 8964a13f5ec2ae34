"""The torch engine: a transformer as `transformers` makes it, on the CPU or a GPU.

It is the reference that every other engine has to agree with. A GPU runs a small pass
in less time than it takes to start its hundred kernels one by one, so such a pass is
recorded once for its shape (as a CUDA graph) and then started whole.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from recsys_lib.embeddings.engines.cuda_graphs import Graphs, graph_shape
from recsys_lib.embeddings.pooling import _pooled
from recsys_lib.embeddings.tokens import Ints, Tokens

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A transformer in evaluation mode that gives ``last_hidden_state``.

    Attributes:
        model: Its weights may change in place; its layers not once it ran on a GPU.
        graphs: Of its small passes on a GPU.
    """

    engine: ClassVar[str] = "torch"
    model: Any
    graphs: "Graphs" = field(default_factory=lambda: Graphs(), repr=False)

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @property
    def precision(self) -> str:
        """Of the weights, as torch names it."""
        return str(self.model.dtype).removeprefix("torch.")

    @cached_property
    def dim(self) -> int:
        """Length of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def n_parameters(self) -> int:
        """Number of weights, those of an unused pooling head included."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        return sum(p.nbytes for p in self.model.parameters())

    @property
    def token_table(self) -> Vectors:
        """Input embeddings (vocabulary, dim), before any layer."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        return np.asarray(weight.detach().to("cpu", torch.float32, copy=True).numpy())

    @torch.inference_mode()
    def forward(self, tokens: Tokens) -> torch.Tensor:
        """Run the layers: (n, length, dim) hidden states, on the model's device."""
        if not self._has_graph(tokens):
            return self._hidden(*self._moved(tokens))
        with self.graphs.run("hidden", self._hidden, tokens, self.device) as hidden:
            return hidden[:, : tokens.ids.shape[1]].clone()

    @torch.inference_mode()
    def pool(self, hidden: torch.Tensor, mask: Ints, pooling: str) -> Vectors:
        """Reduce hidden states to unit vectors (n, dim), on the CPU."""
        found = _pooled(hidden, torch.from_numpy(mask).to(hidden.device), pooling)
        return np.asarray(found.cpu().numpy())

    @torch.inference_mode()
    def encode(self, batches: Iterable[Tokens], pooling: str) -> list[Vectors]:
        """Run and pool one batch after the other; a GPU is waited for at the end."""
        compute, given = partial(self._vectors, pooling=pooling), iter(batches)
        begun = list(islice(given, 2))
        if len(begun) == 1 and self._has_graph(begun[0]):
            with self.graphs.run(pooling, compute, begun[0], self.device) as vectors:
                return [np.array(vectors.numpy())]
        found = [compute(*self._moved(x)) for x in chain(begun, given)]
        return _fetched(found)

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = mask
        if ids.is_cuda and self._spreads:  # or the GPU is waited for, to see padding
            seen = mask.bool()[:, None, None].expand(-1, 1, mask.shape[1], -1)
        hidden = self.model(input_ids=ids, attention_mask=seen).last_hidden_state
        return torch.as_tensor(hidden)

    def _vectors(
        self, ids: torch.Tensor, mask: torch.Tensor, pooling: str
    ) -> torch.Tensor:
        return _pooled(self._hidden(ids, mask), mask, pooling)

    def _has_graph(self, tokens: Tokens) -> bool:
        if self.device.type != "cuda" or not self._spreads:
            return False
        shape, config = graph_shape(*tokens.ids.shape), self.model.config
        return bool(shape and shape[1] <= config.max_position_embeddings)

    @cached_property
    def _spreads(self) -> bool:
        """Whether the model may be given its mask for each head, as it is used.

        transformers takes such a mask as it comes: other models add it up, look a part
        of the way, or not ahead.
        """
        config = self.model.config
        kind = config.model_type, config._attn_implementation
        return kind == ("bert", "sdpa")

    def _moved(self, tokens: Tokens) -> Iterator[torch.Tensor]:
        """The ids and the mask where the model is; a GPU fetches them in its turn."""
        for array in (tokens.ids, tokens.mask):
            tensor = torch.from_numpy(array)
            if self.device.type == "cuda":
                tensor = tensor.pin_memory()
            yield tensor.to(self.device, non_blocking=True)


def _fetched(vectors: list[torch.Tensor]) -> list[Vectors]:
    """Copy vectors to the host, all at once, and part them again."""
    if not vectors:
        return []
    whole = np.asarray(torch.cat(vectors).cpu().numpy())
    return np.split(whole, np.cumsum([len(x) for x in vectors])[:-1])


def load_network(folder: Path, *, device: str, precision: str) -> TorchNetwork:
    """Load pre-trained weights from a folder.

    Raises:
        ValueError: If the weights lack a part of the model.
    """
    with quiet_transformers() as transformers:
        model, report = transformers.AutoModel.from_pretrained(
            folder, dtype=getattr(torch, precision), output_loading_info=True
        )
    missing = [x for x in report["missing_keys"] if not x.startswith("pooler.")]
    if missing:  # they would be random; the pooler is not used here
        raise ValueError(f"weights must hold all of the model; got none for {missing}")
    return TorchNetwork(model.to(device).eval())


def random_network(
    dimensions: Mapping[str, int], *, device: str, precision: str, seed: int
) -> TorchNetwork:
    """Make a BERT of exact architecture and random weights."""
    with quiet_transformers() as transformers, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.BertModel(transformers.BertConfig(**dimensions))
    return TorchNetwork(model.to(device, getattr(torch, precision)).eval())


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Import transformers (it takes seconds) and let it print nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm misses a widget inside of Jupyter
        import transformers

    logging: Any = transformers.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
