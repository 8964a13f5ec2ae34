"""Pruning a BERT: single weights set to zero, or heads, units and layers taken out.

Zeros change only values: a dense kernel multiplies by them all the same. What is taken
out takes no memory and no time. `recsys_lib.compression.importance` ranks what may go.
"""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from recsys_lib.embeddings.encoder import Encoder
from recsys_lib.embeddings.engines.torch import TorchNetwork

Mask = npt.NDArray[np.bool_]
Scope = Literal["global", "layer"]


def zero_weights(
    encoder: Encoder, fraction: float, *, scope: Scope = "global"
) -> Encoder:
    """Set the smallest weights of the layers' matrices to zero.

    Biases and the tables of embeddings stay. Weights as large as the largest that goes
    go with it.

    Args:
        encoder: A BERT on the torch engine, which stays as it is.
        fraction: Of the weights that go, in [0, 1).
        scope: The smallest of all layers ("global"), or of each matrix ("layer").

    Returns:
        An encoder as large and as slow as before.

    Raises:
        ValueError: If fraction or scope is out of its range.
        TypeError: If the encoder is no BERT on the torch engine.

    Source: Han et al., NeurIPS 2015, arXiv 1506.02626.
    """
    _check_options(fraction, scope)
    pruned = _copied(encoder)
    modules = bert_of(pruned).encoder.modules()
    matrices = [x.weight for x in modules if isinstance(x, torch.nn.Linear)]
    with torch.no_grad():
        for group in [matrices] if scope == "global" else [[x] for x in matrices]:
            sizes = torch.cat([x.abs().flatten() for x in group])
            if n := round(fraction * len(sizes)):
                largest = sizes.kthvalue(n).values
                for matrix in group:
                    matrix.masked_fill_(matrix.abs() <= largest, 0)
    return pruned


def least_important(
    scores: npt.ArrayLike, fraction: float, *, scope: Scope = "global"
) -> Mask:
    """Mark the parts with the lowest scores; of each layer the best one stays.

    Args:
        scores: (n_layers, n_parts), or (n_layers,) of whole layers, all finite.
        fraction: Of the parts to mark, in [0, 1), rounded to whole parts.
        scope: The lowest of all layers ("global"), or of each layer ("layer").

    Returns:
        True for what may go, of the shape of the scores; of equal ones the first.

    Raises:
        ValueError: If scores are not finite, or an option is out of its range.

    >>> least_important([[1, 5, 3], [7, 8, 9]], 2 / 3).tolist()
    [[True, False, True], [True, True, False]]
    """
    _check_options(fraction, scope)
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim not in (1, 2) or not table.size or not np.isfinite(table).all():
        raise ValueError(f"scores must be (n_layers, n), finite; got {table}")
    marked = np.zeros(np.atleast_2d(table).shape, dtype=bool)
    spared = np.atleast_2d(table).copy()
    spared[np.arange(len(spared)), spared.argmax(axis=1)] = np.inf
    rows = spared.reshape(1, -1) if scope == "global" else spared
    lowest = rows.argsort(axis=1, kind="stable")[:, : round(fraction * rows.shape[1])]
    np.put_along_axis(marked.reshape(rows.shape), lowest, True, axis=1)
    return (marked & np.isfinite(spared)).reshape(table.shape)


def remove_heads(encoder: Encoder, removed: npt.ArrayLike) -> Encoder:
    """Take attention heads out, with their queries, keys, values and outputs.

    Args:
        encoder: A BERT on the torch engine, which stays as it is.
        removed: (n_layers, n_heads) True for those to take out, not all of a layer.

    Raises:
        ValueError: If `removed` does not fit, or leaves a layer without a head.
        TypeError: If the encoder is no BERT on the torch engine, `removed` not bool.
    """
    pruned = _copied(encoder)
    layers = bert_of(pruned).encoder.layer
    n_heads = common_width(layer.attention.self.num_attention_heads for layer in layers)
    kept = _kept(removed, (len(layers), n_heads))
    for layer, heads in zip(layers, kept, strict=True):
        attention = layer.attention.self
        values = heads.repeat_interleave(attention.attention_head_size)
        for projection in (attention.query, attention.key, attention.value):
            _keep_outputs(projection, values)
        _keep_inputs(layer.attention.output.dense, values)
        attention.num_attention_heads = int(heads.sum())
        attention.all_head_size = int(values.sum())
    return pruned


def remove_units(encoder: Encoder, removed: npt.ArrayLike) -> Encoder:
    """Take feed-forward units out, as `remove_heads` does heads.

    Args:
        encoder: A BERT on the torch engine, which stays as it is.
        removed: (n_layers, n_units) True for those to take out, not all of a layer.
    """
    pruned = _copied(encoder)
    layers = bert_of(pruned).encoder.layer
    n_units = common_width(layer.output.dense.in_features for layer in layers)
    kept = _kept(removed, (len(layers), n_units))
    for layer, units in zip(layers, kept, strict=True):
        _keep_outputs(layer.intermediate.dense, units)
        _keep_inputs(layer.output.dense, units)
    return pruned


def remove_layers(encoder: Encoder, removed: npt.ArrayLike) -> Encoder:
    """Take whole layers out, as `remove_heads` does heads.

    Args:
        encoder: A BERT on the torch engine, which stays as it is.
        removed: (n_layers,) True for those to take out, not all.

    Source: Sajjad et al., Computer Speech & Language 77, 2023, arXiv 2004.03844.
    """
    pruned = _copied(encoder)
    layers = bert_of(pruned).encoder.layer
    kept = _kept(removed, (len(layers),))
    left = [layer for layer, stays in zip(layers, kept, strict=True) if stays]
    bert_of(pruned).encoder.layer = torch.nn.ModuleList(left)
    bert_of(pruned).config.num_hidden_layers = len(left)
    return pruned


def _keep_outputs(linear: torch.nn.Linear, kept: torch.Tensor) -> None:
    linear.weight = torch.nn.Parameter(linear.weight.detach()[kept])
    linear.bias = torch.nn.Parameter(linear.bias.detach()[kept])
    linear.out_features = len(linear.weight)


def _keep_inputs(linear: torch.nn.Linear, kept: torch.Tensor) -> None:
    linear.weight = torch.nn.Parameter(linear.weight.detach()[:, kept])
    linear.in_features = linear.weight.shape[1]


def _kept(removed: npt.ArrayLike, shape: tuple[int, ...]) -> torch.Tensor:
    mask = np.asarray(removed)
    if mask.dtype != bool:
        raise TypeError(f"removed must be of bool; got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"removed must be of shape {shape}; got {mask.shape}")
    if mask.all(axis=-1).any():
        raise ValueError("removed must leave one in each layer; got all of one")
    return torch.from_numpy(~mask)


def _copied(encoder: Encoder) -> Encoder:
    bert_of(encoder)
    return replace(encoder, network=copy.deepcopy(encoder.network))


def bert_of(encoder: Encoder) -> Any:
    """The model of transformers that an encoder runs.

    Raises:
        TypeError: If the encoder is no BERT on the torch engine.
    """
    network: object = encoder.network
    if isinstance(network, TorchNetwork) and network.model.config.model_type == "bert":
        return network.model
    raise TypeError(f'encoder must be a BERT of engine="torch"; got {network}')


def common_width(widths: Iterable[int]) -> int:
    """What all layers have as many of.

    Raises:
        ValueError: If they differ.
    """
    found = set(widths)
    if len(found) > 1:
        raise ValueError(f"layers must be alike; got widths {sorted(found)}")
    return found.pop()


def _check_options(fraction: float, scope: str) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must lie in [0, 1); got {fraction}")
    if scope not in ("global", "layer"):
        raise ValueError(f'scope must be "global" or "layer"; got {scope!r}')
