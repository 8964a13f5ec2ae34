import subprocess
import sys
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.models.neighbours import Popularity
from recsys_lib.ranking.fingerprint import OtherEncoder
from recsys_lib.ranking.index import build_index
from recsys_lib.ranking.similarity import normalize
from recsys_lib.serving.migration import (
    Migration,
    migrate,
    migrate_in_background,
)
from recsys_lib.serving.recommender import Recommender, SwitchingRecommender
from recsys_lib.serving.service import create_app

TEXTS = [f"item {i}" for i in range(23)]
HANG_S = 120  # longer than anything here takes on a busy machine


class Hashing:
    """A vector of its own for each text and seed."""

    dim = 8

    def __init__(self, seed):
        self.seed, self.encoded = seed, []

    def encode(self, texts, *, role=None):
        self.encoded += texts
        seeds = [[self.seed, *text.encode()] for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.dim) for seed in seeds]
        return normalize(rows).astype(np.float32)


# stops before its third batch, until it is killed
CHILD = """
import sys, time
sys.path.insert(0, "tests/serving")
from pathlib import Path
from test_migration import Hashing, TEXTS
from recsys_lib.serving.migration import Migration

def on_batch(number, n):
    if number == 2:
        print("in the middle", flush=True)
        time.sleep(600)

Migration(TEXTS, Hashing(2), Path(sys.argv[1]), batch_size=5).run(on_batch)
"""


@pytest.fixture
def service():
    old = Hashing(1)
    index = build_index(old.encode(TEXTS), filled_by=fingerprint_of(old, name="old"))
    popular = Popularity(np.ones(len(TEXTS), np.float32))
    return SwitchingRecommender(Recommender(TEXTS, old, index, popular))


def test_killed_in_the_middle_it_resumes_after_the_last_complete_batch(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "in the middle\n"
        child.kill()
    encoder = Hashing(2)
    batches = []
    again = Migration(TEXTS, encoder, tmp_path, batch_size=5)
    index = again.run(lambda *numbers: batches.append(numbers))
    assert [text for text in encoder.encoded if text in TEXTS] == TEXTS[10:]
    assert batches == [(i, 5) for i in range(5)]
    found = index.search(Hashing(2).encode(TEXTS), 1)
    assert found.items.ravel().tolist() == list(range(len(TEXTS)))
    encoder.encoded.clear()
    assert len(again.run()) == len(TEXTS)  # the complete index is loaded
    assert not {*encoder.encoded} & {*TEXTS}


def test_the_old_index_answers_until_the_new_one_is_complete(service, tmp_path):
    old, new = service.current, Hashing(2)
    reached, gate = threading.Event(), threading.Event()

    def on_batch(number, n):
        if number == n - 1:
            reached.set()
            assert gate.wait(HANG_S)

    migration = Migration(TEXTS, new, tmp_path, batch_size=5, name="new")
    done = migrate_in_background(service, migration, on_batch)
    assert reached.wait(HANG_S)
    assert service.current is old
    for text in TEXTS:  # each text finds itself: of one encoder with its own index
        assert service.recommend_texts([text], 1)[0].items == [text]
    assert old.encoder.encoded[-1] == TEXTS[-1]
    gate.set()
    done.result(HANG_S)
    assert service.current.encoder is new
    assert service.current.index.filled_by.name == "new"
    for text in TEXTS:
        assert service.recommend_texts([text], 1)[0].items == [text]
    assert service.recommend_histories([[]], 3)[0].items == TEXTS[:3]
    with pytest.raises(OtherEncoder, match="got those of old"):
        service.current.index.search(
            old.encoder.encode(["x"]), 1, by=old.index.filled_by
        )


def test_every_answer_meanwhile_is_of_one_encoder(service, tmp_path):
    wrong, ended = [], threading.Event()

    def ask():
        while not ended.is_set():
            for text in TEXTS:
                if service.recommend_texts([text], 1)[0].items != [text]:
                    wrong.append(text)

    asking = threading.Thread(target=ask)
    asking.start()
    for seed in range(2, 6):
        migrate(service, Migration(TEXTS, Hashing(seed), tmp_path / str(seed)))
    ended.set()
    asking.join()
    assert wrong == []


def test_batches_of_another_encoder_are_not_used(tmp_path):
    first = Migration(TEXTS, Hashing(1), tmp_path).run()
    second = Migration(TEXTS, Hashing(2), tmp_path).run()
    assert not first.filled_by.agrees(second.filled_by)
    found = second.search(Hashing(2).encode(TEXTS), 1)
    assert found.items.ravel().tolist() == list(range(len(TEXTS)))


def test_an_error_leaves_the_old_one_in_service(service, tmp_path):
    class Failing(Hashing):
        def encode(self, texts, *, role=None):
            if TEXTS[7] in texts:
                raise OSError("no memory")
            return super().encode(texts, role=role)

    old = service.current
    migration = Migration(TEXTS, Failing(2), tmp_path, batch_size=5)
    with pytest.raises(OSError, match="no memory"):
        migrate_in_background(service, migration).result(HANG_S)
    assert service.current is old
    with pytest.raises(ValueError, match="one for each item; got 3 for 23 items"):
        migrate(service, Migration(TEXTS[:3], Hashing(2), tmp_path))
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        Migration(TEXTS, Hashing(2), tmp_path, batch_size=0)
    assert service.fields is old.fields


def test_the_service_switches_its_answers_and_its_vectors(service, tmp_path):
    app = create_app(service, deadline_ms=HANG_S * 1e3, embeddings_model="m")
    with TestClient(app) as client:

        def vector():
            body = {"model": "m", "input": "item 3"}
            found = client.post("/v1/embeddings", json=body).json()
            return np.array(found["data"][0]["embedding"], np.float32)

        assert np.array_equal(vector(), Hashing(1).encode(["item 3"])[0])
        migrate(service, Migration(TEXTS, Hashing(2), tmp_path))
        assert np.array_equal(vector(), Hashing(2).encode(["item 3"])[0])
        found = client.post("/recommend", json={"text": "item 3", "k": 1}).json()
        assert found["items"] == ["item 3"]
