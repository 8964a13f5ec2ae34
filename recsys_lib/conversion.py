"""What engines that convert a model share: how they run batches, and pooling."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from recsys_lib.provenance import usable_cores
from recsys_lib.tokens import Ints, Tokens

Vectors = npt.NDArray[np.float32]

_LEAST = 1e-12  # length, as of torch's `normalize`: a zero vector stays zero


def pool(hidden: Vectors, mask: Ints, pooling: str) -> Vectors:
    """Reduce hidden states (n, length, dim) to unit vectors (n, dim).

    Args:
        hidden: Of the tokens.
        mask: (n, length), 1 for a token, 0 for padding.
        pooling: "mean" over the tokens, or "cls", the first token alone.

    Raises:
        ValueError: If hidden states are not finite.

    >>> pool(np.array([[[3, 0], [0, 4], [9, 9]]], "f4"), np.array([[1, 1, 0]]), "mean")
    array([[0.6, 0.8]], dtype=float32)
    """
    if pooling == "cls":
        pooled = hidden[:, 0]
    elif hidden.shape[:2] == mask.shape == (1, np.count_nonzero(mask)):  # no padding
        pooled = np.add.reduce(hidden, axis=1)
    else:
        pooled = (mask[:, None].astype(np.float32) @ hidden)[:, 0]
    lengths = np.sqrt(np.vecdot(pooled, pooled))
    if not np.isfinite(lengths).all():
        bad = np.count_nonzero(~np.isfinite(lengths))
        raise ValueError(f"hidden states must be finite; got NaN or inf in {bad}")
    units = pooled / np.maximum(lengths, _LEAST)[:, None]  # of the mean: the same
    return np.asarray(units, dtype=np.float32)


def run_batches(
    run: Callable[[Tokens, int], Vectors], batches: Iterable[Tokens], n_threads: int
) -> list[Vectors]:
    """Run one batch with all the threads of a pass, several side by side on one each.

    Args:
        run: Of a batch and the number of its threads.
        batches: Any number.
        n_threads: For a batch that is alone.
    """
    given = list(batches)
    if len(given) < 2:
        return [run(tokens, n_threads) for tokens in given]
    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(lambda tokens: run(tokens, 1), given))
