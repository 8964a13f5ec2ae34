"""Calls from several threads at once, as the workers of a service make them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from recsys_lib.arguments import whole_number

Call = Callable[[], object]


@contextmanager
def side_by_side(
    call: Call, *, workers: int, calls: int = 1, prepare: Call | None = None
) -> Iterator[Call]:
    """Make a call in several threads at once, which live as long as the block.

    Args:
        call: Of each worker.
        workers: Threads, >= 1.
        calls: In a row, of each worker, >= 1.
        prepare: Runs once in each thread, to set what its frameworks keep by thread.

    Yields:
        A function that makes all ``workers * calls`` calls, and returns when the last
        has returned. It raises what a call raises.

    Raises:
        TypeError: If a number is no whole number.
        ValueError: If it is below 1.

    >>> made = []
    >>> with side_by_side(lambda: made.append(1), workers=3, calls=2) as make:
    ...     make()
    >>> len(made)
    6
    """
    whole_number("workers", workers)
    whole_number("calls", calls)

    def in_a_row(_: int) -> None:
        for _ in range(calls):
            call()

    with ThreadPoolExecutor(workers, initializer=prepare) as pool:

        def make_all() -> None:
            list(pool.map(in_a_row, range(workers)))

        yield make_all
