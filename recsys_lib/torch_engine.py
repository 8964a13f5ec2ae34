"""The torch engine: a transformer as `transformers` makes it, on the CPU or a GPU.

It is the reference that every other engine has to agree with. A GPU runs a small pass
in less time than it takes to start its hundred kernels one by one, so such a pass is
recorded once for its shape (as a CUDA graph) and then started whole.
"""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from recsys_lib.tokens import Ints, Tokens

Vectors = npt.NDArray[np.float32]
Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of ids and mask

TEXTS = (1, 8, 64)  # of the shapes that a GPU has a graph for, and their tokens
LENGTHS = (8, 12, 16, 20, 24, 32, 48, 64, 96, 128)
_Shape = tuple[int, int]
_recording = threading.Lock()  # CUDA records one graph of a process at a time


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


class Graphs:
    """Passes on a GPU, recorded when their shape is first met; threads share them.

    Attributes:
        made: By the name of what is computed, and the shape of the batch.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[str, _Shape], Graph] = {}
        self._one_at_a_time = threading.Lock()  # a graph has room for one batch

    def __reduce__(self) -> tuple[type["Graphs"], tuple[()]]:
        return Graphs, ()  # those of a copied model would read the old weights

    @contextmanager
    def run(
        self, name: str, compute: Compute, tokens: Tokens, device: torch.device
    ) -> Iterator[torch.Tensor]:
        """Lend the result (n, ...) of one small batch, until the block ends.

        Args:
            name: Of the computation; the first one of a name is the one recorded.
            compute: On ids and mask (texts, length) on the device.
            tokens: For which `graph_shape` has a shape.
            device: A GPU.
        """
        shape = graph_shape(*tokens.ids.shape)
        assert shape is not None
        with self._one_at_a_time:
            if (name, shape) not in self.made:
                with _recording:
                    self.made[name, shape] = Graph(compute, shape, device)
            yield self.made[name, shape](tokens)


class Graph:
    """A recorded pass over texts of one number and length, which the host lays ready.

    Vectors are copied to the host in the same go; hidden states stay where they are.
    """

    def __init__(self, compute: Compute, shape: _Shape, device: torch.device) -> None:
        feed = torch.zeros(2, *shape, dtype=torch.int64).pin_memory()
        feed[1, :, 0] = 1  # no row is ever without a token
        self._rows, self._device = feed.numpy(), device
        self._inputs = inputs = feed.to(device)  # must live as long as the graph
        with torch.cuda.device(device):
            found = _warmed_up(compute, inputs)
            if to_host := found.dim() == 2:
                found = torch.empty_like(found, device="cpu").pin_memory()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                inputs.copy_(feed, non_blocking=True)
                made = compute(*inputs)
                self._result = found.copy_(made, non_blocking=True) if to_host else made

    def __call__(self, tokens: Tokens) -> torch.Tensor:
        """Run it on a batch that fits; the result (n, ...) lasts until the next."""
        n, length = tokens.ids.shape
        self._rows[0, :n, :length], self._rows[1, :n, :length] = tokens.ids, tokens.mask
        self._rows[:, :n, length:] = 0
        self.replay()
        return self._result[:n]

    def replay(self) -> None:
        """Run it on what was laid ready last, and wait."""
        self._graph.replay()
        torch.cuda.current_stream(self._device).synchronize()


def _warmed_up(compute: Compute, inputs: torch.Tensor) -> torch.Tensor:
    """Run before recording: libraries set themselves up in their first calls."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        compute(*inputs)
        found = compute(*inputs)
    stream.synchronize()
    return found


@cache
def graph_shape(n_texts: int, length: int) -> _Shape | None:
    """Find the smallest recorded shape, texts and tokens, that holds a batch, if any.

    >>> graph_shape(1, 13), graph_shape(9, 8), graph_shape(65, 8)
    ((1, 16), (64, 8), None)
    """
    n = next((x for x in TEXTS if x >= n_texts), None)
    tokens = next((x for x in LENGTHS if x >= length), None)
    return (n, tokens) if n and tokens else None


def unit_means(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (n, dim) in the direction of the mean over the tokens."""
    summed = (mask.to(torch.float32).unsqueeze(1) @ hidden.float()).squeeze(1)
    return normalize(summed)


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    if pooling == "cls":
        return normalize(hidden[:, 0].float())
    return unit_means(hidden, mask)


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
