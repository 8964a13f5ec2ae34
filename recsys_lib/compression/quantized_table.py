"""Embedding tables quantised to 8 to 1 bits per value, with a bound on the error.

Values are float32. Values below its smallest normal number, 1.2e-38, may be rounded to
zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys_lib.arrays import Float32Array


@dataclass(frozen=True)
class QuantizedTable:
    """A table of n vectors as packed codes, with all that dequantising needs.

    Attributes:
        packed: (n, ceil(dim * bits / 8)) uint8, the codes of a row bit by bit.
        scales: (n,) float32, the width of a quantisation step in each row.
        bits: Bits per value, 1..8.
        dim: Values per row.
    """

    packed: NDArray[np.uint8]
    scales: Float32Array
    bits: int
    dim: int

    @property
    def codes(self) -> NDArray[np.int8]:
        """(n, dim) numbers of steps, in [-2**(bits-1), 2**(bits-1) - 1]."""
        return _unpack(self.packed, self.bits, self.dim)

    @property
    def size_bytes(self) -> int:
        """Bytes of the codes and the scales together."""
        return self.packed.nbytes + self.scales.nbytes

    @property
    def error_bound(self) -> Float32Array:
        """(n,) largest possible error of a value in each row: half a step."""
        return self.scales / np.float32(2)

    @property
    def predicted_rmse(self) -> float:
        """Root mean squared error if errors are uniform over a step (Bennett 1948).

        A uniform error over a step of width s has variance s**2 / 12.
        """
        return float(np.sqrt(np.mean(self.scales.astype(float) ** 2) / 12))

    def dequantize(self) -> Float32Array:
        """(n, dim) values, each the middle of its step."""
        return (self.codes + np.float32(0.5)) * self.scales[:, None]


def quantize_table(vectors: ArrayLike, *, bits: int) -> QuantizedTable:
    """Quantise each row to 2**bits equal steps that span its largest absolute value.

    A value is represented by the middle of its step. The levels are symmetric about
    zero; with one bit, only the sign is stored. A row of zeros stays zero.

    Args:
        vectors: (n, dim) finite values; converted to float32.
        bits: Bits per value, 1..8.

    Returns:
        A table whose `dequantize()` is off by at most half a step.

    Raises:
        ValueError: If `bits` is outside 1..8, or `vectors` not finite or not (n, dim).

    Source: Gray and Neuhoff, IEEE Trans. Inf. Theory 44(6), 1998 (mid-rise quantiser).

    >>> table = quantize_table([[0.0, 0.4, -1.0, 0.9]], bits=2)
    >>> table.codes.tolist(), table.dequantize().tolist(), table.size_bytes
    ([[0, 0, -2, 1]], [[0.25, 0.25, -0.75, 0.75]], 5)
    """
    table = _checked(vectors)
    check_bits(bits)
    half = 2 ** (bits - 1)
    scales = np.abs(table).max(axis=1) / np.float32(half)
    steps = table / np.where(scales > 0, scales, 1)[:, None]
    codes = np.floor(steps).clip(-half, half - 1).astype(np.int8)
    return QuantizedTable(_pack(codes, bits), scales, bits, table.shape[1])


def check_bits(bits: int) -> None:
    """Raise a ValueError unless the bits per value are 1..8."""
    if bits not in range(1, 9):
        raise ValueError(f"bits must be 1..8; got {bits}")


def _checked(vectors: ArrayLike) -> Float32Array:
    table = np.asarray(vectors, dtype=np.float32)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"vectors must be (n, dim), not empty; got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("vectors must be finite; got NaN or infinity")
    return table


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
