"""Embedding tables in few bits: true bytes, a way back, and a bound on the error.

`QuantizedTable` keeps 8 to 1 bits a value, `BinaryTable` the signs, `ProductTable` one
byte for many values. For each, `score_error_bound` says how far a score may be off.
Values are float32: what is smaller than its smallest normal number, 1.2e-38, may count
as zero, and scales and bounds are exact up to that.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

faiss: Any = import_module("faiss")  # of the extra `cpu` or `gpu`; its stubs lack much


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
    def max_residual(self) -> float:
        """Largest possible distance of a row from its dequantised one."""
        return float(np.sqrt(self.dim) * self.error_bound.max())

    @property
    def predicted_rmse(self) -> float:
        """Root mean squared error if errors spread evenly over a step (Bennett 1948).

        A step is s wide, an even error in it has variance s**2 / 12.
        """
        return float(np.sqrt(np.mean(self.scales.astype(float) ** 2) / 12))

    def dequantize(self) -> NDArray[np.float32]:
        """(n, dim) the middle of each value's step."""
        return (self.codes + np.float32(0.5)) * self.scales[:, None]


@dataclass(frozen=True)
class BinaryTable:
    """A table of n vectors of which the signs are kept, and how long to make them.

    Attributes:
        packed: (n, ceil(dim / 8)) uint8, a bit a value, set where it is 0 or above.
        scales: (n,) float32, the mean size of the values in each row.
        dim: Values a row.
        max_residual: Largest distance of a row from its dequantised one.
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    dim: int
    max_residual: float

    @property
    def size_bytes(self) -> int:
        """Bytes of the bits and the scales together."""
        return self.packed.nbytes + self.scales.nbytes

    @property
    def cosines(self) -> NDArray[np.float32]:
        """(n,) cosine of each row, if it was a unit vector, with its dequantised one.

        Exact, for the signs' product with the row is the sum of its sizes.
        """
        return self.scales * np.float32(np.sqrt(self.dim))

    def dequantize(self) -> NDArray[np.float32]:
        """(n, dim) the signs times the scale: of all such vectors the nearest."""
        bits = np.unpackbits(self.packed, axis=1, count=self.dim)
        return (bits * np.float32(2) - np.float32(1)) * self.scales[:, None]


@dataclass(frozen=True)
class ProductTable:
    """A table of n vectors cut into parts, each the nearest of a few known ones.

    Attributes:
        codes: (n, n_parts) uint8, which centroid stands for each part.
        codebooks: (n_parts, n_centroids, dim / n_parts) float32.
        max_residual: Largest distance of a row from its dequantised one.
    """

    codes: NDArray[np.uint8]
    codebooks: NDArray[np.float32]
    max_residual: float

    @property
    def size_bytes(self) -> int:
        """Bytes of the codes and the codebooks together."""
        return self.codes.nbytes + self.codebooks.nbytes

    def dequantize(self) -> NDArray[np.float32]:
        """(n, dim) the centroids of each row side by side."""
        parts = np.arange(len(self.codebooks))
        rows: NDArray[np.float32] = self.codebooks[parts, self.codes]  # (n, parts, .)
        return rows.reshape(len(self.codes), -1)


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
    table = _checked(vectors)
    if bits not in range(1, 9):
        raise ValueError(f"bits must be 1..8; got {bits}")
    half = 2 ** (bits - 1)
    scales = np.abs(table).max(axis=1) / np.float32(half)
    steps = table / np.where(scales > 0, scales, 1)[:, None]
    codes = np.floor(steps).clip(-half, half - 1).astype(np.int8)
    return QuantizedTable(_pack(codes, bits), scales, bits, table.shape[1])


def binarize_table(vectors: ArrayLike) -> BinaryTable:
    """Keep the sign of each value, and the mean size of the values in each row.

    A row x of length 1 comes back at the angle arccos(cosines), at most
    arccos(1 / sqrt(dim)), and at the distance sqrt(1 - cosines**2).

    Args:
        vectors: (n, dim) finite values; computed in float32.

    Raises:
        ValueError: If `vectors` are not finite or not (n, dim).

    Source: Rastegari et al., ECCV 2016, arXiv 1603.05279 (the scale of least error).

    >>> table = binarize_table([[3.0, -1.0, 2.0]])
    >>> table.dequantize().tolist(), table.size_bytes, round(table.max_residual, 3)
    ([[2.0, -2.0, 2.0]], 5, 1.414)
    """
    table = _checked(vectors)
    packed = np.packbits(table >= 0, axis=1)
    scales = np.abs(table).mean(axis=1)
    made = BinaryTable(packed, scales, table.shape[1], max_residual=0)
    return replace(made, max_residual=_farthest(table, made.dequantize()))


def product_quantize_table(
    vectors: ArrayLike, *, n_parts: int, n_centroids: int = 256, seed: int = 0
) -> ProductTable:
    """Cut the rows into parts and keep of each the nearest of its k-means centroids.

    Args:
        vectors: (n, dim) finite values; computed in float32.
        n_parts: Bytes a row; divides dim.
        n_centroids: Of each part, 1..256 and not above n.
        seed: Of the k-means.

    Raises:
        ValueError: If `vectors` are not finite or not (n, dim), or an option is out of
            its range.

    Source: Jégou et al., TPAMI 33(1), 2011, doi 10.1109/TPAMI.2010.57.

    >>> rows = [[0.0, 5.0], [1.0, 5.0], [0.0, 7.0], [1.0, 7.0]]
    >>> table = product_quantize_table(rows, n_parts=2, n_centroids=2)
    >>> table.dequantize().tolist() == rows, table.size_bytes, table.max_residual
    (True, 24, 0.0)
    """
    table = _checked(vectors)
    if n_parts < 1 or table.shape[1] % n_parts:
        raise ValueError(f"n_parts must divide dim {table.shape[1]}; got {n_parts}")
    if not 1 <= n_centroids <= min(256, len(table)):
        most = min(256, len(table))
        raise ValueError(f"n_centroids must lie in [1, {most}]; got {n_centroids}")
    codes, books = [], []
    for part in np.split(table, n_parts, axis=1):
        rows = np.ascontiguousarray(part)
        means = faiss.Kmeans(
            rows.shape[1], n_centroids, seed=seed, min_points_per_centroid=1
        )
        means.train(rows)
        codes.append(means.index.search(rows, 1)[1][:, 0].astype(np.uint8))
        books.append(means.centroids)
    made = ProductTable(np.stack(codes, axis=1), np.stack(books), max_residual=0)
    return replace(made, max_residual=_farthest(table, made.dequantize()))


def score_error_bound(
    table: QuantizedTable | BinaryTable | ProductTable, queries: ArrayLike
) -> NDArray[np.float64]:
    """How far any score of a query over a table may be from its exact inner product.

    The score of x is off by q (x - x~), at most the length of q times that of x - x~
    (Cauchy and Schwarz).

    Args:
        table: Any of the three.
        queries: (n_queries, dim), not quantised.

    Returns:
        (n_queries,) at least 0.

    >>> score_error_bound(binarize_table([[1.0, -1.0, 1.0, 3.0]]), [[0, 0, 3, 4]])
    array([8.66025404])
    """
    lengths = np.linalg.norm(np.asarray(queries, dtype=np.float64), axis=1)
    return np.asarray(lengths * table.max_residual)


def _checked(vectors: ArrayLike) -> NDArray[np.float32]:
    table = np.asarray(vectors, dtype=np.float32)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"vectors must be (n, dim), neither 0; got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("vectors must be finite; got NaN or infinity")
    return table


def _farthest(table: NDArray[np.float32], back: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(table.astype(np.float64) - back, axis=1).max())


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
