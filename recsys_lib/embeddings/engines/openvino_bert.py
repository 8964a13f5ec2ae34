"""BERT as an OpenVINO graph, built from its weights without torch.

Converting a `random_torch_network` gives the same graph, but takes ten times as long.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.engines.openvino_convert import add_metadata
from recsys_lib.extras import needs

with needs("openvino"):
    import openvino
    from openvino import opset13 as ops

Weight = Callable[[str, tuple[int, ...]], Float32Array]

_WORDS = "embeddings.word_embeddings.weight"


def bert_graph(sizes: Mapping[str, int], weight: Weight) -> openvino.Model:
    """Build the graph of a BERT, from ids and mask to hidden states.

    Args:
        sizes: All dimensions, named as in `BertConfig`.
        weight: Returns the weights of a name, as in `BertModel`, and a shape.
    """
    dim, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    n_parameters = dim * (dim + 1)  # the pooling head counts, but is not built

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
        parts = (
            dense(x, f"{name}.{part}", dim, dim) for part in ("query", "key", "value")
        )
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
    return add_metadata(
        model,
        n_parameters=n_parameters,
        n_positions=sizes["max_position_embeddings"],
        token_table=_WORDS,
    )


def _embed(ids: Any, sizes: Mapping[str, int], constant: Callable[..., Any]) -> Any:
    """Sum the embeddings of the word, its position and its only text type."""
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
