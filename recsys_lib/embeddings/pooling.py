"""Pool the hidden states of tokens to one unit vector per text, in NumPy and torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from recsys_lib.arrays import Float32Array, IntArray

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls", "max", "weightedmean", "lasttoken"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "Identity": lambda x: x,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
}  # by their names in torch.nn

_MIN_LENGTH = 1e-12  # as torch's `normalize`: a zero vector stays zero


@dataclass(frozen=True, eq=False)
class Dense:
    """A layer after pooling, from x to ``activation(weight @ x + bias)``.

    Attributes:
        weight: (n_out, n_in).
        bias: (n_out,).
        activation: A name in `ACTIVATIONS`.
        unit_input: Whether x is made a unit vector first.
    """

    weight: Float32Array
    bias: Float32Array
    activation: str = "Identity"
    unit_input: bool = False


def pool(
    hidden: Float32Array, mask: IntArray, kind: Pooling, layers: Sequence[Dense] = ()
) -> Float32Array:
    """Reduce hidden states (n, length, dim) to unit vectors (n, dim).

    Args:
        hidden: Hidden states of the tokens.
        mask: (n, length), 1 for a token, 0 for padding.
        kind: "mean" over the tokens; "cls", the first token alone; "max" of each
            dimension; "weightedmean", weights rise with the position: 1, 2, 3, ...;
            "lasttoken", the last token alone.
        layers: Dense layers between pooling and the unit vector.

    Raises:
        ValueError: If hidden states are not finite.

    >>> pool(np.array([[[3, 0], [0, 4], [9, 9]]], "f4"), np.array([[1, 1, 0]]), "mean")
    array([[0.6, 0.8]], dtype=float32)
    """
    pooled = _pooled(hidden, mask, kind)
    if layers and kind in ("mean", "weightedmean"):  # else its direction is enough
        pooled = pooled / np.maximum(_weights(mask, kind).sum(axis=1), 1)[:, None]
    for layer in layers:
        given = _units(pooled) if layer.unit_input else pooled
        pooled = ACTIVATIONS[layer.activation](given @ layer.weight.T + layer.bias)
    return _units(pooled)


def _pooled(hidden: Float32Array, mask: IntArray, kind: Pooling) -> Float32Array:
    """Pool; a sum in place of a mean, which has its direction."""
    if kind == "mean" and hidden.shape[:2] == mask.shape == (1, np.count_nonzero(mask)):
        return np.asarray(np.add.reduce(hidden, axis=1))  # no padding
    if kind in ("mean", "weightedmean"):
        return np.asarray((_weights(mask, kind)[:, None] @ hidden)[:, 0])
    if kind == "max":
        return np.asarray(
            hidden.max(axis=1, where=mask[..., None] > 0, initial=-np.inf)
        )
    at = mask.argmax(axis=1)
    if kind == "lasttoken":
        at = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return np.asarray(hidden[np.arange(len(hidden)), at])


def _weights(mask: IntArray, kind: Pooling) -> Float32Array:
    """Weight of each token (n, length), 0 for padding."""
    weights = mask.astype(np.float32)
    if kind == "weightedmean":
        weights *= np.arange(1, mask.shape[1] + 1, dtype=np.float32)
    return weights


def _units(vectors: Float32Array) -> Float32Array:
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    if not np.isfinite(lengths).all():
        bad = np.count_nonzero(~np.isfinite(lengths))
        raise ValueError(f"hidden states must be finite; got NaN or inf in {bad}")
    units = vectors / np.maximum(lengths, _MIN_LENGTH)[:, None]
    return np.asarray(units, dtype=np.float32)


def pool_tensors(
    hidden: torch.Tensor,
    mask: torch.Tensor,
    kind: Pooling = "mean",
    layers: Sequence[Dense] = (),
) -> torch.Tensor:
    """Do what `pool` does on torch, differentiably; NaN is not looked for."""
    pooled = _pooled_tensors(hidden, mask, kind).float()
    if layers and kind in ("mean", "weightedmean"):
        pooled = pooled / _tensor_weights(mask, kind).sum(1, True).clamp_min(1)
    for layer in layers:
        given = _unit_tensors(pooled) if layer.unit_input else pooled
        pooled = _apply(layer, given)
    return _unit_tensors(pooled)


def _pooled_tensors(
    hidden: torch.Tensor, mask: torch.Tensor, kind: Pooling
) -> torch.Tensor:
    if kind in ("mean", "weightedmean"):
        return (_tensor_weights(mask, kind).unsqueeze(1) @ hidden.float()).squeeze(1)
    if kind == "max":
        return hidden.masked_fill(mask.unsqueeze(2) == 0, -np.inf).amax(dim=1)
    at = mask.argmax(dim=1)
    if kind == "lasttoken":
        at = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return hidden.take_along_dim(at[:, None, None], dim=1).squeeze(1)


def _tensor_weights(mask: torch.Tensor, kind: Pooling) -> torch.Tensor:
    if kind == "mean":
        return mask.float()
    return mask.float() * mask.new_ones(mask.shape).cumsum(1)


def _apply(layer: Dense, given: torch.Tensor) -> torch.Tensor:
    import torch

    weight, bias = (
        torch.from_numpy(x).to(given.device) for x in (layer.weight, layer.bias)
    )
    activation: torch.nn.Module = getattr(torch.nn, layer.activation)()
    found: torch.Tensor = activation(torch.nn.functional.linear(given, weight, bias))
    return found


def _unit_tensors(vectors: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = vectors.norm(dim=1, keepdim=True)
    return vectors / lengths.clamp_min(_MIN_LENGTH)
