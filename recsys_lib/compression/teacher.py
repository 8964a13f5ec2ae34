"""Compute a teacher encoder's targets for many texts once, and cache them.

Besides a vector of each text, pooled both ways, these are its mean hidden states of
each token, in all the places where the token stands: what a table of tokens can start
from.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.artifacts import hashes_of, keep_arrays
from recsys_lib.embeddings.encoder import Encoder, load_encoder
from recsys_lib.embeddings.pooling import pool
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import Batching, Tokens, strings, token_batches
from recsys_lib.machine import usable_cores

Arrays = tuple[npt.NDArray[Any], ...]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a teacher said about some texts.

    Attributes:
        vectors: (n, dim) its unit vectors of the texts, means over the tokens.
        cls_vectors: (n, dim) those of the first token alone, from the same passes.
        token_means: (vocabulary, dim) its mean hidden state of each token, over all
            places where the token stands; 0 for one that the texts lack.
        token_counts: (vocabulary,) places, special tokens not counted.
        seconds: That the teacher took, on a machine of this kind and with this code.
    """

    vectors: Vectors
    cls_vectors: Vectors
    token_means: Vectors
    token_counts: npt.NDArray[np.int64]
    seconds: float


def ask_teacher(
    texts: Sequence[str], *, model: str | Path | None = None, max_length: int = 128
) -> Lessons:
    """Let a teacher embed texts, and note what it makes of each token on the way.

    Args:
        texts: Unlabelled, one or more.
        model: Folder of the teacher; None for the carried all-MiniLM-L6-v2.
        max_length: Tokens kept of a text, special ones included.

    Raises:
        TypeError: If not given a sequence of str.
        ValueError: If there is no text.

    >>> lessons = ask_teacher(["a red dress", "a blue dress"])
    >>> lessons.vectors.shape, int(lessons.token_counts.max())
    ((2, 384), 2)
    """
    given = strings(texts)
    if not given:
        raise ValueError("texts must be one or more; got none")
    folder = minilm_folder() if model is None else Path(model)
    teacher = load_encoder(folder, n_threads=1, max_length=max_length)
    chosen = [teacher.engine, teacher.precision, max_length]
    kept = keep_arrays(
        "lessons", [hashes_of(folder), *chosen, given], lambda: _answers(teacher, given)
    )
    vectors, cls_vectors, means, counts = kept.arrays
    return Lessons(vectors, cls_vectors, means, counts, kept.seconds)


def _answers(teacher: Encoder, texts: list[str]) -> Arrays:
    """Vectors of the texts in both poolings, mean and count of each token."""
    n_tokens = teacher.tokenizer.get_vocab_size()
    vectors, cls_vectors = np.empty((2, len(texts), teacher.dim), dtype=np.float32)
    sums, counts = np.zeros((n_tokens, teacher.dim)), np.zeros(n_tokens, dtype=np.int64)

    def answer(batch: tuple[list[int], Tokens]) -> Arrays:
        positions, tokens = batch
        hidden = np.asarray(teacher.forward(tokens))
        inside = tokens.mask.astype(bool)
        inside[:, 0] = False  # the special tokens at both ends
        inside[range(len(inside)), tokens.mask.sum(axis=1) - 1] = False
        by_mean, by_cls = (pool(hidden, tokens.mask, kind) for kind in ("mean", "cls"))
        return np.array(positions), by_mean, by_cls, tokens.ids[inside], hidden[inside]

    batches = token_batches(
        teacher.tokenizer, texts, Batching(max_texts=16), pad_id=teacher.pad_id
    )
    with ThreadPoolExecutor(usable_cores()) as threads:
        answers = threads.map(answer, batches)
        for positions, by_mean, by_cls, ids, states in answers:
            vectors[positions], cls_vectors[positions] = by_mean, by_cls
            met, place, often = np.unique(ids, return_inverse=True, return_counts=True)
            entries = (np.ones(len(ids)), (place, np.arange(len(ids))))
            sums[met] += csr_matrix(entries, shape=(len(met), len(ids))) @ states
            counts[met] += often
    means = sums / np.maximum(counts, 1)[:, None]
    return vectors, cls_vectors, means.astype(np.float32), counts
