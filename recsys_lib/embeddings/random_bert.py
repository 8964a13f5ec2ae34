"""Encoders of exact architecture and random weights: for time and memory only."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as ops

from recsys_lib.embeddings.encoder import Encoder, Engine, resolve_options
from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork, compiled
from recsys_lib.embeddings.engines.openvino_convert import describe
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import batching_on, fitting_tokenizer

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

Weight = Callable[[str, tuple[int, ...]], npt.NDArray[np.float32]]


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
        dimensions: As `BertConfig` calls them, such as ``ARCHITECTURES["bert-base"]``.
        engine: "openvino" (of "auto" on the CPU) or "torch"; it, precision, device and
            max_length as of `load_encoder`.
        precision: Of the weights; "auto" is float32 on the CPU. Not "int8".
        device: "cpu" or "cuda[:i]".
        max_length: Tokens kept of a text, by the carried tokeniser.
        seed: Of the weights, which differ from engine to engine.

    Raises:
        ValueError: If the vocabulary is too small, or an option is out of its range.

    Source: Devlin et al., BERT, NAACL 2019, doi 10.18653/v1/N19-1423.

    >>> random_encoder(ARCHITECTURES["bert-base"] | {"num_hidden_layers": 1}).dim
    768
    """
    engine, precision = resolve_options(engine, precision, "mean", device)
    if engine == "onnxruntime":
        raise ValueError(
            f"engine of random weights must be auto, torch or openvino; got {engine}"
        )
    if precision == "int8":
        raise ValueError("precision of random weights must be a float; got int8")
    sizes = _DEFAULTS | dict(dimensions)
    tokenizer = fitting_tokenizer(minilm_folder(), max_length, sizes)
    if sizes["vocab_size"] < (least := tokenizer.get_vocab_size()):
        got = f"got {sizes['vocab_size']}"
        raise ValueError(f"vocab_size must be at least {least}; {got}")
    if engine == "torch":
        from recsys_lib.embeddings.engines.torch import random_network  # takes seconds

        options: dict[str, Any] = {"device": device, "precision": precision}
        network = random_network(sizes, seed=seed, **options)
        return Encoder(tokenizer, network, batching=batching_on(device))
    model = bert(sizes, _uniform(np.random.default_rng(seed)))
    precision = "float32" if precision == "auto" else precision
    return Encoder(tokenizer, OpenVinoNetwork(model, precision=precision))


def one_product(
    dimensions: Mapping[str, int], *, device: str = "cpu"
) -> Callable[[int], Any]:
    """Return a call that multiplies n tokens by one matrix as large as all the layers.

    It runs on OpenVINO, on a GPU on torch in bfloat16 as the models there, and is a
    floor under the time of such a model.

    Args:
        dimensions: As of `random_encoder`; embeddings and biases are not counted.
        device: "cpu" or "cuda[:i]".

    >>> one_product(ARCHITECTURES["minilm-l6"])(2).shape
    (2, 27648)
    """
    dim, wide = dimensions["hidden_size"], dimensions["intermediate_size"]
    rows = dimensions["num_hidden_layers"] * (4 * dim + 2 * wide)
    if device != "cpu":
        import torch

        kind: Any = {"device": device, "dtype": torch.bfloat16}
        layers = torch.ones(rows, dim, **kind)
        return lambda n: torch.ones(n, dim, **kind) @ layers.T
    matrix = ops.constant(np.ones((rows, dim), np.float32), shared_memory=True)
    x = ops.parameter([-1, dim], np.float32)
    product = openvino.Model([ops.matmul(x, matrix, False, True)], [x])
    request = compiled(product).create_infer_request()

    def multiply(n_tokens: int) -> Any:
        tokens = [np.ones((n_tokens, dim), np.float32)]
        return request.infer(tokens, share_inputs=True, share_outputs=True)[0]

    return multiply


def bert(sizes: Mapping[str, int], weight: Weight) -> openvino.Model:
    """Build the graph of a BERT, ids and mask to hidden states, without torch.

    Args:
        sizes: All dimensions, as `BertConfig` calls them.
        weight: Gives an array of a shape for a name, as `BertModel` names it.
    """
    dim, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    n_parameters = dim * (dim + 1)  # of the pooling head, which is not built

    def constant(name: str, *shape: int) -> Any:
        nonlocal n_parameters
        n_parameters += int(np.prod(shape))
        return ops.constant(weight(name, shape), name=name)

    def dense(x: Any, name: str, n_in: int, n_out: int) -> Any:
        product = ops.matmul(x, constant(f"{name}.weight", n_out, n_in), False, True)
        return ops.add(product, constant(f"{name}.bias", n_out))

    def norm(x: Any, name: str) -> Any:
        unit = ops.mvn(x, np.array([-1]), True, 1e-12, "inside_sqrt")
        scaled = ops.multiply(unit, constant(f"{name}.weight", dim))
        return ops.add(scaled, constant(f"{name}.bias", dim))

    def attend(x: Any, name: str, allowed: Any) -> Any:
        split, apart = np.array([0, 0, heads, dim // heads]), np.array([0, 2, 1, 3])
        parts = (dense(x, f"{name}.{part}", dim, dim) for part in _PARTS)
        q, k, v = (
            ops.transpose(ops.reshape(part, split, True), apart) for part in parts
        )
        mixed = ops.scaled_dot_product_attention(q, k, v, allowed)
        return ops.reshape(ops.transpose(mixed, apart), np.array([0, 0, dim]), True)

    ids, mask = (ops.parameter([-1, -1], np.int64, name=x) for x in ("ids", "mask"))
    allowed = ops.unsqueeze(ops.convert(mask, "boolean"), np.array([1, 2]))
    x = norm(_embed(ids, sizes, constant), "embeddings.LayerNorm")
    for i in range(sizes["num_hidden_layers"]):
        layer, wide = f"encoder.layer.{i}", sizes["intermediate_size"]
        mixed = attend(x, f"{layer}.attention.self", allowed)
        mixed = dense(mixed, f"{layer}.attention.output.dense", dim, dim)
        x = norm(ops.add(x, mixed), f"{layer}.attention.output.LayerNorm")
        hidden = ops.gelu(dense(x, f"{layer}.intermediate.dense", dim, wide), "erf")
        hidden = dense(hidden, f"{layer}.output.dense", wide, dim)
        x = norm(ops.add(x, hidden), f"{layer}.output.LayerNorm")
    model = openvino.Model([x], [ids, mask])
    n_positions = sizes["max_position_embeddings"]
    return describe(
        model,
        n_parameters=n_parameters,
        n_positions=n_positions,
        token_table=_WORDS,
    )


_PARTS = ("query", "key", "value")
_WORDS = "embeddings.word_embeddings.weight"


def _embed(ids: Any, sizes: Mapping[str, int], constant: Callable[..., Any]) -> Any:
    """Rows for the word, its position, and the one type of text there is."""
    dim, zero = sizes["hidden_size"], np.int64(0)
    words = constant(_WORDS, sizes["vocab_size"], dim)
    places = constant(
        "embeddings.position_embeddings.weight", sizes["max_position_embeddings"], dim
    )
    types = constant(
        "embeddings.token_type_embeddings.weight", sizes["type_vocab_size"], dim
    )
    length = ops.gather(ops.shape_of(ids), np.int64(1), zero)
    place = ops.gather(places, ops.range(zero, length, np.int64(1), "i64"), zero)
    kind = ops.gather(types, np.array([0]), zero)
    return ops.add(ops.add(ops.gather(words, ids, zero), place), kind)


def _uniform(rng: np.random.Generator) -> Weight:
    """Weights with BERT's own spread, biases included."""

    def draw(_: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        return (rng.random(shape, dtype=np.float32) - np.float32(0.5)) * np.float32(
            0.02 * 12**0.5
        )

    return draw
