"""Pruning a BERT: zeroing single weights, or removing heads, units and layers.

Zeroing changes only values: a dense matrix product takes as long as before. Removed
parts take no memory and no time. `recsys_lib.compression.importance` ranks the parts.
"""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.arrays import BoolArray
from recsys_lib.embeddings.engines.torch import TorchNetwork
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs

with needs("torch"):
    import torch


def zero_weights(encoder: Encoder, fraction: float) -> Encoder:
    """Set the smallest weights in the matrices of all layers to zero.

    Biases and embedding tables are not pruned. Weights equal in size to the largest one
    that is zeroed are zeroed too.

    Args:
        encoder: A BERT on the torch engine; it is not changed.
        fraction: Fraction of the weights to zero, in [0, 1).

    Returns:
        An encoder as large and as slow as before.

    Raises:
        ValueError: If the fraction is out of its range.
        TypeError: If the encoder is not a BERT on the torch engine.

    Source: Han et al., NeurIPS 2015, arXiv 1506.02626.
    """
    _check_fraction(fraction)
    pruned = _copied(encoder)
    modules = bert_of(pruned).encoder.modules()
    matrices = [x.weight for x in modules if isinstance(x, torch.nn.Linear)]
    with torch.no_grad():
        sizes = torch.cat([x.abs().flatten() for x in matrices])
        if n := round(fraction * len(sizes)):
            largest = sizes.kthvalue(n).values
            for matrix in matrices:
                matrix.masked_fill_(matrix.abs() <= largest, 0)
    return pruned


def least_important(scores: npt.ArrayLike, fraction: float) -> BoolArray:
    """Mark the parts with the lowest scores, but never the best part of a layer.

    Args:
        scores: (n_layers, n_parts), or (n_layers,) of whole layers, all finite.
        fraction: Fraction of all parts to mark, in [0, 1), rounded to whole parts.

    Returns:
        A mask of the shape of the scores, true for the parts to remove. Of equal scores
        the first is marked first.

    Raises:
        ValueError: If scores are not finite, or the fraction is out of its range.

    >>> least_important([[1, 5, 3], [7, 8, 9]], 2 / 3).tolist()
    [[True, False, True], [True, True, False]]
    """
    _check_fraction(fraction)
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim not in (1, 2) or not table.size or not np.isfinite(table).all():
        raise ValueError(f"scores must be (n_layers, n), finite; got {table}")
    rows = np.atleast_2d(table).copy()
    rows[np.arange(len(rows)), rows.argmax(axis=1)] = np.inf
    lowest = rows.argsort(axis=None, kind="stable")[: round(fraction * rows.size)]
    marked = np.zeros(rows.size, dtype=bool)
    marked[lowest] = True
    return (marked.reshape(rows.shape) & np.isfinite(rows)).reshape(table.shape)


def remove_heads(encoder: Encoder, removed: npt.ArrayLike) -> Encoder:
    """Remove attention heads, with their queries, keys, values and outputs.

    Args:
        encoder: A BERT on the torch engine; it is not changed.
        removed: (n_layers, n_heads) bool, true for the heads to remove; not all heads
            of a layer.

    Raises:
        ValueError: If `removed` has the wrong shape, leaves a layer without a head, or
            the layers have different numbers of heads.
        TypeError: If the encoder is not a BERT on the torch engine, or `removed` is not
            bool.
    """
    pruned = _copied(encoder)
    layers = bert_of(pruned).encoder.layer
    n_heads = common_width(layer.attention.self.num_attention_heads for layer in layers)
    masks = _remaining(removed, (len(layers), n_heads))
    for layer, heads in zip(layers, masks, strict=True):
        attention = layer.attention.self
        values = heads.repeat_interleave(attention.attention_head_size)
        for projection in (attention.query, attention.key, attention.value):
            _select_outputs(projection, values)
        _select_inputs(layer.attention.output.dense, values)
        attention.num_attention_heads = int(heads.sum())
        attention.all_head_size = int(values.sum())
    return pruned


def remove_units(encoder: Encoder, removed: npt.ArrayLike) -> Encoder:
    """Remove feed-forward units; errors as of `remove_heads`.

    Args:
        encoder: A BERT on the torch engine; it is not changed.
        removed: (n_layers, n_units) bool, true for the units to remove; not all units
            of a layer.
    """
    pruned = _copied(encoder)
    layers = bert_of(pruned).encoder.layer
    n_units = common_width(layer.output.dense.in_features for layer in layers)
    masks = _remaining(removed, (len(layers), n_units))
    for layer, units in zip(layers, masks, strict=True):
        _select_outputs(layer.intermediate.dense, units)
        _select_inputs(layer.output.dense, units)
    return pruned


def remove_layers(encoder: Encoder, removed: npt.ArrayLike) -> Encoder:
    """Remove whole layers; errors as of `remove_heads`.

    Args:
        encoder: A BERT on the torch engine; it is not changed.
        removed: (n_layers,) bool, true for the layers to remove; not all.

    Source: Sajjad et al., Computer Speech & Language 77, 2023, arXiv 2004.03844.
    """
    pruned = _copied(encoder)
    layers = bert_of(pruned).encoder.layer
    mask = _remaining(removed, (len(layers),))
    left = [layer for layer, stays in zip(layers, mask, strict=True) if stays]
    bert_of(pruned).encoder.layer = torch.nn.ModuleList(left)
    bert_of(pruned).config.num_hidden_layers = len(left)
    return pruned


def _select_outputs(linear: torch.nn.Linear, mask: torch.Tensor) -> None:
    linear.weight = torch.nn.Parameter(linear.weight.detach()[mask])
    linear.bias = torch.nn.Parameter(linear.bias.detach()[mask])
    linear.out_features = len(linear.weight)


def _select_inputs(linear: torch.nn.Linear, mask: torch.Tensor) -> None:
    linear.weight = torch.nn.Parameter(linear.weight.detach()[:, mask])
    linear.in_features = linear.weight.shape[1]


def _remaining(removed: npt.ArrayLike, shape: tuple[int, ...]) -> torch.Tensor:
    mask = np.asarray(removed)
    if mask.dtype != bool:
        raise TypeError(f"removed must be bool; got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"removed must be of shape {shape}; got {mask.shape}")
    if mask.all(axis=-1).any():
        raise ValueError("removed must leave a part in each layer; got all of one")
    return torch.from_numpy(~mask)


def _copied(encoder: Encoder) -> Encoder:
    bert_of(encoder)
    return replace(encoder, network=copy.deepcopy(encoder.network))


def bert_of(encoder: Encoder) -> Any:
    """Return the transformers model of an encoder.

    Raises:
        TypeError: If the encoder is not a BERT on the torch engine.
    """
    network: object = encoder.network
    if isinstance(network, TorchNetwork) and network.model.config.model_type == "bert":
        return network.model
    raise TypeError(f'encoder must be a BERT of engine="torch"; got {network}')


def common_width(widths: Iterable[int]) -> int:
    """Return the width that all layers have in common.

    Raises:
        ValueError: If the widths differ.
    """
    found = set(widths)
    if len(found) > 1:
        raise ValueError(f"layers must have equal widths; got {sorted(found)}")
    return found.pop()


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must lie in [0, 1); got {fraction}")
