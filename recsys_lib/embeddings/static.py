"""Static embeddings: one vector for each token, and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.embeddings.tokens import (
    token_ids,
)
from recsys_lib.ranking.similarity import normalize

if TYPE_CHECKING:
    pass
from recsys_lib.embeddings.encoder import Encoder, Vectors


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


def static_encoder(encoder: Encoder) -> StaticEncoder:
    """Keep of an encoder only its table of input embeddings."""
    return StaticEncoder(encoder.tokenizer, encoder.network.token_table)
