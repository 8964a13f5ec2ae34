"""The torch engine: a transformer as `transformers` makes it, on the CPU or a GPU.

It is the reference that every other engine has to agree with.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from recsys_lib.tokens import Ints, Tokens

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A transformer in evaluation mode that gives ``last_hidden_state``."""

    engine: ClassVar[str] = "torch"
    model: Any

    @property
    def precision(self) -> str:
        """Of the weights, as torch names it."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
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
        device = self.model.device
        ids, mask = (torch.from_numpy(x).to(device) for x in (tokens.ids, tokens.mask))
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return torch.as_tensor(hidden)

    @torch.inference_mode()
    def pool(self, hidden: torch.Tensor, mask: Ints, pooling: str) -> Vectors:
        """Reduce hidden states to unit vectors (n, dim), on the CPU."""
        if pooling == "cls":
            vectors = normalize(hidden[:, 0].float())
        else:
            vectors = unit_means(hidden, torch.from_numpy(mask).to(hidden.device))
        return np.asarray(vectors.cpu().numpy())

    def encode(self, batches: Sequence[Tokens], pooling: str) -> list[Vectors]:
        """Run and pool one batch after the other."""
        return [self.pool(self.forward(x), x.mask, pooling) for x in batches]


def unit_means(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (n, dim) in the direction of the mean over the tokens."""
    summed = (mask.to(torch.float32).unsqueeze(1) @ hidden.float()).squeeze(1)
    return normalize(summed)


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
