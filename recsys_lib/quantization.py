"""Embedding tables in 8 to 1 bits a value: true bytes, and the error to expect."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class QuantizedTable:
    """A table of n vectors in packed codes, with all that undoes the quantisation.

    Attributes:
        packed: (n, ceil(dim * bits / 8)) uint8, the codes without a bit between them.
        scales: (n,) float32, the width of one step in each row.
        bits: Bits a value, 1..8.
        dim: Values a row.
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    bits: int
    dim: int

    @property
    def codes(self) -> NDArray[np.int8]:
        """(n, dim) whole steps, in [-2**(bits-1), 2**(bits-1) - 1]."""
        return _unpack(self.packed, self.bits, self.dim)

    @property
    def size_bytes(self) -> int:
        """Bytes of the codes and the scales together."""
        return self.packed.nbytes + self.scales.nbytes

    @property
    def error_bound(self) -> NDArray[np.float32]:
        """(n,) largest possible error of a value in each row: half a step."""
        return self.scales / np.float32(2)

    @property
    def predicted_rmse(self) -> float:
        """Root mean squared error if errors spread evenly over a step (Bennett 1948).

        A step is s wide, an even error in it has variance s**2 / 12.
        """
        return float(np.sqrt(np.mean(self.scales.astype(float) ** 2) / 12))

    def dequantize(self) -> NDArray[np.float32]:
        """(n, dim) the middle of each value's step."""
        return (self.codes + np.float32(0.5)) * self.scales[:, None]


def quantize_table(vectors: ArrayLike, *, bits: int) -> QuantizedTable:
    """Quantise each row to 2**bits even steps between minus and plus its largest value.

    The levels lie symmetric about zero and halfway between the steps' edges, so all of
    them are used, with one bit the sign alone. A row of zeros comes back as zeros.

    Args:
        vectors: (n, dim) finite values; computed in float32.
        bits: Bits a value, 1..8.

    Returns:
        QuantizedTable, whose `dequantize()` is at most half a step off.

    Raises:
        ValueError: If `bits` is outside 1..8, or `vectors` not finite or not (n, dim).

    Source: Gray and Neuhoff, IEEE Trans. Inf. Theory 44(6), 1998 (mid-rise quantiser).

    >>> table = quantize_table([[0.0, 0.4, -1.0, 0.9]], bits=2)
    >>> table.codes.tolist(), table.dequantize().tolist(), table.size_bytes
    ([[0, 0, -2, 1]], [[0.25, 0.25, -0.75, 0.75]], 5)
    """
    table = np.asarray(vectors, dtype=np.float32)
    if bits not in range(1, 9):
        raise ValueError(f"bits must be 1..8; got {bits}")
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"vectors must be (n, dim), neither 0; got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("vectors must be finite; got NaN or infinity")
    half = 2 ** (bits - 1)
    scales = np.abs(table).max(axis=1) / np.float32(half)
    steps = table / np.where(scales > 0, scales, 1)[:, None]
    codes = np.floor(steps).clip(-half, half - 1).astype(np.int8)
    return QuantizedTable(_pack(codes, bits), scales, bits, table.shape[1])


def _pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    unsigned = (codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    each = np.unpackbits(unsigned[:, :, None], axis=2)  # (n, dim, 8)
    return np.packbits(each[:, :, 8 - bits :].reshape(len(codes), -1), axis=1)


def _unpack(packed: NDArray[np.uint8], bits: int, dim: int) -> NDArray[np.int8]:
    each = np.unpackbits(packed, axis=1, count=dim * bits).reshape(-1, dim, bits)
    padded = np.pad(each, ((0, 0), (0, 0), (8 - bits, 0)))
    unsigned = np.packbits(padded, axis=2)[:, :, 0].astype(np.int16)
    codes: NDArray[np.int8] = (unsigned - 2 ** (bits - 1)).astype(np.int8)
    return codes
