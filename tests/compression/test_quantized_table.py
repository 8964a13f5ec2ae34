import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recsys_lib.compression.quantized_table import quantize_table

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
        ([1.0, 2.0], 8, r"vectors must be \(n, dim\), not empty; got \(2,\)"),
        (np.empty((0, 3)), 8, r"not empty; got \(0, 3\)"),
        ([[1.0, np.nan]], 8, "vectors must be finite; got NaN"),
        ([[1.0, np.inf]], 8, "vectors must be finite"),
    ],
)
def test_refusals(vectors, bits, message):
    with pytest.raises(ValueError, match=message):
        quantize_table(vectors, bits=bits)
