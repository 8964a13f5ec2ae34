"""Simulated quantisation of an encoder's weights to 8 to 1 bits.

Weights are rounded, but stay floating-point numbers. This shows the quality and the
bytes of a bit width, not the speed (`load_encoder` has an int8 engine).
"""

import copy
from dataclasses import dataclass, replace

from recsys_lib.compression.quantized_table import check_bits
from recsys_lib.embeddings.engines.torch import TorchNetwork
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs

with needs("torch"):
    import torch


_ROUNDS = 12  # more rounds hardly reduce the error
_CHUNK_ROWS = 512  # rows rounded together, few enough to fit in the processor's cache


@dataclass(frozen=True, eq=False)
class QuantizedEncoder:
    """An encoder with rounded weights, and the bytes that they would take.

    Attributes:
        encoder: With dequantised weights, in their original precision.
        bits: Bits per weight, 1..8.
        size_bytes: Of the codes, a float32 step per row, and the unrounded weights.
    """

    encoder: Encoder
    bits: int
    size_bytes: int


def quantize_encoder(encoder: Encoder, *, bits: int) -> QuantizedEncoder:
    """Round the matrices of an encoder, with a step per output channel or token.

    Biases and layer norms, a hundredth of the weights, are not rounded.

    Args:
        encoder: Of engine "torch"; it is not changed.
        bits: Bits per weight, 1..8.

    Raises:
        ValueError: If bits is outside 1..8.
        TypeError: If the encoder is not on the torch engine.

    Source: Jacob et al., CVPR 2018, arXiv 1712.05877 (a scale per channel).

    >>> from recsys_lib.embeddings.encoder import load_encoder
    >>> original = load_encoder(engine="torch")
    >>> original.size_bytes / quantize_encoder(original, bits=4).size_bytes > 7.5
    True
    """
    network: object = encoder.network
    if not isinstance(network, TorchNetwork):
        raise TypeError(f'encoder must be of engine="torch"; got {network}')
    check_bits(bits)
    rounded = copy.deepcopy(network)
    kinds = (torch.nn.Linear, torch.nn.Embedding)
    size_bytes = network.size_bytes
    with torch.no_grad():
        for module in rounded.model.modules():
            if isinstance(module, kinds):
                size_bytes += _stored_bytes(module.weight, bits) - module.weight.nbytes
                module.weight.copy_(round_rows(module.weight, bits=bits))
    return QuantizedEncoder(replace(encoder, network=rounded), bits, size_bytes)


def round_rows(weight: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Round each row to 2**bits equally spaced levels about zero, with a fitted step.

    The first step is the one at which the largest value just fits. Then, in turns, each
    value takes its nearest level and the step is fitted by least squares. The error
    never grows, and outliers do not widen the step. With one bit, a value becomes its
    sign times the mean absolute value of its row.

    Args:
        weight: (n_rows, dim), finite; a row of values below 1e-28 gets fewer levels.
        bits: Bits per value, 1..8.

    Returns:
        (n_rows, dim), at most 2**bits different values in a row. A row of zeros stays
        zero.

    Raises:
        ValueError: If bits is outside 1..8, or weight not (n_rows, dim).

    Source: Max, IRE Trans. Inf. Theory 6(1), 1960, doi 10.1109/TIT.1960.1057548 (equal
    levels of least error); Rastegari et al., ECCV 2016, arXiv 1603.05279 (one bit).

    >>> round_rows(torch.tensor([[3.0, -1.0, 2.0]]), bits=1).tolist()
    [[2.0, -2.0, 2.0]]
    """
    check_bits(bits)
    if weight.ndim != 2:
        raise ValueError(f"weight must be (n_rows, dim); got {tuple(weight.shape)}")
    parts = [
        _rounded(part, 2 ** (bits - 1)) for part in torch.split(weight, _CHUNK_ROWS)
    ]
    return torch.cat(parts)


def _rounded(weight: torch.Tensor, half: int) -> torch.Tensor:
    values = weight.float()
    steps = values.abs().amax(dim=1, keepdim=True) / half
    for _ in range(_ROUNDS):
        whole = (values / steps.clamp_min(1e-30)).floor_()
        levels = whole.clamp_(-half, half - 1).add_(0.5)
        fitted = (levels * values).sum(dim=1, keepdim=True)
        steps = fitted / levels.square().sum(dim=1, keepdim=True)
    return (levels * steps).to(weight.dtype)


def _stored_bytes(weight: torch.Tensor, bits: int) -> int:
    n_rows, dim = weight.shape
    return n_rows * (-(-dim * bits // 8) + 4)  # whole bytes and a float32
