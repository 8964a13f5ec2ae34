"""Texts are encoded once; the next call reads their vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings import stored_vectors as module
from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.stored_vectors import stored_vectors


class Lengths:
    """Embeds a text as its length; remembers what it was asked."""

    dim, engine, precision = 1, "none", "float32"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, texts: Sequence[str], *, role: Role | None = None) -> Float32Array:
        assert role == "document"
        self.asked.append([*texts])
        return np.array([[len(text)] for text in texts], np.float32).reshape(-1, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))


def test_each_different_text_is_encoded_once() -> None:
    encoder = Lengths()
    first = stored_vectors(encoder, "a", ["xx", "", "xx"])
    again = stored_vectors(encoder, "a", ["xx", "", "xx"])
    assert encoder.asked == [["xx", ""]]
    assert (first.is_new, again.is_new) == (True, False)
    assert first.seconds == again.seconds
    for found in (first, again):
        assert found.vectors.tolist() == [[2], [0], [2]]


def test_other_weights_are_other_vectors() -> None:
    encoder = Lengths()
    for identity in ("a", "b", {"model": "a"}):
        assert stored_vectors(encoder, identity, ["x"]).is_new
    encoder.precision = "int8"
    assert stored_vectors(encoder, "a", ["x"]).is_new


def test_long_work_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 2)
    monkeypatch.setattr(module, "_EVERY_S", -1.0)
    said: list[str] = []
    encoder = Lengths()
    found = stored_vectors(encoder, "a", ["a", "bb", "ccc"], say=said.append)
    assert found.vectors.ravel().tolist() == [1, 2, 3]
    assert encoder.asked == [["a", "bb"], ["ccc"]]
    assert said[0].startswith("2 of 3 texts encoded, about 0 s left")
    assert said[-1] == "3 of 3 texts encoded, about 0 s left"


def test_no_text_is_no_vector() -> None:
    assert stored_vectors(Lengths(), "a", []).vectors.shape == (0, 1)
