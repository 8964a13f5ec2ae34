import multiprocessing
import os
import threading

import numpy as np
import pytest

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.scaling.model_parallel import (
    TOLERANCE,
    WAYS,
    _SplitEncoder,
    measure_ways,
)
from recsys_lib.scaling.process_group import run_processes

TEXTS = [
    "a film about a toy",
    "space opera",
    "",
    "two friends cross a desert that has no end, and find that it had one",
    "noir",
]


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert not multiprocessing.active_children()


def test_every_way_is_timed_and_equals_the_whole():
    times = measure_ways(TEXTS, repeats=2)
    assert set(times.max_error) == set(WAYS)
    assert max(times.max_error.values()) <= TOLERANCE
    for seconds in (times.batch_s, times.single_s):
        assert set(seconds) == {"whole", *WAYS}
        assert all(x.shape == (2,) and (x > 0).all() for x in seconds.values())


def encode(process, texts):
    encoder = _SplitEncoder.load()
    request = encoder.tokens(texts)
    return [encoder.run(way, *request).numpy() for way in WAYS]


def test_each_way_gives_the_vectors_of_the_encoder():
    whole = load_encoder(engine="torch").encode(TEXTS)
    for split in run_processes(encode, TEXTS, n_processes=2)[0]:
        np.testing.assert_allclose(split, whole, atol=TOLERANCE)


def test_more_processes_and_micro_batches_than_texts():
    whole = load_encoder(engine="torch").encode(TEXTS[:2])
    for split in run_processes(encode, TEXTS[:2], n_processes=3)[0]:
        np.testing.assert_allclose(split, whole, atol=TOLERANCE)


def die_at_work(process, way):
    encoder = _SplitEncoder.load()
    request = encoder.tokens(TEXTS)
    encoder.run(way, *request)
    if process == 1:
        threading.Timer(0.2, os._exit, [7]).start()
    while True:
        encoder.run(way, *request)


@pytest.mark.parametrize("way", ["data", "tensor", "pipeline"])
def test_a_process_that_dies_ends_the_request_with_its_name(way):
    with pytest.raises(RuntimeError, match="process 1 died with exit code 7"):
        run_processes(die_at_work, way, n_processes=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_ways([]), r"texts must be one or more; got \[\]"),
        (lambda: measure_ways("a"), "texts must be one or more; got 'a'"),
        (lambda: measure_ways(TEXTS, n_processes=5), "divide 12 heads .*; got 5"),
        (lambda: measure_ways(TEXTS, n_processes=12), "<= 6 layers; got 12"),
        (lambda: measure_ways(TEXTS, n_processes=0), "n_processes must be >= 1; got 0"),
        (lambda: measure_ways(TEXTS, repeats=0), "repeats must be >= 1; got 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
