import dataclasses

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork
from recsys_lib.embeddings.engines.openvino_bert import bert_graph
from recsys_lib.embeddings.random_bert import (
    ARCHITECTURES,
    one_product,
    random_encoder,
)

TEXTS = ["Toy Story (1995)", "", "a long film about the sea, whales, and revenge", "Up"]


def test_random_weights_follow_the_seed_alone(tiny_sizes):
    state = torch.random.get_rng_state()
    first, again, other = (
        random_encoder(tiny_sizes, engine="torch", max_length=9, seed=s)
        for s in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(first.encode(TEXTS), again.encode(TEXTS))
    assert not np.allclose(first.encode(TEXTS), other.encode(TEXTS))


def test_the_graph_built_here_is_bert(tiny):
    weights = tiny.network.model.state_dict()

    def weight(name, shape):
        assert weights[name].shape == shape
        return weights[name].numpy()

    sizes = vars(tiny.network.model.config)
    network = OpenVinoNetwork(bert_graph(sizes, weight), precision="float32")
    built = dataclasses.replace(tiny, network=network)
    np.testing.assert_allclose(built.encode(TEXTS), tiny.encode(TEXTS), atol=1e-6)
    assert built.n_parameters == tiny.n_parameters
    np.testing.assert_array_equal(network.token_table, tiny.network.token_table)


def test_compiled_random_weights_follow_the_seed_alone(tiny_sizes):
    first, again, other = (
        random_encoder(tiny_sizes, max_length=9, seed=s).encode(TEXTS)
        for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("name", "n"), [("bert-base", 109_482_240), ("bert-large", 335_141_888)]
)
def test_architectures_have_the_published_size(name, n):
    with torch.device("meta"):
        assert BertModel(BertConfig(**ARCHITECTURES[name])).num_parameters() == n


@pytest.mark.parametrize("n_tokens", [1, 16])
def test_one_product_is_as_large_as_the_layers(n_tokens):
    product = one_product(ARCHITECTURES["minilm-l6"])(n_tokens)
    with torch.device("meta"):
        layers = BertModel(
            BertConfig(**ARCHITECTURES["minilm-l6"])
        ).encoder.parameters()
        weights = sum(p.numel() for p in layers if p.ndim == 2)
    assert product.shape == (n_tokens, weights // 384)
    assert (product == 384).all()


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"engine": "onnxruntime"}])
def test_refuses_engines_and_precisions_that_need_a_folder(tiny_sizes, options):
    with pytest.raises(ValueError, match="must be of torch or openvino, floats; got"):
        random_encoder(tiny_sizes, max_length=9, **options)


def test_refuses_a_vocabulary_below_the_tokenizer_s(tiny_sizes):
    with pytest.raises(ValueError, match="at least 30522; got 9"):
        random_encoder(tiny_sizes | {"vocab_size": 9}, max_length=9)
