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
