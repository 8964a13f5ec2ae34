"""Text to unit vectors in three separate steps: tokenise, run the layers, pool.

`Encoder` runs a transformer on one of three engines: "openvino" or "onnxruntime" on a
CPU; "torch" on a GPU, and as the reference on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.arrays import Float32Array, IntArray
from recsys_lib.embeddings.pooling import Pooling
from recsys_lib.embeddings.pretrained import model_folder
from recsys_lib.embeddings.tokens import (
    Batching,
    Tokens,
    batching_on,
    load_model_tokenizer,
    pad,
    strings,
    token_batches,
    token_ids,
)
from recsys_lib.extras import needs

if TYPE_CHECKING:
    from recsys_lib.embeddings.engines.onnxruntime import OnnxNetwork
    from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork
    from recsys_lib.embeddings.engines.torch import TorchNetwork

Engine = Literal["auto", "torch", "openvino", "onnxruntime"]

PRECISIONS = {
    "torch": ("float32", "bfloat16", "float16"),
    "openvino": ("float32", "bfloat16", "int8"),
    "onnxruntime": ("float32",),
}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A transformer with its tokeniser and pooling.

    Attributes:
        tokenizer: Truncates, does not pad.
        network: Runs the layers.
        pooling: "mean" over the tokens, or "cls", the first token alone.
        pad_id: Token id that fills up the shorter texts of a batch.
        batching: Default limits of a batch when many texts are encoded.
    """

    tokenizer: Tokenizer
    network: OpenVinoNetwork | OnnxNetwork | TorchNetwork
    pooling: Pooling = "mean"
    pad_id: int = 0
    batching: Batching = field(default_factory=Batching)

    @property
    def engine(self) -> str:
        """Name of the engine, as of `load_encoder`."""
        return self.network.engine

    @property
    def precision(self) -> str:
        """Precision of the layers, as of `load_encoder`."""
        return self.network.precision

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.network.dim

    @property
    def n_parameters(self) -> int:
        """Number of weights, those of an unused pooling head included."""
        return self.network.n_parameters

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, in bytes."""
        return self.network.size_bytes

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Cut texts into a batch of token ids.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If it is empty, or a text gives no token.
        """
        return pad(token_ids(self.tokenizer, texts), self.pad_id)

    def forward(self, tokens: Tokens) -> Any:
        """Run the layers: (n, length, dim) hidden states, on the engine's device."""
        return self.network.forward(tokens)

    def pool(self, hidden: Any, mask: IntArray) -> Float32Array:
        """Reduce hidden states (n, length, dim) to unit vectors (n, dim)."""
        return self.network.pool(hidden, mask, self.pooling)

    def encode(
        self, texts: Sequence[str], *, batch_size: int | None = None
    ) -> Float32Array:
        """Embed texts, in batches of similar length so that little is padding.

        Args:
            texts: Any number; an empty text has the vector of the special tokens.
            batch_size: Texts in one forward pass; None for a number that suits the
                device.

        Returns:
            (n, dim) unit vectors in the order of the texts, whatever the batches.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If batch_size is below 1, or a text gives no token.

        >>> load_encoder().encode(["a film about a toy", "space opera"]).shape
        (2, 384)
        """
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        given = strings(texts)
        if len(given) == 1:  # the rest would take a request 0.1 ms longer
            return self.network.encode([self.tokenize(given)], self.pooling)[0]
        batching = self.batching if batch_size is None else Batching(batch_size)
        positions: list[list[int]] = []

        def batches() -> Iterator[Tokens]:
            made = token_batches(self.tokenizer, given, batching, pad_id=self.pad_id)
            for batch, tokens in made:
                positions.append(batch)
                yield tokens

        encoded = self.network.encode(batches(), self.pooling)
        vectors = np.empty((len(given), self.dim), dtype=np.float32)
        for batch, part in zip(positions, encoded, strict=True):
            vectors[batch] = part
        return vectors


def load_encoder(
    model: str | Path | None = None,
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    pooling: Pooling = "mean",
    device: str = "cpu",
    max_length: int = 128,
    n_threads: int | None = None,
    calibration: Sequence[str] | None = None,
) -> Encoder:
    """Load a pre-trained encoder, by default the fastest that loses no quality.

    Args:
        model: Hugging Face id or a folder; None for the carried all-MiniLM-L6-v2.
        engine: "openvino" or "onnxruntime" (CPU), "torch", or "auto": on a GPU torch;
            on a CPU the faster of the first two, as `engines.choice` measured it.
        precision: "float32", "bfloat16", "float16" (torch), "int8" (openvino), or
            "auto": on a CPU the fastest of float32, bfloat16 and, with calibration,
            int8; on a GPU bfloat16.
        pooling: "mean" or "cls", as the model was trained.
        device: "cpu" or "cuda[:i]".
        max_length: Longest text in tokens, special tokens included; the rest of a text
            is cut off.
        n_threads: Threads of a forward pass on openvino and onnxruntime; None for all
            cores.
        calibration: A few hundred texts of the kind to encode, which "int8" needs.
            With them "auto" may choose int8, at a mean cosine to float32 above 0.99.

    Raises:
        ValueError: If an option is out of its range, weights of the model are missing,
            or the carried weights are not those of the publication.
        ImportError: If the engine is not installed.

    Source: Wang et al., MiniLM, NeurIPS 2020, arXiv 2002.10957.

    >>> load_encoder().n_parameters
    22713216
    """
    engine, precision = resolve_options(engine, precision, pooling, device)
    folder = model_folder(model)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = load_model_tokenizer(folder, max_length, config)
    pad_id = config.get("pad_token_id") or 0
    network: OpenVinoNetwork | OnnxNetwork | TorchNetwork
    if engine == "torch":
        from recsys_lib.embeddings.engines.torch import load_torch_network  # seconds

        network = load_torch_network(folder, device=device, precision=precision)
    else:
        from recsys_lib.embeddings.engines.choice import fastest, load_choice

        rows = [pad([row], pad_id) for row in token_ids(tokenizer, calibration or [])]
        choice = fastest(folder, engine, precision, rows)
        network = load_choice(folder, choice, n_threads=n_threads, calibration=rows)
    return Encoder(tokenizer, network, pooling, pad_id, batching_on(device))


def calibration_sample(texts: Sequence[str], *, n: int = 200) -> list[str]:
    """Draw n of the texts for `load_encoder` to calibrate on, the same each time.

    >>> calibration_sample(["a", "b", "c"], n=2) == calibration_sample("abc", n=2)
    True
    """
    rng = np.random.default_rng(0)
    return [texts[i] for i in rng.permutation(len(texts))[:n]]


def resolve_options(
    engine: Engine, precision: str, pooling: str, device: str
) -> tuple[Engine, str]:
    """Check options and replace "auto" where no measurement is needed."""
    if pooling not in get_args(Pooling):
        raise ValueError(f'pooling must be "mean" or "cls"; got {pooling!r}')
    if engine == "auto" and (precision == "float16" or device != "cpu"):
        engine = "torch"
    if engine not in ("auto", *PRECISIONS):
        names = ", ".join(PRECISIONS)
        raise ValueError(f"engine must be one of auto, {names}; got {engine!r}")
    offered = PRECISIONS["openvino" if engine == "auto" else engine]
    if precision not in ("auto", *offered):
        allowed = ", ".join(offered)
        raise ValueError(f"precision of {engine} must be {allowed}; got {precision!r}")
    if device != "cpu":
        _check_gpu(engine, device)
    if precision == "auto" and engine == "torch":
        precision = "float32" if device == "cpu" else "bfloat16"
    return engine, precision


def _check_gpu(engine: str, device: str) -> None:
    with needs("torch"):
        import torch
    if engine != "torch" or not torch.cuda.is_available():
        wanted = f'device must be "cpu" for {engine} or without a GPU'
        raise ValueError(f"{wanted}; got {device!r}")


class TextEncoder(Protocol):
    """Turns n texts into (n, dim) unit vectors, with or without a cache."""

    @property
    def dim(self) -> int: ...  # noqa: D102

    def encode(self, texts: Sequence[str], /) -> Float32Array: ...  # noqa: D102
