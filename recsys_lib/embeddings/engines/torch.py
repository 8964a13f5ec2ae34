"""The torch engine: a model of the `transformers` library, on the CPU or a GPU.

It is the reference that every other engine has to agree with. On a GPU a small pass
takes less time than launching its hundred kernels one by one, so such a pass is
recorded once for its shape (as a CUDA graph) and then launched as a whole.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recsys_lib.arrays import Float32Array, IntArray
from recsys_lib.embeddings.architecture import ENCODER_CLASSES, check_architecture
from recsys_lib.embeddings.engines.cuda_graphs import Graphs, graph_shape
from recsys_lib.embeddings.pooling import Dense, Pooling, pool_tensors
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.extras import needs

with needs("torch"):
    import torch


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A transformer in evaluation mode that gives ``last_hidden_state``.

    Attributes:
        model: Weights may change in place; layers must not change after the first GPU
            run.
        graphs: Recorded small passes on a GPU.
    """

    engine: ClassVar[str] = "torch"
    model: Any
    graphs: Graphs = field(default_factory=Graphs, repr=False)

    @cached_property
    def device(self) -> torch.device:
        """Device of the model."""
        return torch.device(self.model.device)

    @property
    def precision(self) -> str:
        """Precision of the weights, as torch names it."""
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
        """Memory of the weights, in bytes."""
        return sum(p.nbytes for p in self.model.parameters())

    @property
    def token_table(self) -> Float32Array:
        """Input embeddings (vocabulary, dim), before any layer."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        return np.asarray(weight.detach().to("cpu", torch.float32, copy=True).numpy())

    @torch.inference_mode()
    def forward(self, tokens: Tokens) -> torch.Tensor:
        """Run the layers: (n, length, dim) hidden states, on the model's device."""
        if not self._has_graph(tokens):
            return self._hidden(*self._on_device(tokens))
        with self.graphs.run("hidden", self._hidden, tokens, self.device) as hidden:
            return hidden[:, : tokens.ids.shape[1]].clone()

    @torch.inference_mode()
    def pool(
        self,
        hidden: torch.Tensor,
        mask: IntArray,
        kind: Pooling,
        layers: Sequence[Dense] = (),
    ) -> Float32Array:
        """Reduce hidden states to unit vectors (n, dim), on the CPU."""
        on_device = torch.from_numpy(mask).to(hidden.device)
        return np.asarray(pool_tensors(hidden, on_device, kind, layers).cpu().numpy())

    @torch.inference_mode()
    def encode(
        self, batches: Iterable[Tokens], kind: Pooling, layers: Sequence[Dense] = ()
    ) -> list[Float32Array]:
        """Run and pool one batch after the other; wait for a GPU once, at the end."""
        given = iter(batches)
        first = list(islice(given, 2))
        if len(first) == 1 and not layers and self._has_graph(first[0]):
            compute = partial(self._vectors, kind=kind)
            with self.graphs.run(kind, compute, first[0], self.device) as vectors:
                return [np.array(vectors.numpy())]
        found = []
        for tokens in chain(first, given):
            ids, mask = self._on_device(tokens)
            pooled = self._pooled_on_device(tokens, mask)
            found.append(pool_tensors(self._hidden(ids, mask), pooled, kind, layers))
        return _to_host(found)

    def _pooled_on_device(self, tokens: Tokens, mask: torch.Tensor) -> torch.Tensor:
        if not tokens.n_unpooled:
            return mask
        return torch.from_numpy(tokens.pooled).to(self.device)

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        allowed = mask
        if ids.is_cuda and self._takes_4d_mask:  # a 2D mask makes the host wait
            allowed = mask.bool()[:, None, None].expand(-1, 1, mask.shape[1], -1)
        hidden = self.model(input_ids=ids, attention_mask=allowed).last_hidden_state
        return torch.as_tensor(hidden)

    def _vectors(
        self, ids: torch.Tensor, mask: torch.Tensor, kind: Pooling
    ) -> torch.Tensor:
        return pool_tensors(self._hidden(ids, mask), mask, kind)

    def _has_graph(self, tokens: Tokens) -> bool:
        if self.device.type != "cuda" or not self._takes_4d_mask or tokens.n_unpooled:
            return False
        shape, config = graph_shape(*tokens.ids.shape), self.model.config
        return bool(shape and shape[1] <= config.max_position_embeddings)

    @cached_property
    def _takes_4d_mask(self) -> bool:
        """Whether the model takes a mask (n, 1, length, length) of bool.

        transformers passes such a mask on unchanged. Other models add it to scores, or
        need a causal or a local one.
        """
        config = self.model.config
        return (config.model_type, config._attn_implementation) == ("bert", "sdpa")

    def _on_device(self, tokens: Tokens) -> Iterator[torch.Tensor]:
        """Ids and mask on the model's device; the host does not wait for the copy."""
        for array in (tokens.ids, tokens.mask):
            tensor = torch.from_numpy(array)
            if self.device.type == "cuda":
                tensor = tensor.pin_memory()
            yield tensor.to(self.device, non_blocking=True)


def _to_host(vectors: list[torch.Tensor]) -> list[Float32Array]:
    """Copy the vectors of all batches to the host at once, and split them again."""
    if not vectors:
        return []
    whole = np.asarray(torch.cat(vectors).cpu().numpy())
    return np.split(whole, np.cumsum([len(x) for x in vectors])[:-1])


def load_torch_network(
    folder: Path, *, device: str = "cpu", precision: str = "float32"
) -> TorchNetwork:
    """Load pre-trained weights from a folder; its code, if it has any, is not executed.

    Raises:
        ValueError: If weights of the model are missing, or it is no encoder of text.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    check_architecture(config)
    with quiet_transformers() as transformers:
        if config["model_type"] not in transformers.CONFIG_MAPPING:
            wanted = (
                f"model_type must be known to transformers {transformers.__version__}"
            )
            raise ValueError(f"{wanted}; got {config['model_type']}")
        name = ENCODER_CLASSES.get(config.get("model_type"), "AutoModel")
        model, report = getattr(transformers, name).from_pretrained(
            folder,
            dtype=getattr(torch, precision),
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    model.config.use_cache = False
    missing = [x for x in report["missing_keys"] if not x.startswith("pooler.")]
    if missing:  # transformers makes them random; the pooler is not used here
        raise ValueError(f"weights must hold all of the model; got none for {missing}")
    return TorchNetwork(model.to(device).eval())


def random_torch_network(
    dimensions: Mapping[str, int],
    *,
    device: str = "cpu",
    precision: str = "float32",
    seed: int = 0,
) -> TorchNetwork:
    """Make a BERT of these dimensions with random weights."""
    with quiet_transformers() as transformers, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.BertModel(transformers.BertConfig(**dimensions))
    return TorchNetwork(model.to(device, getattr(torch, precision)).eval())


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Import transformers, which takes seconds, and keep it from printing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns of a missing widget in Jupyter
        with needs("torch"):
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
