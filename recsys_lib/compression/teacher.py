"""Compute a teacher encoder's targets for many texts once, and cache them.

The targets are an embedding of each text, pooled as the teacher does and by its first
token, and the mean hidden state of each token. A table of tokens can start from the
latter.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from recsys_lib.arrays import Float32Array, IntArray
from recsys_lib.artifacts import cache_arrays, hashes_of
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.own import shorter
from recsys_lib.embeddings.pooling import pool
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.tokens import Batching, Tokens, strings, token_batches
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.machine import usable_cores


@dataclass(frozen=True, eq=False)
class TeacherTargets:
    """What a teacher encoder computes for some texts.

    Attributes:
        vectors: (n, dim) unit vectors of the texts, as the teacher pools them.
        cls_vectors: (n, dim) unit vectors of the texts, by pooling the first token.
        token_means: (vocabulary, dim) mean hidden state of each token over all its
            occurrences; 0 for a token that does not occur.
        token_counts: (vocabulary,) occurrences; special tokens are not counted.
        seconds: Time that the teacher took on this kind of machine, with this code.
    """

    vectors: Float32Array
    cls_vectors: Float32Array
    token_means: Float32Array
    token_counts: IntArray
    seconds: float


def teacher_targets(
    texts: Sequence[str],
    *,
    model: str | Path | None = None,
    max_length: int = 128,
    role: Role = "document",
) -> TeacherTargets:
    """Embed texts with a teacher, and average its hidden states of each token.

    Args:
        texts: Unlabelled, one or more.
        model: Folder of the teacher; None for the bundled all-MiniLM-L6-v2.
        max_length: Tokens read of a text, special ones included, or fewer if the
            teacher takes fewer.
        role: What the texts are, "document" or "query": the teacher may have a prompt.

    Raises:
        TypeError: If texts are not a sequence of str.
        ValueError: If there is no text, or the teacher is a table of tokens.

    >>> targets = teacher_targets(["a red dress", "a blue dress"])
    >>> targets.vectors.shape, int(targets.token_counts.max())
    ((2, 384), 2)
    """
    given = strings(texts)
    if not given:
        raise ValueError("there must be at least one text; got none")
    folder = minilm_folder() if model is None else Path(model)
    if model is not None:
        max_length = shorter(folder, max_length)
    teacher = load_encoder(folder, n_threads=1, max_length=max_length)
    if not isinstance(teacher, Encoder):
        raise ValueError(f"a teacher must have layers; got a token table in {folder}")
    chosen = [teacher.engine, teacher.precision, max_length, role]
    cached = cache_arrays(
        "targets",
        [hashes_of(folder), *chosen, given],
        lambda: _compute(teacher, given, role),
    )
    vectors, cls_vectors, means, counts = cached.arrays
    return TeacherTargets(vectors, cls_vectors, means, counts, cached.seconds)


def _compute(
    teacher: Encoder, texts: list[str], role: Role
) -> tuple[Float32Array, Float32Array, Float32Array, IntArray]:
    """Vectors of the texts, those of the first token, mean and count of each token."""
    n_tokens = teacher.tokenizer.get_vocab_size()
    width = teacher.network.dim
    vectors = np.empty((len(texts), teacher.dim), dtype=np.float32)
    cls_vectors = np.empty((len(texts), width), dtype=np.float32)
    sums, counts = np.zeros((n_tokens, width)), np.zeros(n_tokens, dtype=np.int64)

    def answer(batch: tuple[list[int], Tokens]) -> tuple[Any, ...]:
        positions, tokens = batch
        states = teacher.forward(tokens)
        hidden = np.asarray(states)
        inside = tokens.mask.astype(bool)
        inside[:, 0] = False  # the special tokens at both ends
        inside[range(len(inside)), tokens.mask.sum(axis=1) - 1] = False
        pooled = teacher.pool(states, tokens.pooled)
        by_cls = pool(hidden, tokens.mask, "cls")
        return np.array(positions), pooled, by_cls, tokens.ids[inside], hidden[inside]

    given, n_unpooled = teacher.with_prompt(texts, role)
    batches = token_batches(
        teacher.tokenizer,
        given,
        Batching(max_texts=16),
        pad_id=teacher.pad_id,
        n_unpooled=n_unpooled,
    )
    with ThreadPoolExecutor(usable_cores()) as threads:
        answers = threads.map(answer, batches)
        for positions, pooled, by_cls, ids, states in answers:
            vectors[positions], cls_vectors[positions] = pooled, by_cls
            found, row, often = np.unique(ids, return_inverse=True, return_counts=True)
            entries = (np.ones(len(ids)), (row, np.arange(len(ids))))
            sums[found] += csr_matrix(entries, shape=(len(found), len(ids))) @ states
            counts[found] += often
    means = sums / np.maximum(counts, 1)[:, None]
    return vectors, cls_vectors, means.astype(np.float32), counts
