"""From the hidden states of tokens to one vector for each text."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from recsys_lib.embeddings.tokens import Ints

Vectors = npt.NDArray[np.float32]


_LEAST = 1e-12  # length, as of torch's `normalize`: a zero vector stays zero


def pool(hidden: Vectors, mask: Ints, pooling: str) -> Vectors:
    """Reduce hidden states (n, length, dim) to unit vectors (n, dim).

    Args:
        hidden: Of the tokens.
        mask: (n, length), 1 for a token, 0 for padding.
        pooling: "mean" over the tokens, or "cls", the first token alone.

    Raises:
        ValueError: If hidden states are not finite.

    >>> pool(np.array([[[3, 0], [0, 4], [9, 9]]], "f4"), np.array([[1, 1, 0]]), "mean")
    array([[0.6, 0.8]], dtype=float32)
    """
    if pooling == "cls":
        pooled = hidden[:, 0]
    elif hidden.shape[:2] == mask.shape == (1, np.count_nonzero(mask)):  # no padding
        pooled = np.add.reduce(hidden, axis=1)
    else:
        pooled = (mask[:, None].astype(np.float32) @ hidden)[:, 0]
    lengths = np.sqrt(np.vecdot(pooled, pooled))
    if not np.isfinite(lengths).all():
        bad = np.count_nonzero(~np.isfinite(lengths))
        raise ValueError(f"hidden states must be finite; got NaN or inf in {bad}")
    units = pooled / np.maximum(lengths, _LEAST)[:, None]  # of the mean: the same
    return np.asarray(units, dtype=np.float32)


def unit_means(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (n, dim) in the direction of the mean over the tokens."""
    summed = (mask.to(torch.float32).unsqueeze(1) @ hidden.float()).squeeze(1)
    return normalize(summed)


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    if pooling == "cls":
        return normalize(hidden[:, 0].float())
    return unit_means(hidden, mask)
