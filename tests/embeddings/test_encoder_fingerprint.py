import dataclasses

import numpy as np
import pytest
from cachetools import LRUCache

from recsys_lib.data.film_queries import load_film_queries
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.embeddings.recipe import Prompts
from recsys_lib.embeddings.static import static_encoder
from recsys_lib.ranking.fingerprint import OtherEncoder
from recsys_lib.ranking.index import build_index, load_index
from recsys_lib.serving.caching import CachedEncoder


@pytest.fixture(scope="module")
def loaded():
    """The carried model, and its fingerprint."""
    encoder = load_encoder(engine="torch", precision="float32")
    return encoder, fingerprint_of(encoder, name="MiniLM")


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "openvino", "precision": "float32"},
        {"engine": "onnxruntime"},
        {"engine": "torch", "precision": "bfloat16"},
    ],
)
def test_engine_and_precision_make_no_other_encoder(loaded, options):
    fingerprint_of(load_encoder(**options)).check(loaded[1])


def test_int8_is_the_same_encoder_if_it_is_calibrated_with_enough_texts(loaded):
    few = load_film_queries().english.tolist()
    int8 = load_encoder(engine="openvino", precision="int8", calibration=few[:64])
    cosines = (fingerprint_of(int8).probes * loaded[1].probes).sum(axis=1)
    assert cosines.min() < 0.999  # it is another precision
    loaded[1].check(fingerprint_of(int8))


def test_behind_a_cache_it_is_the_same_encoder(loaded):
    encoder, fingerprint = loaded
    fingerprint.check(fingerprint_of(CachedEncoder(encoder, LRUCache(100))))


def changed(encoder, change):
    if change == "pooling":
        return dataclasses.replace(encoder, pooling="cls")
    if change == "prompt":
        return dataclasses.replace(encoder, prompts=Prompts(query="query: "))
    if change == "weights":
        return static_encoder(encoder)
    return load_encoder(engine="torch", max_length=64)


@pytest.mark.parametrize("change", ["pooling", "prompt", "weights", "truncation"])
@pytest.mark.parametrize("cached", [False, True])
def test_each_of_these_makes_another_encoder(loaded, change, cached):
    encoder, fingerprint = loaded
    other = changed(encoder, change)
    if cached:  # which says nothing of itself: the vectors tell
        other = CachedEncoder(other, LRUCache(100))
    with pytest.raises(
        OtherEncoder, match=r"filled the index, MiniLM .*; got those of"
    ):
        fingerprint.check(fingerprint_of(other))


def test_a_fingerprint_says_what_it_knows(loaded):
    said = str(loaded[1])
    assert said.startswith("MiniLM (384 dimensions, pooling 'mean', tokens '128'")
    assert "torch float32" in said


def test_an_index_knows_its_encoder_after_save_and_load(loaded, tmp_path):
    encoder, fingerprint = loaded
    texts = ["a red dress", "space opera"]
    index = build_index(encoder.encode(texts), filled_by=fingerprint)
    other = fingerprint_of(static_encoder(encoder), name="a table")
    index.save(tmp_path / "index")
    for each in (index, load_index(tmp_path / "index")):
        assert each.filled_by.digest == fingerprint.digest
        assert str(each.filled_by) == str(fingerprint)
        queries = encoder.encode(["space"])
        assert each.search(queries, 1, by=fingerprint).items.tolist() == [[1]]
        with pytest.raises(OtherEncoder, match=r"index, MiniLM .*got those of a table"):
            each.search(queries, 1, by=other)
        with pytest.raises(OtherEncoder, match="got those of a table"):
            each.add([2], queries, by=other)
        with pytest.raises(ValueError, match=r"MiniLM .* must name their encoder; got"):
            each.add([2], queries)
        assert len(each) == 2
        each.add([2], queries, by=fingerprint)
        assert len(each) == 3


def test_an_index_of_unnamed_vectors_takes_any(loaded):
    index = build_index([[1.0, 0.0]])
    index.add([1], [[0.0, 1.0]], by=loaded[1])
    assert index.search([[0.0, 1.0]], 1, by=loaded[1]).items.tolist() == [[1]]


def test_vectors_must_be_finite():
    class Broken:
        dim = 2

        def encode(self, texts, *, role=None):
            return np.full((len(texts), 2), np.nan, np.float32)

    with pytest.raises(ValueError, match="must be finite; got"):
        fingerprint_of(Broken())
