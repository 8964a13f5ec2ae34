import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.compression.dimensions import (
    first_dimensions,
    fit_pca,
    sign_vectors,
)
from recsys_lib.ranking.similarity import normalize


def low_rank(n, *, seed=0, dim=32, rank=4):
    """Vectors near a plane of few dimensions that no axis lies in."""
    plane = np.random.default_rng(1).normal(size=(rank, dim))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank)) @ plane + 0.01 * rng.normal(size=(n, dim))


@given(st.integers(1, 32))
def test_first_dimensions_are_those_of_the_vector_at_length_1(k):
    rows = low_rank(5)
    kept = first_dimensions(rows, k)
    assert (kept.shape, kept.dtype) == ((5, k), np.float32)
    lengths = np.linalg.norm(rows[:, :k], axis=1, keepdims=True)
    np.testing.assert_allclose(kept * lengths, rows[:, :k], rtol=1e-5, atol=1e-5)


def test_a_zero_vector_stays_zero():
    assert first_dimensions([[0.0, 0.0, 1.0]], 2).tolist() == [[0, 0]]


def test_components_equal_those_of_the_singular_vectors():
    rows = low_rank(50)
    pca = fit_pca(rows, 3)
    centred = rows - rows.mean(axis=0)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    overlap = np.abs(pca.components.T @ vectors[:3].T)
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-6)
    expected = (values[:3] ** 2).sum() / (values**2).sum()
    assert pca.explained == pytest.approx(expected)
    found = pca.transform(rows)
    np.testing.assert_allclose(found, normalize(centred @ pca.components), atol=1e-6)


def test_components_hold_what_the_first_dimensions_lose():
    rows, queries = low_rank(300), low_rank(20, seed=2)
    rows, queries = normalize(rows - rows.mean(0)), normalize(queries - rows.mean(0))
    best = np.argmax(queries @ rows.T, axis=1)
    pca = fit_pca(rows, 4)
    by_pca = np.argmax(pca.transform(queries) @ pca.transform(rows).T, axis=1)
    first = first_dimensions(queries, 4) @ first_dimensions(rows, 4).T
    assert pca.explained > 0.99
    assert (by_pca == best).mean() > 0.9 > (np.argmax(first, axis=1) == best).mean()


@pytest.mark.parametrize("n_bits", [7, 32, 100])
def test_cosines_of_signs_are_hamming_distances(n_bits):
    found = sign_vectors(low_rank(6), n_bits)
    distances = (found[:, None] * found < 0).sum(axis=2)
    np.testing.assert_allclose(found @ found.T, 1 - 2 * distances / n_bits, atol=1e-5)
    assert np.array_equal(found > 0, sign_vectors(3 * low_rank(6), n_bits) > 0)
    width = min(n_bits, 32)
    assert np.array_equal(found[:, :width] > 0, low_rank(6)[:, :width] > 0)


def test_equal_vectors_have_no_variance_to_explain():
    assert fit_pca(np.ones((3, 2)), 1).explained == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_dimensions([[1.0]], 2), "k must be at most 1 dimensions; got 2"),
        (lambda: first_dimensions([[1.0]], 0), "k must be at least 1; got 0"),
        (lambda: first_dimensions([1.0], 1), r"must be \(n, dim\); got shape \(1,\)"),
        (lambda: first_dimensions([[np.nan]], 1), "must be finite"),
        (lambda: fit_pca([[1.0]], 1), r"two or more, and finite; got shape \(1, 1\)"),
        (lambda: fit_pca([[1.0], [np.inf]], 1), "finite; got .* 1 not"),
        (lambda: fit_pca(np.ones((3, 2)), 3), "k must be at most 2 dimensions; got 3"),
        (
            lambda: fit_pca(np.eye(2), 1).transform([[1.0]]),
            r"must be \(n, 2\); got shape \(1, 1\)",
        ),
        (lambda: sign_vectors([[1.0]], 0), "k must be at least 1; got 0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
