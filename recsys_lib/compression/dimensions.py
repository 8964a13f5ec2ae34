"""Fewer bytes a vector: the first dimensions, principal components, or sign bits.

At equal bytes: n bytes hold n / 4 float32 dimensions or components, or 8 n bits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys_lib.arguments import whole_number
from recsys_lib.arrays import Float32Array, FloatArray
from recsys_lib.ranking.similarity import normalize


def first_dimensions(vectors: npt.ArrayLike, k: int) -> Float32Array:
    """Keep the first k dimensions, scaled to length 1; a zero vector stays zero.

    A model that was trained for it (Matryoshka) has put most into the first ones;
    of another model the dimensions are of equal rank.

    Args:
        vectors: (n, dim) finite numbers.
        k: In [1, dim].

    Raises:
        TypeError, ValueError: If k or the vectors are not as described.

    Source: Kusupati et al., NeurIPS 2022, arXiv 2205.13147.

    >>> first_dimensions([[3.0, 4.0, 12.0]], 2).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    rows = np.asarray(vectors)
    _check_width(k, rows, most=rows.shape[-1])
    return normalize(rows[:, :k]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Pca:
    """Principal components of a sample of vectors.

    Attributes:
        mean: (dim,).
        components: (dim, k), orthonormal, of falling variance.
        explained: Fraction of the variance in the components, in [0, 1].
    """

    mean: FloatArray
    components: FloatArray
    explained: float

    def transform(self, vectors: npt.ArrayLike) -> Float32Array:
        """Project vectors (n, dim) to unit vectors (n, k).

        Raises:
            ValueError: If the vectors are not (n, dim), or not finite.
        """
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.mean.size:
            got = f"got shape {rows.shape}"
            raise ValueError(f"vectors must be (n, {self.mean.size}); {got}")
        return normalize((rows - self.mean) @ self.components).astype(np.float32)


def fit_pca(vectors: npt.ArrayLike, k: int) -> Pca:
    """Find the k directions in which vectors vary most.

    Args:
        vectors: (n, dim), n >= 2: of the catalogue, not of the queries to be judged.
        k: In [1, dim].

    Raises:
        TypeError, ValueError: If k or the vectors are not as described.

    Source: Hotelling, J. Educ. Psychol. 24, 1933, doi 10.1037/h0071325.

    >>> pca = fit_pca([[1.0, 0.1], [-1.0, 0.1], [3.0, 0.1]], 1)
    >>> pca.transform([[9.0, 0.1], [-9.0, 0.1]]).ravel().round(3).tolist()
    [1.0, -1.0]
    """
    rows = np.asarray(vectors, np.float64)
    _check_width(k, rows, most=rows.shape[-1])
    if len(rows) < 2 or not np.isfinite(rows).all():
        got = f"got shape {rows.shape}, {np.count_nonzero(~np.isfinite(rows))} not"
        raise ValueError(f"vectors must be two or more, and finite; {got}")
    mean = rows.mean(axis=0)
    centred = rows - mean
    variances, directions = np.linalg.eigh(centred.T @ centred)  # rising
    kept = directions[:, ::-1][:, :k]
    largest = np.argmax(np.abs(kept), axis=0)
    signs = np.sign(kept[largest, np.arange(k)])  # else they depend on the machine
    total = variances.sum()
    share = float(variances[::-1][:k].sum() / total) if total > 0 else 1.0
    return Pca(mean, kept * signs, share)


def sign_vectors(vectors: npt.ArrayLike, n_bits: int) -> Float32Array:
    """Reduce vectors to n signs, as unit vectors whose cosine is 1 - 2 h / n.

    h is the Hamming distance, so that they rank as the bits do.

    Args:
        vectors: (n, dim) finite numbers.
        n_bits: At least 1: up to dim, signs of the first dimensions; beyond, of random
            directions too, the same each time.

    Raises:
        TypeError, ValueError: If n_bits or the vectors are not as described.

    Source: Charikar, STOC 2002, doi 10.1145/509907.509965.

    >>> sign_vectors([[0.3, -0.2, 0.1, 5.0]], 4).tolist()
    [[0.5, -0.5, 0.5, 0.5]]
    """
    rows = np.asarray(vectors, np.float32)
    _check_width(n_bits, rows)
    dim = rows.shape[1]
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((dim, max(n_bits - dim, 0)), dtype=np.float32)
    positive = np.hstack([rows, rows @ directions])[:, :n_bits] > 0
    return np.where(positive, 1, -1).astype(np.float32) / np.float32(n_bits**0.5)


def _check_width(
    k: int, rows: npt.NDArray[np.generic], *, most: int | None = None
) -> None:
    if rows.ndim != 2:
        raise ValueError(f"vectors must be (n, dim); got shape {rows.shape}")
    whole_number("k", k)
    if most is not None and k > most:
        raise ValueError(f"k must be at most {most} dimensions; got {k}")
