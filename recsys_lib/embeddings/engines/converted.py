"""What engines that convert a model share: how they run batches, and pooling."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from recsys_lib.embeddings.pooling import Vectors
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.machine import usable_cores


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
