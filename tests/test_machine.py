import threading

import pytest
from threadpoolctl import threadpool_info

from recsys_lib.machine import map_in_threads, usable_cores


def test_map_in_threads_keeps_the_order() -> None:
    assert map_in_threads(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    threads = set(map_in_threads(lambda _: threading.get_ident(), range(20)))
    assert 1 <= len(threads) <= usable_cores()
    assert threading.get_ident() not in threads


def test_blas_has_one_thread_in_each() -> None:
    blas = map_in_threads(lambda _: threadpool_info(), [0])[0]
    assert {x["num_threads"] for x in blas if x["user_api"] == "blas"} <= {1}


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="division"):
        map_in_threads(lambda x: 1 / x, [1, 0])
