import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recsys_lib.compression.quantized_table import (
    binarize_table,
    product_quantize_table,
    quantize_table,
    score_error_bound,
)

TABLES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)
TINY = float(np.finfo(np.float32).tiny)  # what is smaller may count as zero
BITS = st.integers(1, 8)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((500, 96)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive_codes(x: np.ndarray, bits: int) -> list[list[int]]:
    half = 2 ** (bits - 1)
    rows = []
    for row in x.tolist():
        step = max(abs(value) for value in row) / half or 1
        steps = [np.floor(value / step) for value in row]
        rows.append([int(min(max(s, -half), half - 1)) for s in steps])
    return rows


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_equal_the_formula(bits, vectors):
    x = vectors[:20].astype(np.float64)
    codes = quantize_table(x, bits=bits).codes
    assert np.mean(codes == naive_codes(x, bits)) > 0.999  # float32 edges apart


@given(TABLES, BITS)
@example(np.array([[0, 1e-45, 1e-45], [0, -1e-39, 1e-40]], np.float32), 8)
def test_round_trip_stays_within_half_a_step(x, bits):
    table = quantize_table(x, bits=bits)
    error = np.abs(table.dequantize() - x.astype(float))
    assert (error <= table.error_bound[:, None] * (1 + 1e-4) + TINY).all()
    again = quantize_table(table.dequantize(), bits=bits)
    assert again.codes.shape == x.shape


@given(TABLES, BITS)
def test_packing_counts_every_bit_and_keeps_every_code(x, bits):
    table = quantize_table(x, bits=bits)
    n, dim = x.shape
    assert table.size_bytes == n * (-(-dim * bits // 8)) + 4 * n
    assert table.codes.dtype == np.int8
    assert table.codes.min() >= -(2 ** (bits - 1))
    assert table.codes.max() <= 2 ** (bits - 1) - 1


@given(TABLES, BITS, st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_a_row_scales_its_steps_only(x, bits, factor):
    normal = np.where(np.abs(x) < 1e-20, np.float32(0), x)
    table, scaled = (
        quantize_table(normal, bits=bits),
        quantize_table(normal * factor, bits=bits),
    )
    assert (table.codes == scaled.codes).all()
    assert scaled.scales == pytest.approx(table.scales * factor)


@pytest.mark.parametrize("bits", range(1, 9))
def test_predicted_error_is_the_measured_one(bits, vectors):
    table = quantize_table(vectors, bits=bits)
    measured = np.sqrt(np.mean((table.dequantize() - vectors) ** 2))
    assert measured == pytest.approx(
        table.predicted_rmse, rel=0.12 if bits < 3 else 0.02
    )


def test_one_bit_is_the_sign_and_zero_rows_stay_zero():
    table = quantize_table([[3.0, -1.0, 2.0], [0.0, 0.0, 0.0]], bits=1)
    assert table.codes[0].tolist() == [0, -1, 0]
    assert table.dequantize().tolist() == [[1.5, -1.5, 1.5], [0, 0, 0]]
    assert table.size_bytes == 2 * 1 + 2 * 4


@pytest.mark.parametrize(
    ("vectors", "bits", "message"),
    [
        ([[1.0]], 0, "bits must be 1..8; got 0"),
        ([[1.0]], 9, "bits must be 1..8; got 9"),
        ([1.0, 2.0], 8, r"vectors must be \(n, dim\), neither 0; got \(2,\)"),
        (np.empty((0, 3)), 8, r"neither 0; got \(0, 3\)"),
        ([[1.0, np.nan]], 8, "vectors must be finite; got NaN"),
        ([[1.0, np.inf]], 8, "vectors must be finite"),
    ],
)
def test_refusals(vectors, bits, message):
    with pytest.raises(ValueError, match=message):
        quantize_table(vectors, bits=bits)


def distances(x: np.ndarray, table) -> np.ndarray:
    return np.sqrt(((x - table.dequantize().astype(float)) ** 2).sum(axis=1))


SUBNORMAL = np.array([[0, 1e-45, 1e-45], [0, 7e-45, 0], [-1e-39, 1e-40, 0]], np.float32)


@given(TABLES)
@example(SUBNORMAL)
def test_binary_codes_are_signs_and_their_scale_is_the_best(x):
    table, x = binarize_table(x), x.astype(float)
    expected = np.where(x < 0, -1, 1) * np.abs(x).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(table.dequantize(), expected, rtol=1e-5, atol=TINY)
    assert table.size_bytes == len(x) * (-(-x.shape[1] // 8) + 4)
    best = ((x - expected) ** 2).sum(axis=1)
    for factor in (0.9, 1.1):
        assert (best <= ((x - factor * expected) ** 2).sum(axis=1) * (1 + 1e-9)).all()


def test_binary_distance_and_angle_are_known_from_the_scale(vectors):
    table = binarize_table(vectors)
    back = table.dequantize().astype(float)
    cosines = (back * vectors).sum(axis=1) / np.linalg.norm(back, axis=1)
    np.testing.assert_allclose(table.cosines, cosines, atol=1e-6)
    residuals = np.sqrt(1 - table.cosines.astype(float) ** 2)
    np.testing.assert_allclose(distances(vectors, table), residuals, atol=1e-5)
    assert table.cosines.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)
    assert (table.cosines >= 1 / np.sqrt(table.dim)).all()


def test_product_codes_are_the_nearest_centroids(vectors):
    table = product_quantize_table(vectors, n_parts=12, n_centroids=16)
    back = table.dequantize()
    for i in range(12):
        part = vectors[:, 8 * i : 8 * i + 8]
        gaps = ((part[:, None] - table.codebooks[i]) ** 2).sum(axis=2)  # (n, 16)
        nearest = table.codebooks[i][gaps.argmin(axis=1)]
        np.testing.assert_array_equal(back[:, 8 * i : 8 * i + 8], nearest)
    assert table.size_bytes == 500 * 12 + 12 * 16 * 8 * 4


def test_product_codes_gain_by_parts_and_centroids_and_repeat(vectors):
    errors = [
        distances(vectors, product_quantize_table(vectors, n_parts=n, n_centroids=k))
        for n, k in [(4, 4), (4, 64), (24, 64), (96, 256)]
    ]
    assert np.all(np.diff([x.mean() for x in errors]) < 0)
    first, again = (product_quantize_table(vectors, n_parts=4) for _ in range(2))
    np.testing.assert_array_equal(first.dequantize(), again.dequantize())
    assert first.codebooks.shape == (4, 256, 24)


def test_as_many_centroids_as_vectors_lose_nothing():
    x = np.arange(24, dtype=np.float32).reshape(6, 4) ** 2
    table = product_quantize_table(x, n_parts=2, n_centroids=6)
    np.testing.assert_allclose(table.dequantize(), x)
    assert table.max_residual == 0
    one = product_quantize_table(x, n_parts=2, n_centroids=1)
    np.testing.assert_allclose(one.dequantize(), np.tile(x.mean(axis=0), (6, 1)))


ALL_CODES = [
    lambda x: quantize_table(x, bits=8),
    lambda x: quantize_table(x, bits=4),
    lambda x: quantize_table(x, bits=1),
    binarize_table,
    lambda x: product_quantize_table(x, n_parts=1, n_centroids=1),
    lambda x: product_quantize_table(x, n_parts=x.shape[1], n_centroids=len(x)),
]


@pytest.mark.parametrize("encode", ALL_CODES)
@given(x=TABLES, seed=st.integers(0, 99))
@example(x=SUBNORMAL, seed=0)
def test_no_score_is_off_by_more_than_its_bound(encode, x, seed):
    table = encode(x)
    assert table.dequantize().shape == x.shape
    slack = (1e-5 * np.abs(x).max() + TINY) * x.shape[1]
    assert distances(x, table).max() <= table.max_residual + slack
    queries = np.random.default_rng(seed).standard_normal((5, x.shape[1]))
    queries = np.concatenate([queries, x - table.dequantize()])  # the worst there are
    off = np.abs(queries @ (x - table.dequantize().astype(float)).T).max(axis=1)
    bound = score_error_bound(table, queries)
    assert (off <= bound * (1 + 1e-4) + slack * np.abs(queries).max()).all()


@pytest.mark.parametrize("encode", ALL_CODES[3:5])
def test_the_bound_is_reached(encode, vectors):
    table = encode(vectors)
    residuals = vectors - table.dequantize()
    worst = residuals[[np.linalg.norm(residuals, axis=1).argmax()]]
    off = np.abs(worst @ residuals.T).max()
    assert off == pytest.approx(score_error_bound(table, worst)[0], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_parts": 5}, "n_parts must divide dim 96; got 5"),
        ({"n_parts": 0}, "n_parts must divide dim 96; got 0"),
        (
            {"n_parts": 4, "n_centroids": 0},
            r"must lie in \[1, 256\]; got 0",
        ),
        ({"n_parts": 4, "n_centroids": 257}, r"must lie in \[1, 256\]; got 257"),
    ],
)
def test_product_refusals(vectors, options, message):
    with pytest.raises(ValueError, match=message):
        product_quantize_table(vectors, **options)
    with pytest.raises(ValueError, match=r"n_centroids must lie in \[1, 9\]; got 256"):
        product_quantize_table(vectors[:9], n_parts=4)
    for encode in (binarize_table, ALL_CODES[4]):
        with pytest.raises(ValueError, match="vectors must be finite"):
            encode(np.array([[np.nan, 1]]))
