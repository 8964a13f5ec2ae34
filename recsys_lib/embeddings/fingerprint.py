"""Fingerprint an encoder by how it reads texts and by the vectors of a few of them."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.ranking.fingerprint import Fingerprint

_TEXTS = (
    "a film about a toy",
    "Space opera, 1977: a farm boy joins a war between the stars.",
    "red summer dress, cotton, size 38",
    "THE QUICK BROWN FOX",
    "wireless headphones with noise cancelling, 30 hours of battery",
    "一部关于爱情的电影",
    "éclair au chocolat",
    "0.5 mm pencil leads, 12 pieces",
)
# Cut at another length it has another vector: each part is of another subject, and
# twice as long as the one before.
_SUBJECTS = ("the sea and its fish", "taxes of a company", "a violin concert", "snow")
_LONG = "".join(f"{subject}, " * (6 << i) for i, subject in enumerate(_SUBJECTS))
_ROLES: tuple[Role, ...] = ("query", "document")


def fingerprint_of(encoder: TextEncoder, *, name: str = "") -> Fingerprint:
    """Encode a few fixed texts in both roles, and note what the encoder says of itself.

    Args:
        encoder: Any; of one behind a cache, the vectors alone are compared.
        name: Of its model; by default that of its class.

    Raises:
        ValueError: If a vector is not finite.

    >>> from recsys_lib.embeddings.encoder import load_encoder
    >>> encoder = load_encoder(engine="torch")
    >>> fingerprint_of(encoder).agrees(fingerprint_of(encoder))
    True
    """
    texts = [*_TEXTS, _LONG]
    parts = [encoder.encode(texts, role=role) for role in _ROLES]
    probes = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(probes).all():
        raise ValueError(f"vectors must be finite; got {probes.shape} with NaN or inf")
    precision = [str(getattr(encoder, x, "")) for x in ("engine", "precision")]
    return Fingerprint(
        name or type(encoder).__name__,
        probes,
        _settings(encoder),
        " ".join(x for x in precision if x),
    )


def _settings(encoder: Any) -> dict[str, str]:
    """Pooling, prompts and longest text, of an encoder that has them."""
    said = {}
    if (pooling := getattr(encoder, "pooling", None)) is not None:
        said["pooling"] = str(pooling)
    if (prompts := getattr(encoder, "prompts", None)) is not None:
        given = {role: text for role, text in asdict(prompts).items() if text}
        said["prompts"] = json.dumps(given) if given else ""
    if (tokenizer := getattr(encoder, "tokenizer", None)) is not None:
        cut = tokenizer.truncation
        said["tokens"] = str(cut["max_length"]) if cut else ""
    return said
