"""Cosine similarity and Euclidean distance between vectors."""

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from recsys_lib.arrays import Float32Array, FloatArray


def normalize(vectors: npt.ArrayLike) -> FloatArray:
    """Scale each row to length 1; a zero vector stays zero.

    Args:
        vectors: (n, dim) finite numbers.

    Returns:
        (n, dim) of the same floating type; integers become float64.

    Raises:
        ValueError: If the shape is not (n, dim), or a number or a length is not finite.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = _finite_rows(vectors)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if np.isinf(norms).any():
        raise ValueError(f"lengths must be finite; got inf in {np.isinf(norms).sum()}")
    norms[norms == 0] = 1
    units = np.empty_like(rows)
    np.divide(rows, norms[:, None], out=units, casting="same_kind")  # in float64
    return units


def cosine_similarity(queries: npt.ArrayLike, items: npt.ArrayLike) -> FloatArray:
    """Cosine of the angle between each query and each item; 0 with a zero vector.

    Args:
        queries: (n_queries, dim).
        items: (n_items, dim).

    Returns:
        (n_queries, n_items) in [-1, 1], up to rounding.

    Raises:
        ValueError: If dimensions differ or a vector is not finite.

    >>> cosine_similarity([[3.0, 4.0]], [[6.0, 8.0], [1.0, 0.0]]).round(3).tolist()
    [[1.0, 0.6]]
    """
    left, right = normalize(queries), normalize(items)
    _check_same_dim(left, right)
    return np.asarray(left @ right.T)


def euclidean_distance(queries: npt.ArrayLike, items: npt.ArrayLike) -> FloatArray:
    """Euclidean distance between each query and each item.

    Computed from the differences, in float64. The formula ``a² + b² - 2ab`` would give
    equal vectors a distance above 0.

    Args:
        queries: (n_queries, dim).
        items: (n_items, dim).

    Returns:
        (n_queries, n_items), at least 0.

    Raises:
        ValueError: If dimensions differ or a vector is not finite.

    >>> euclidean_distance([[0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[5.0, 0.0]]
    """
    left, right = _finite_rows(queries), _finite_rows(items)
    _check_same_dim(left, right)
    return np.asarray(cdist(left, right))


def _finite_rows(vectors: npt.ArrayLike) -> FloatArray:
    rows = np.asarray(vectors)
    if rows.dtype.kind != "f":
        rows = rows.astype(np.float64)
    if rows.ndim != 2:
        raise ValueError(f"vectors must be (n, dim); got shape {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(f"vectors must be finite; got NaN or inf in {(~finite).sum()}")
    return rows


def _check_same_dim(left: FloatArray, right: FloatArray) -> None:
    if left.shape[1] != right.shape[1]:
        got = f"got {left.shape} and {right.shape}"
        raise ValueError(f"queries and items must have the same dim; {got}")


def centred(vectors: npt.ArrayLike) -> Float32Array:
    """Subtract the mean vector from each row, and scale the rows to length 1.

    Embeddings of similar texts share one large component; without it their cosines
    differ more. A row that equals the mean becomes the zero vector.

    Args:
        vectors: (n, dim) finite numbers, one row or more.

    Returns:
        (n, dim) unit vectors, rounded to float32.

    Raises:
        ValueError: If there is no row, the shape is not (n, dim), or a number
            is not finite.

    Source: Mu and Viswanath, ICLR 2018, arXiv 1702.01417.

    >>> centred([[1.0, 5.0], [1.0, 1.0]]).tolist()
    [[0.0, 1.0], [0.0, -1.0]]
    """
    rows = _finite_rows(vectors)
    if not len(rows):
        raise ValueError(f"there must be a vector; got shape {rows.shape}")
    return normalize(rows - rows.mean(axis=0)).astype(np.float32)


def mean_cosine(vectors: npt.ArrayLike) -> float:
    """Mean cosine over all pairs of different rows.

    Args:
        vectors: (n, dim) unit vectors, two rows or more.

    Returns:
        The mean in [-1, 1], but for rounding.

    Raises:
        ValueError: If there are fewer than two rows, the shape is not (n, dim),
            or a number is not finite.

    >>> mean_cosine([[1.0, 0.0], [-1.0, 0.0]])
    -1.0
    """
    rows = _finite_rows(vectors)
    n = len(rows)
    if n < 2:
        raise ValueError(f"there must be two vectors; got shape {rows.shape}")
    # the squared length of the sum is the sum over all pairs, n of them with themselves
    return float((np.linalg.norm(rows.sum(axis=0)) ** 2 - n) / (n * (n - 1)))
