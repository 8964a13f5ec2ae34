"""Encoders of exact architecture and random weights, to measure time and memory."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.architecture import Engine
from recsys_lib.embeddings.encoder import resolve_options
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import batching_on, load_model_tokenizer
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs

ARCHITECTURES: dict[str, dict[str, int]] = {
    name: {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }
    for name, layers, hidden, heads in [
        ("minilm-l6", 6, 384, 12),
        ("bert-base", 12, 768, 12),
        ("bert-large", 24, 1024, 16),
    ]
}
_DEFAULTS = {"vocab_size": 30_522, "max_position_embeddings": 512, "type_vocab_size": 2}


def random_encoder(
    dimensions: Mapping[str, int],
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    device: str = "cpu",
    max_length: int = 128,
    seed: int = 0,
) -> Encoder:
    """Make a BERT of exact architecture and random weights.

    Args:
        dimensions: Named as in `BertConfig`, such as ``ARCHITECTURES["bert-base"]``.
        engine: "openvino", "torch", or "auto": openvino on a CPU, torch on a GPU.
        precision: As of `load_encoder`, without "int8"; "auto" is float32 on a CPU.
        device: "cpu" or "cuda[:i]".
        max_length: As of `load_encoder`, in tokens of the carried model.
        seed: Seed of the weights, which differ between the engines.

    Raises:
        ValueError: If the vocabulary is too small, or an option is out of its range.

    Source: Devlin et al., BERT, NAACL 2019, doi 10.18653/v1/N19-1423.

    >>> random_encoder(ARCHITECTURES["bert-base"] | {"num_hidden_layers": 1}).dim
    768
    """
    engine, precision = resolve_options(engine, precision, device)
    if engine == "onnxruntime" or precision == "int8":
        got = f"got {engine}, {precision}"
        raise ValueError(f"random weights must be of torch or openvino, floats; {got}")
    sizes = _DEFAULTS | dict(dimensions)
    tokenizer = load_model_tokenizer(minilm_folder(), max_length, sizes)
    if sizes["vocab_size"] < (least := tokenizer.get_vocab_size()):
        got = f"got {sizes['vocab_size']}"
        raise ValueError(f"vocab_size must be at least {least}; {got}")
    if engine == "torch":
        from recsys_lib.embeddings.engines.torch import random_torch_network  # seconds

        network = random_torch_network(
            sizes, device=device, precision=precision, seed=seed
        )
        return Encoder(tokenizer, network, batching=batching_on(device))
    from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork
    from recsys_lib.embeddings.engines.openvino_bert import bert_graph

    model = bert_graph(sizes, _uniform_weights(np.random.default_rng(seed)))
    precision = "float32" if precision == "auto" else precision
    return Encoder(tokenizer, OpenVinoNetwork(model, precision=precision))


def one_product(
    dimensions: Mapping[str, int], *, device: str = "cpu"
) -> Callable[[int], Any]:
    """Return a function that multiplies n tokens by one matrix as large as all layers.

    Its time is a lower bound of a forward pass. It runs on OpenVINO; on a GPU on torch,
    in bfloat16 as the encoders.

    Args:
        dimensions: As of `random_encoder`; embeddings and biases are not counted.
        device: "cpu" or "cuda[:i]".

    >>> one_product(ARCHITECTURES["minilm-l6"])(2).shape
    (2, 27648)
    """
    dim, wide = dimensions["hidden_size"], dimensions["intermediate_size"]
    rows = dimensions["num_hidden_layers"] * (4 * dim + 2 * wide)
    if device != "cpu":
        with needs("torch"):
            import torch

        ones = partial(torch.ones, device=device, dtype=torch.bfloat16)
        layers = ones(rows, dim)
        return lambda n: ones(n, dim) @ layers.T
    with needs("openvino"):
        import openvino
        from openvino import opset13 as ops

    from recsys_lib.embeddings.engines.openvino import compile_for_cpu

    matrix = ops.constant(np.ones((rows, dim), np.float32), shared_memory=True)
    x = ops.parameter([-1, dim], np.float32)
    product = openvino.Model([ops.matmul(x, matrix, False, True)], [x])
    request = compile_for_cpu(product).create_infer_request()

    def multiply(n_tokens: int) -> Any:
        tokens = [np.ones((n_tokens, dim), np.float32)]
        return request.infer(tokens, share_inputs=True, share_outputs=True)[0]

    return multiply


def _uniform_weights(
    rng: np.random.Generator,
) -> Callable[[str, tuple[int, ...]], Float32Array]:
    """Weights with the standard deviation that BERT starts from, biases included."""
    width = np.float32(0.02 * 12**0.5)

    def draw(_: str, shape: tuple[int, ...]) -> Float32Array:
        return (rng.random(shape, dtype=np.float32) - np.float32(0.5)) * width

    return draw
