"""Pool the hidden states of tokens to one unit vector per text, in NumPy and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from recsys_lib.arrays import Float32Array, IntArray

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls"]

_MIN_LENGTH = 1e-12  # as torch's `normalize`: a zero vector stays zero


def pool(hidden: Float32Array, mask: IntArray, kind: Pooling) -> Float32Array:
    """Reduce hidden states (n, length, dim) to unit vectors (n, dim).

    Args:
        hidden: Hidden states of the tokens.
        mask: (n, length), 1 for a token, 0 for padding.
        kind: "mean" over the tokens, or "cls", the first token alone.

    Raises:
        ValueError: If hidden states are not finite.

    >>> pool(np.array([[[3, 0], [0, 4], [9, 9]]], "f4"), np.array([[1, 1, 0]]), "mean")
    array([[0.6, 0.8]], dtype=float32)
    """
    if kind == "cls":
        pooled = hidden[:, 0]
    elif hidden.shape[:2] == mask.shape == (1, np.count_nonzero(mask)):  # no padding
        pooled = np.add.reduce(hidden, axis=1)
    else:
        pooled = (mask[:, None].astype(np.float32) @ hidden)[:, 0]
    lengths = np.sqrt(np.vecdot(pooled, pooled))
    if not np.isfinite(lengths).all():
        bad = np.count_nonzero(~np.isfinite(lengths))
        raise ValueError(f"hidden states must be finite; got NaN or inf in {bad}")
    # the sum has the direction of the mean
    units = pooled / np.maximum(lengths, _MIN_LENGTH)[:, None]
    return np.asarray(units, dtype=np.float32)


def pool_tensors(
    hidden: torch.Tensor, mask: torch.Tensor, kind: Pooling = "mean"
) -> torch.Tensor:
    """Do what `pool` does on torch, differentiably; NaN is not looked for."""
    if kind == "cls":
        pooled = hidden[:, 0].float()
    else:
        pooled = (mask.float().unsqueeze(1) @ hidden.float()).squeeze(1)
    lengths: torch.Tensor = pooled.norm(dim=1, keepdim=True)
    return pooled / lengths.clamp_min(_MIN_LENGTH)
