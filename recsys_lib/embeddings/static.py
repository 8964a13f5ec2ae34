"""Static embeddings: a text is the mean of one fixed vector per token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.encoder import Encoder
from recsys_lib.embeddings.tokens import token_ids
from recsys_lib.ranking.similarity import normalize


@dataclass(frozen=True, eq=False)
class StaticEncoder:
    """A table (vocabulary, dim) of token vectors with its tokeniser."""

    tokenizer: Tokenizer
    table: Float32Array

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
        """Memory of the weights, in bytes."""
        return int(self.table.nbytes)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Cut texts into token ids, without special tokens and without padding.

        Raises:
            TypeError: If not given a sequence of str.
        """
        return token_ids(self.tokenizer, texts, special=False)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts: (n, dim) unit vectors, the zero vector for one without a token.

        Raises:
            TypeError: If not given a sequence of str.

        >>> from recsys_lib.embeddings.encoder import load_encoder
        >>> static_encoder(load_encoder()).encode(["space opera", ""]).any(axis=1)
        array([ True, False])
        """
        sums = [self.table[row].sum(axis=0) for row in self.tokenize(texts)]
        table = np.array(sums, dtype=np.float32).reshape(len(sums), self.dim)
        return np.asarray(normalize(table), dtype=np.float32)  # as of the mean


def static_encoder(encoder: Encoder) -> StaticEncoder:
    """Return an encoder's table of input embeddings, without its layers."""
    return StaticEncoder(encoder.tokenizer, encoder.network.token_table)
