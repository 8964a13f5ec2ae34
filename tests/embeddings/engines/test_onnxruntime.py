import copy

import numpy as np
import pytest

from recsys_lib.embeddings.architecture import is_plain_bert
from recsys_lib.embeddings.engines.onnxruntime import (
    OnnxNetwork,
    convert_to_onnx,
)
from recsys_lib.embeddings.tokens import Tokens, pad

ROWS = [[101, 7, 8, 9, 102], [101, 102], [101, 2, 3, 4, 5, 6, 7, 8, 9, 102]]


@pytest.fixture(scope="module")
def network(tiny, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    convert_to_onnx(tiny.network, file)
    return OnnxNetwork(file)


def test_the_facts_are_the_reference_s(tiny, network):
    np.testing.assert_array_equal(network.token_table, tiny.network.token_table)
    assert (network.dim, network.n_parameters) == (8, tiny.n_parameters)


@pytest.fixture(scope="module")
def int8(tiny, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "int8.onnx"
    convert_to_onnx(tiny.network, file, precision="int8")
    return OnnxNetwork(file)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_in_the_graph_is_pooling_outside(tiny, network, pooling):
    tokens = pad(ROWS, 0)
    (inside,) = network.encode([tokens], pooling)
    outside = network.pool(network.forward(tokens), tokens.mask, pooling)
    np.testing.assert_allclose(inside, outside, atol=2e-6)
    (expected,) = tiny.network.encode([tokens], pooling)
    assert ((inside * expected).sum(axis=1) > 1 - 1e-6).all()


def test_batches_side_by_side_are_the_single_texts(network):
    alone = [network.encode([pad([row], 0)], "mean")[0] for row in ROWS]
    for batches in ([[0], [1], [2]], [[2, 0], [1]]):
        tokens = [pad([ROWS[i] for i in batch], 0) for batch in batches]
        for batch, found in zip(batches, network.encode(tokens, "mean"), strict=True):
            expected = np.concatenate([alone[i] for i in batch])
            np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_text_in_int8_has_one_vector_whatever_is_beside_it(int8):
    alone = [int8.encode([pad([row], 0)], "mean")[0] for row in ROWS]
    (together,) = int8.encode([pad(ROWS, 0)], "mean")
    np.testing.assert_array_equal(together, np.concatenate(alone))
    side_by_side = int8.encode([pad(ROWS[:2], 0), pad(ROWS[2:], 0)], "mean")
    np.testing.assert_array_equal(np.concatenate(side_by_side), together)


def test_int8_is_near_float32_in_less_than_half_the_memory(network, int8):
    tokens = pad(ROWS, 0)
    for pooling in ("mean", "cls"):
        (found,), (expected,) = (x.encode([tokens], pooling) for x in (int8, network))
        assert ((found * expected).sum(axis=1) > 0.99).all()
    hidden = int8.forward(tokens)
    assert hidden.shape == (3, 10, 8)
    assert not hidden[1, 2:].any()  # nothing is computed of padding
    np.testing.assert_allclose(
        int8.pool(hidden, tokens.mask, "mean"),
        int8.encode([tokens], "mean")[0],
        atol=2e-6,
    )
    assert (int8.precision, network.precision) == ("int8", "float32")
    assert int8.n_parameters == network.n_parameters
    assert int8.size_bytes < network.size_bytes / 2
    with pytest.raises(ValueError, match=r"token table must be float32; got .* int8"):
        _ = int8.token_table


def test_no_batch_gives_no_vector(network):
    assert network.encode([], "mean") == []


def test_what_stands_in_the_padding_does_not_matter(network):
    plain = pad(ROWS, 0)
    other = Tokens(np.where(plain.mask == 1, plain.ids, 999), plain.mask)
    first, second = network.encode([plain, other], "mean")
    np.testing.assert_allclose(first, second, atol=2e-6)


def test_only_bert_is_converted(tiny, tmp_path):
    config = tiny.network.model.config.to_dict()
    assert is_plain_bert(config)
    for other in (
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
    ):
        assert not is_plain_bert(config | other)
    relu = copy.deepcopy(tiny.network)
    relu.model.config.hidden_act = "relu"
    with pytest.raises(ValueError, match=r"must be given BERT.*; got bert, relu"):
        convert_to_onnx(relu, tmp_path / "model.onnx")
