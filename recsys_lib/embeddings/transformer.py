"""An encoder of texts in three separate steps: tokenise, run the layers, pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.arguments import whole_number
from recsys_lib.arrays import Float32Array, IntArray
from recsys_lib.embeddings.pooling import Dense, Pooling
from recsys_lib.embeddings.recipe import Prompts, Role
from recsys_lib.embeddings.tokens import (
    Batching,
    Tokens,
    pad,
    prompt_length,
    strings,
    token_batches,
    token_ids,
)

if TYPE_CHECKING:
    from recsys_lib.embeddings.engines.onnx_file import OnnxFileNetwork
    from recsys_lib.embeddings.engines.onnxruntime import OnnxNetwork
    from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork
    from recsys_lib.embeddings.engines.torch import TorchNetwork


class TextEncoder(Protocol):
    """Turns n texts into (n, dim) unit vectors, with or without a cache."""

    @property
    def dim(self) -> int: ...  # noqa: D102

    def encode(  # noqa: D102
        self, texts: Sequence[str], /, *, role: Role | None = None
    ) -> Float32Array: ...


@dataclass(frozen=True, eq=False)
class Encoder:
    """A transformer with its tokeniser and pooling.

    Attributes:
        tokenizer: Truncates, does not pad.
        network: Runs the layers.
        pooling: How hidden states become one vector, as of `pooling.pool`.
        pad_id: Token id that fills up the shorter texts of a batch.
        batching: Default limits of a batch when many texts are encoded.
        layers: Dense layers after pooling.
        prompts: What is put before a text, by its role.
        pool_prompt: Whether tokens of the prompt are pooled too.
        engine_reason: Why no other engine runs the model; "" where others do.
        assumed: What the model's folder did not say; "" where it says all.
    """

    tokenizer: Tokenizer
    network: OpenVinoNetwork | OnnxNetwork | OnnxFileNetwork | TorchNetwork
    pooling: Pooling = "mean"
    pad_id: int = 0
    batching: Batching = field(default_factory=Batching)
    layers: tuple[Dense, ...] = ()
    prompts: Prompts = field(default_factory=Prompts)
    pool_prompt: bool = True
    engine_reason: str = ""
    assumed: str = ""

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
        return len(self.layers[-1].bias) if self.layers else self.network.dim

    @property
    def n_parameters(self) -> int:
        """Number of weights, those of an unused pooling head included."""
        of_layers = sum(x.weight.size + x.bias.size for x in self.layers)
        return self.network.n_parameters + of_layers

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, in bytes."""
        of_layers = sum(x.weight.nbytes + x.bias.nbytes for x in self.layers)
        return self.network.size_bytes + of_layers

    def tokenize(self, texts: Sequence[str], *, role: Role | None = None) -> Tokens:
        """Cut texts into a batch of token ids, those of the role's prompt first.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If it is empty, a text gives no token, or the role is unknown.
        """
        given, n_unpooled = self.with_prompt(strings(texts), role)
        rows = token_ids(self.tokenizer, given)
        return pad(rows, self.pad_id, n_unpooled=n_unpooled)

    def with_prompt(self, texts: list[str], role: Role | None) -> tuple[list[str], int]:
        """Put the role's prompt before texts.

        Returns:
            The texts, and the number of tokens at their start that are not pooled.

        Raises:
            ValueError: If the role is unknown.
        """
        prompt = self.prompts.before(role)
        if not prompt:
            return texts, 0
        n_unpooled = 0 if self.pool_prompt else prompt_length(self.tokenizer, prompt)
        return [prompt + text for text in texts], n_unpooled

    def forward(self, tokens: Tokens) -> Any:
        """Run the layers: (n, length, dim) hidden states, on the engine's device."""
        return self.network.forward(tokens)

    def pool(self, hidden: Any, mask: IntArray) -> Float32Array:
        """Reduce hidden states (n, length, dim) to unit vectors (n, dim)."""
        return self.network.pool(hidden, mask, self.pooling, self.layers)

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        batch_size: int | None = None,
    ) -> Float32Array:
        """Embed texts, in batches of similar length so that little is padding.

        Args:
            texts: Any number; an empty text has the vector of the special tokens.
            role: "query" for what is asked, "document" for what is searched: each has
                the prompt that the model was trained with. None for the default one.
            batch_size: Texts in one forward pass; None for a number that suits the
                device.

        Returns:
            (n, dim) unit vectors in the order of the texts, whatever the batches.

        Raises:
            TypeError: If not given a sequence of str, or batch_size is no whole number.
            ValueError: If batch_size is below 1, a text gives no token or holds half a
                surrogate pair, or the role is unknown.

        >>> from recsys_lib.embeddings.encoder import load_encoder
        >>> load_encoder().encode(["a film about a toy", "space opera"]).shape
        (2, 384)
        """
        if batch_size is not None:
            whole_number("batch_size", batch_size)
        given = strings(texts)
        if len(given) == 1:  # the rest would take a request 0.1 ms longer
            tokens = self.tokenize(given, role=role)
            return self.network.encode([tokens], self.pooling, self.layers)[0]
        given, n_unpooled = self.with_prompt(given, role)
        batching = self.batching if batch_size is None else Batching(batch_size)
        positions: list[list[int]] = []

        def batches() -> Iterator[Tokens]:
            made = token_batches(
                self.tokenizer,
                given,
                batching,
                pad_id=self.pad_id,
                n_unpooled=n_unpooled,
            )
            for batch, tokens in made:
                positions.append(batch)
                yield tokens

        encoded = self.network.encode(batches(), self.pooling, self.layers)
        vectors = np.empty((len(given), self.dim), dtype=np.float32)
        for batch, part in zip(positions, encoded, strict=True):
            vectors[batch] = part
        return vectors
