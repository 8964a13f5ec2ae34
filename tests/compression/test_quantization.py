import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recsys_lib.compression.quantization import quantize_encoder, round_rows
from recsys_lib.compression.quantized_table import quantize_table
from recsys_lib.embeddings.random_bert import random_encoder

TEXTS = ["Toy Story (1995)", "", "a long film about the sea, whales, and revenge", "Up"]
TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
}
WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False).map(
        lambda x: 0 if abs(x) < 1e-20 else x
    ),
)
BITS = st.integers(1, 8)


@pytest.fixture(scope="module")
def tiny():
    return random_encoder(TINY, engine="torch", max_length=16)


@pytest.fixture(scope="module")
def normal():
    return torch.randn(700, 384, generator=torch.Generator().manual_seed(0))


@given(WEIGHTS, BITS)
def test_rows_take_few_values_and_err_less_than_the_widest_steps(x, bits):
    rounded = round_rows(torch.from_numpy(x), bits=bits).numpy()
    assert all(len(np.unique(row)) <= 2**bits for row in rounded)
    widest = quantize_table(x, bits=bits).dequantize()
    errors = [((y - x.astype(float)) ** 2).sum(axis=1) for y in (rounded, widest)]
    size = (x.astype(float) ** 2).sum(axis=1)
    assert (errors[0] <= errors[1] * (1 + 1e-4) + 1e-5 * size).all()


@given(WEIGHTS)
def test_one_bit_is_the_sign_times_the_mean_size(x):
    expected = np.where(x < 0, -1, 1) * np.abs(x).mean(axis=1, keepdims=True)
    rounded = round_rows(torch.from_numpy(x), bits=1)
    np.testing.assert_allclose(rounded, expected, rtol=1e-5)


@given(WEIGHTS, BITS)
def test_rows_are_rounded_each_by_itself(x, bits):
    whole = round_rows(torch.from_numpy(x), bits=bits)
    alone = [round_rows(torch.from_numpy(row[None]), bits=bits) for row in x]
    torch.testing.assert_close(whole, torch.cat(alone))


@pytest.mark.parametrize(
    ("bits", "published"),
    [(1, 0.3634), (2, 0.1188), (3, 0.03744), (4, 0.01154)],
)
def test_error_on_normal_weights_is_near_the_least_possible(bits, published, normal):
    """Against Max's table of even levels (1960), 2**bits of them, variance 1."""
    error = (round_rows(normal, bits=bits) - normal).square().mean()
    assert published * 0.97 < error < published * 1.25


def test_chunks_make_no_difference(normal):
    parts = [round_rows(part, bits=3) for part in normal.split(100)]
    torch.testing.assert_close(round_rows(normal, bits=3), torch.cat(parts))


def test_every_matrix_is_rounded_and_nothing_else(tiny):
    found = quantize_encoder(tiny, bits=3)
    pairs = zip(
        tiny.network.model.named_parameters(),
        found.encoder.network.model.parameters(),
        strict=True,
    )
    for (name, old), new in pairs:
        vector = old.ndim == 1
        expected = old if vector else round_rows(old, bits=3)
        torch.testing.assert_close(new, expected, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("bits", range(1, 9))
def test_stored_bytes_are_those_of_packed_codes(tiny, bits):
    parameters = [x.detach().numpy() for x in tiny.network.model.parameters()]
    expected = sum(
        quantize_table(x, bits=bits).size_bytes if x.ndim == 2 else x.nbytes
        for x in parameters
    )
    found = quantize_encoder(tiny, bits=bits)
    assert found.size_bytes == expected
    assert found.bits == bits


def test_eight_bits_keep_the_vectors_and_the_original_stays(tiny):
    before = tiny.encode(TEXTS)
    cosines = {
        bits: (quantize_encoder(tiny, bits=bits).encoder.encode(TEXTS) * before)
        .sum(axis=1)
        .mean()
        for bits in (8, 4, 1)
    }
    assert cosines[8] > 0.999
    assert cosines[8] > cosines[4] > cosines[1]
    np.testing.assert_array_equal(tiny.encode(TEXTS), before)


def test_refusals(tiny, encoder):
    for bits in (0, 9, 2.5):
        with pytest.raises(ValueError, match=f"bits must be 1..8; got {bits}"):
            quantize_encoder(tiny, bits=bits)
        with pytest.raises(ValueError, match=f"bits must be 1..8; got {bits}"):
            round_rows(torch.ones(1, 1), bits=bits)
    with pytest.raises(ValueError, match=r"weight must be \(n_rows, dim\); got \(3,\)"):
        round_rows(torch.ones(3), bits=4)
    with pytest.raises(TypeError, match='encoder must be of engine="torch"; got'):
        quantize_encoder(encoder, bits=8)
