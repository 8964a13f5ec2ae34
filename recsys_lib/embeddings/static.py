"""Static embeddings: a text is the mean of one fixed vector per token."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.pooling import Pooling
from recsys_lib.embeddings.pretrained import read_weights
from recsys_lib.embeddings.recipe import Prompts, Recipe, Role
from recsys_lib.embeddings.tokens import strings, token_ids
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.ranking.similarity import normalize


@dataclass(frozen=True, eq=False)
class StaticEncoder:
    """A table (vocabulary, dim) of token vectors with its tokeniser.

    Attributes:
        tokenizer: Its special tokens are not used.
        table: (vocabulary, dim).
        prompts: What is put before a text, by its role.
        engine: "table", beside those of `load_encoder`.
        pooling: "mean", as of `Encoder`.
        assumed: "", as of `Encoder`.
    """

    engine: ClassVar[str] = "table"
    pooling: ClassVar[Pooling] = "mean"
    assumed: ClassVar[str] = ""

    tokenizer: Tokenizer
    table: Float32Array
    prompts: Prompts = field(default_factory=Prompts)

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

    def tokenize(
        self, texts: Sequence[str], *, role: Role | None = None
    ) -> list[list[int]]:
        """Cut texts into token ids, without special tokens and without padding.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If the role is unknown.
        """
        if prompt := self.prompts.before(role):
            texts = [prompt + text for text in strings(texts)]
        return token_ids(self.tokenizer, texts, special=False)

    def encode(self, texts: Sequence[str], *, role: Role | None = None) -> Float32Array:
        """Embed texts: (n, dim) unit vectors, the zero vector for one without a token.

        Args:
            texts: Any number.
            role: "query", "document" or None, as of `Encoder.encode`.

        Raises:
            TypeError: If not given a sequence of str.
            ValueError: If the role is unknown.

        >>> from recsys_lib.embeddings.encoder import load_encoder
        >>> static_encoder(load_encoder()).encode(["space opera", ""]).any(axis=1)
        array([ True, False])
        """
        rows = self.tokenize(texts, role=role)
        sums = [self.table[row].sum(axis=0) for row in rows]
        table = np.array(sums, dtype=np.float32).reshape(len(sums), self.dim)
        return np.asarray(normalize(table), dtype=np.float32)  # as of the mean


def static_encoder(encoder: Encoder) -> StaticEncoder:
    """Return an encoder's table of input embeddings, without its layers."""
    return StaticEncoder(encoder.tokenizer, encoder.network.token_table)


def load_static(recipe: Recipe, *, max_length: int | None = None) -> StaticEncoder:
    """Load a table of tokens: sentence-transformers' StaticEmbedding, or model2vec's.

    Args:
        recipe: As `read_recipe` found it.
        max_length: Longest text in tokens; None for as the folder says.

    Raises:
        FileNotFoundError: If the folder lacks weights or tokeniser.
    """
    file = recipe.folder / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(f"folder must hold tokenizer.json; got {recipe.folder}")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    if (length := max_length or recipe.max_length) is not None:
        tokenizer.enable_truncation(length)
    table = _table(recipe)
    unknown = _unknown(tokenizer)
    if recipe.skip_unknown and unknown is not None:
        table[unknown] = 0  # adds nothing to a sum
    return StaticEncoder(tokenizer, table, recipe.prompts)


def _unknown(tokenizer: Tokenizer) -> int | None:
    """Id of the token that stands for what the vocabulary lacks."""
    model = json.loads(tokenizer.to_str())["model"]
    if "unk_id" in model:
        return None if model["unk_id"] is None else int(model["unk_id"])
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)


def _table(recipe: Recipe) -> Float32Array:
    """Token vectors (vocabulary, dim), each multiplied by its weight if it has one."""
    weights = read_weights(recipe.folder)
    if "embedding.weight" in weights:  # of StaticEmbedding; else of model2vec
        return np.array(weights["embedding.weight"], dtype=np.float32)
    if "embeddings" not in weights:
        got = f"got {', '.join(weights)} in {recipe.folder}"
        raise ValueError(f"weights must hold a table of embeddings; {got}")
    table = np.array(weights["embeddings"], dtype=np.float32)
    if "mapping" in weights:  # tokens that share a vector
        table = table[weights["mapping"].astype(np.int64)]
    if "weights" in weights:
        table = table * weights["weights"].astype(np.float32)[:, None]
    return table
