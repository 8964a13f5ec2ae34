import multiprocessing
import os
import threading

import numpy as np
import pytest

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.scaling import model_parallel as parallel
from recsys_lib.scaling.model_parallel import BOUND, encode_split, measure_ways
from recsys_lib.scaling.process_group import run_ranks

TEXTS = [
    "a film about a toy",
    "space opera",
    "",
    "two friends cross a desert that has no end, and find that it had one",
    "noir",
]
SMALL = {"num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4}
WAYS = ("data", "tensor", "layer", "pipeline")


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert not multiprocessing.active_children()


@pytest.fixture(scope="module")
def times():
    return measure_ways(TEXTS, repeats=2, dimensions=SMALL, n_processes=2)


def test_every_way_equals_the_whole(times):
    assert set(times.max_error) == set(WAYS)
    assert max(times.max_error.values()) <= BOUND


def test_every_way_is_timed_for_a_batch_and_for_one(times):
    assert (times.n_processes, times.batch) == (2, len(TEXTS))
    for seconds in (times.batch_s, times.single_s):
        assert set(seconds) == {"whole", *WAYS}
        assert all(x.shape == (2,) and (x > 0).all() for x in seconds.values())


def test_the_carried_encoder_split_gives_its_vectors():
    whole = load_encoder(engine="torch").encode(TEXTS)
    split = encode_split(TEXTS, way="tensor")
    np.testing.assert_allclose(split, whole, atol=BOUND)


def differences(rank):
    split = parallel._Split.load(SMALL | {"num_attention_heads": 6}, 9)
    request = split.tokens(TEXTS[:2])
    whole = split.run("whole", *request)
    found = [split.run(way, *request) for way in WAYS]
    return [] if rank else [float((x - whole).abs().max()) for x in found]


def test_more_ranks_and_micro_batches_than_texts():
    errors = run_ranks(differences, n_processes=3)[0]
    assert len(errors) == 4
    assert max(errors) <= BOUND


def die_at_work(rank, way):
    split = parallel._Split.load(SMALL, 2)
    request = split.tokens(TEXTS)
    split.run(way, *request)
    if rank == 1:
        threading.Timer(0.2, os._exit, [7]).start()
    while True:
        split.run(way, *request)


@pytest.mark.parametrize("way", ["data", "tensor", "pipeline"])
def test_a_rank_that_dies_ends_the_request_with_its_name(way):
    with pytest.raises(RuntimeError, match=r"got rank 1: .* with exit code 7"):
        run_ranks(die_at_work, way, n_processes=2, timeout_s=300)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_split(TEXTS, way="width"), "way must be one of .*got 'width'"),
        (lambda: encode_split([], way="data"), r"texts must be some.*got \[\] and 4"),
        (lambda: encode_split("a", way="data"), "texts must be some.*got 'a'"),
        (
            lambda: encode_split(TEXTS, way="pipeline", micro_batches=0),
            "micro_batches >= 1; .* and 0",
        ),
        (
            lambda: encode_split(TEXTS, way="tensor", n_processes=5),
            "n_processes must divide 12 heads; got 5",
        ),
        (
            lambda: encode_split(TEXTS, way="layer", n_processes=7),
            "n_processes must be <= 6 layers; got 7",
        ),
        (
            lambda: measure_ways(TEXTS, n_processes=4, dimensions=SMALL),
            "<= 3 layers; got 4",
        ),
        (lambda: measure_ways(TEXTS, n_processes=0), "n_processes must be >= 1; got 0"),
        (lambda: measure_ways(TEXTS, repeats=0), "repeats must be >= 1; got 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
