"""Vectors of texts, encoded once on this kind of machine and then read from disk."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.arrays import Float32Array
from recsys_lib.artifacts import cache_arrays
from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.transformer import TextEncoder

_CHUNK = 512  # texts between two reports
_EVERY_S = 10.0  # between two reports


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """Vectors of texts, and where they come from.

    Attributes:
        vectors: (n, dim) unit vectors in the order of the texts.
        seconds: That encoding them took, now or when they were stored.
        is_new: Whether they were encoded now.
    """

    vectors: Float32Array
    seconds: float
    is_new: bool


def stored_vectors(
    encoder: TextEncoder,
    identity: object,
    texts: Sequence[str],
    *,
    role: Role = "document",
    say: Callable[[str], None] | None = None,
) -> StoredVectors:
    """Encode each different text once; the vectors are cached.

    Args:
        encoder: Its engine and precision are a part of what is compared.
        identity: JSON value that tells its weights from others, such as their hashes.
        texts: Any number.
        role: As of `Encoder.encode`.
        say: Called with the progress every ten seconds; None for all texts in one call.
    """
    how = [getattr(encoder, x, "") for x in ("engine", "precision")]
    different = list(dict.fromkeys(texts))

    def encode() -> list[Float32Array]:
        size = max(len(different), 1) if say is None else _CHUNK
        return [_in_chunks(encoder, different, role, size, say)]

    found = cache_arrays("vectors", [identity, *how, role, different], encode)
    vectors: Float32Array = found.arrays[0]
    place = {text: i for i, text in enumerate(different)}
    rows = vectors[[place[text] for text in texts]]
    return StoredVectors(rows, found.seconds, is_new=found.is_new)


def _in_chunks(
    encoder: TextEncoder,
    texts: Sequence[str],
    role: Role,
    size: int,
    say: Callable[[str], None] | None,
) -> Float32Array:
    began = said = time.monotonic()
    parts = []
    for start in range(0, max(len(texts), 1), size):
        parts.append(encoder.encode(texts[start : start + size], role=role))
        done, now = min(start + size, len(texts)), time.monotonic()
        if say and now - said > _EVERY_S:
            left = (now - began) * (len(texts) / done - 1)
            say(f"{done:,} of {len(texts):,} texts encoded, about {left:.0f} s left")
            said = now
    return np.concatenate(parts)
