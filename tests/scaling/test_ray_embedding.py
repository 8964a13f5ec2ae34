import os
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.scaling import ray_embedding
from recsys_lib.scaling.ray_embedding import embed_catalogue, read_vectors

IDS = [f"item {i}" for i in range(23)]
TEXTS = [str(i) for i in range(23)]


def encoder_that(*, dies_at="", raises_at="", seconds=0.0, log=None):
    """Vectors (number, number squared); dies on a text the first time, or raises."""

    class Numbers:
        def encode(self, texts, *, role):
            assert role == "document"
            time.sleep(seconds)
            if dies_at in texts and not log.exists():
                log.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if raises_at in texts:
                raise OSError("no room")
            return np.array([[float(x), float(x) ** 2] for x in texts], np.float32)

    return Numbers


def embed(folder, make_encoder, **options):
    options = {"made_with": "numbers", "part_size": 4, **options}
    return embed_catalogue(IDS, TEXTS, folder, make_encoder, **options)


def assert_whole(folder):
    ids, vectors = read_vectors(folder)
    assert ids == IDS
    assert vectors[:, 1].tolist() == [i**2 for i in range(23)]


def test_a_worker_killed_at_work_loses_and_doubles_nothing(ray_runs, tmp_path):
    dying = encoder_that(dies_at="13", log=tmp_path / "died", seconds=0.05)
    report = embed(tmp_path / "out", dying)
    assert (tmp_path / "died").exists()
    assert report.n_parts == len(report.worker) == 6
    assert (report.ended_s >= report.began_s).all()
    in_work = (report.began_s <= report.began_s[:, None]) & (
        report.ended_s > report.began_s[:, None]
    )
    assert in_work.sum(axis=1).max() <= 2
    files = sorted((tmp_path / "out").glob("*.parquet"))
    rows = [x for file in files for x in pq.read_table(file)["id"].to_pylist()]
    assert rows == IDS
    assert_whole(tmp_path / "out")


def test_what_was_embedded_before_a_failure_is_not_embedded_again(ray_runs, tmp_path):
    broken = encoder_that(raises_at="22", seconds=0.2)
    with pytest.raises(RuntimeError, match="no room"):
        embed(tmp_path, broken, n_workers=1)
    made = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.parquet")}
    assert 1 <= len(made) < 6
    report = embed(tmp_path, encoder_that(), batch_size=3)
    assert (report.n_parts, len(report.worker)) == (6, 6 - len(made))
    assert all((tmp_path / x).stat().st_mtime_ns == made[x] for x in made)
    again = embed(tmp_path, encoder_that(raises_at="0"))
    assert (again.n_parts, again.began_s.size, again.worker.size) == (6, 0, 0)
    assert_whole(tmp_path)


def test_workers_that_stand_still_are_given_up(ray_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_embedding, "_PATIENCE_S", 2.0)
    with pytest.raises(RuntimeError, match="each part must be embedded; got"):
        embed(tmp_path, encoder_that(seconds=600), n_workers=1)


def test_real_vectors_are_those_of_the_encoder(ray_runs, tmp_path, encoder):
    texts = ["space opera", "a film about a toy", "noir"]

    def make():
        return load_encoder(engine="openvino", precision="float32", n_threads=1)

    embed_catalogue(
        ["a", "b", "c"], texts, tmp_path, make, made_with="x", part_size=2, n_workers=1
    )
    ids, vectors = read_vectors(tmp_path)
    assert ids == ["a", "b", "c"]
    np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-5)


def test_an_empty_catalogue_is_embedded_at_once(ray_runs, tmp_path):
    report = embed_catalogue([], [], tmp_path, encoder_that(), made_with="x")
    assert report.n_parts == len(report.worker) == 0


def test_another_encoder_or_catalogue_is_refused(ray_runs, tmp_path):
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ValueError, match=r"hold these parts only; got .*a\.parquet"):
        embed(tmp_path, encoder_that())


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="must hold parts of a catalogue; got"):
        read_vectors(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 0}, r"must be >= 1; got \(0, 4, 8\)"),
        ({"part_size": 0}, r"must be >= 1; got \(2, 0, 8\)"),
        ({"batch_size": 0}, r"must be >= 1; got \(2, 4, 0\)"),
    ],
)
def test_refused_options(ray_runs, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        embed(tmp_path, encoder_that(), **options)


@pytest.mark.parametrize(("ids", "texts"), [(["a", "a"], ["", ""]), (["a"], [])])
def test_refused_ids(ray_runs, tmp_path, ids, texts):
    with pytest.raises(ValueError, match="ids must be different, one for each text"):
        embed_catalogue(ids, texts, tmp_path, encoder_that(), made_with="x")
