import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.compression import distillation
from recsys_lib.compression.distillation import (
    distil_static,
    principal_axes,
    static_student,
)
from recsys_lib.compression.teacher import TeacherTargets
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.static import StaticEncoder
from recsys_lib.embeddings.tokens import load_tokenizer
from recsys_lib.models.training import TrainingOptions

WORDS = ["a", "red", "blue", "dress", "skirt", "too", "long", "very", "thin", "love"]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=RNG.integers(1, 9))) for _ in range(120)]
FAST = TrainingOptions(epochs=10, batch_size=16, learning_rate=0.3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(minilm_folder(), 16)


def targets_of(means, counts):
    vectors, states = np.eye(2, dtype=np.float32), np.array(means, np.float32)
    return TeacherTargets(vectors, vectors, states, np.array(counts), 1.0)


def cosine(a, b):
    return (a * b).sum(axis=1).mean()


@pytest.fixture
def static(tokenizer):
    """A table to start from, and the vectors of another that it should become."""
    rng = np.random.default_rng(1)
    tables = rng.normal(size=(2, tokenizer.get_vocab_size(), 4)).astype(np.float32)
    start, wanted = (StaticEncoder(tokenizer, table) for table in tables)
    return start, wanted.encode(TEXTS)


def test_sif_weighs_tokens_as_written(tokenizer, monkeypatch):
    """Arora et al., equation 1: a / (a + p)."""
    monkeypatch.setattr(distillation, "_SIF", 0.25)
    targets = targets_of([[1, 2], [3, 4], [0, 0]], [1, 3, 0])
    table = static_student(targets, tokenizer).table
    np.testing.assert_allclose(table, [[0.5, 1], [0.75, 1], [0, 0]])
    axes = np.array([[0], [1]], dtype=np.float32)
    projected = static_student(targets, tokenizer, axes=axes)
    assert projected.table.tolist() == [[1], [1], [0]]
    assert projected.dim == 1


@given(st.integers(1, 5), st.integers(0, 999))
def test_principal_axes_are_orthonormal_and_lose_least(dim, seed):
    rows = np.random.default_rng(seed).normal(size=(12, 5)) * [5, 1, 3, 0.1, 2]
    axes = principal_axes(rows, dim)
    np.testing.assert_allclose(axes.T @ axes, np.eye(dim), atol=1e-6)
    lost = np.square(rows - rows @ axes @ axes.T).sum()
    least = np.square(np.linalg.svd(rows)[1][dim:]).sum()
    assert lost == pytest.approx(least, rel=1e-4, abs=1e-4)


def test_principal_axes_refuse_more_than_there_are():
    with pytest.raises(ValueError, match=r"dim must lie in \[1, 2\]; got 3"):
        principal_axes(np.eye(2), 3)


def test_a_table_learns_the_teachers_vectors(static):
    start, targets = static
    before = start.table.copy()
    student = distil_static(start, TEXTS, targets, FAST, n_validation=20)
    loss, held_out = student.curve.train_loss, student.curve.validation
    assert loss[-1] < 0.1 < loss[0]
    assert min(held_out) == held_out[student.curve.best_epoch]
    vectors = student.encoder.encode(TEXTS[-20:])
    assert 1 - cosine(vectors, targets[-20:]) == pytest.approx(min(held_out), abs=1e-5)
    np.testing.assert_array_equal(start.table, before)
    used = np.unique(np.concatenate(start.tokenize(TEXTS)))
    rest = np.delete(np.arange(len(before)), used)
    np.testing.assert_array_equal(student.encoder.table[rest], before[rest])
    assert student.curve.seconds > 0


def test_a_student_is_trained_once_for_the_same_inputs(static, monkeypatch):
    start, targets = static
    first = distil_static(start, TEXTS, targets, FAST)
    trained, train = [], distillation.train

    def count(*args, **options):
        trained.append(args)
        return train(*args, **options)

    monkeypatch.setattr(distillation, "train", count)
    again = distil_static(start, TEXTS, targets, FAST)
    assert trained == []
    assert again.curve == first.curve
    np.testing.assert_array_equal(again.encoder.table, first.encoder.table)
    other = dataclasses.replace(FAST, epochs=1)
    distil_static(start, TEXTS, targets, other)
    distil_static(start, TEXTS, -targets, other)
    shorter = dataclasses.replace(start, tokenizer=load_tokenizer(minilm_folder(), 4))
    distil_static(shorter, TEXTS, targets, other)
    assert len(trained) == 3


def test_targets_must_be_one_a_text(static):
    start, targets = static
    with pytest.raises(ValueError, match=r"targets must be \(120, 4\); got \(119, 4\)"):
        distil_static(start, TEXTS, targets[1:], FAST)
    with pytest.raises(
        ValueError, match=r"n_validation must lie in \[0, 120\); got 120"
    ):
        distil_static(start, TEXTS, targets, FAST, n_validation=120)
