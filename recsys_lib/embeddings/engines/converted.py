"""How the engines that convert a torch model run batches."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.machine import usable_cores


def run_batches(
    run: Callable[[Tokens, int], Float32Array],
    batches: Iterable[Tokens],
    n_threads: int,
) -> list[Float32Array]:
    """Run a single batch with all threads, several side by side with one thread each.

    Args:
        run: Takes a batch and its number of threads.
        batches: Any number.
        n_threads: Threads of a single batch.
    """
    given = list(batches)
    if len(given) < 2:
        return [run(tokens, n_threads) for tokens in given]
    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(lambda tokens: run(tokens, 1), given))
