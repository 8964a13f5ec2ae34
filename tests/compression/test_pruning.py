import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recsys_lib.compression.pruning import (
    least_important,
    remove_heads,
    remove_layers,
    remove_units,
    zero_weights,
)
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork
from recsys_lib.embeddings.engines.openvino_convert import convert_to_openvino
from recsys_lib.embeddings.random_bert import random_encoder

TEXTS = ["Toy Story (1995)", "", "a long film about the sea, whales, and revenge", "Up"]
DIM, HEADS, UNITS, LAYERS = 16, 4, 32, 3
TINY = {
    "num_hidden_layers": LAYERS,
    "hidden_size": DIM,
    "num_attention_heads": HEADS,
    "intermediate_size": UNITS,
    "max_position_embeddings": 16,
}
SCORES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(0, 9).map(float),
)


@pytest.fixture(scope="module")
def tiny():
    """Small, but with weights large enough that each part matters."""
    made = random_encoder(TINY, engine="torch", max_length=16)
    with torch.no_grad():
        for matrix in matrices(made):
            matrix *= 20
    return made


@pytest.fixture(scope="module")
def minilm():
    return load_encoder(engine="torch")


def matrices(encoder):
    modules = encoder.network.model.encoder.modules()
    return [x.weight for x in modules if isinstance(x, torch.nn.Linear)]


def marked(n, *parts):
    """A mask of the layers with n parts each, true for the pairs (layer, part)."""
    mask = np.zeros((LAYERS, n), dtype=bool)
    mask[tuple(zip(*parts, strict=True))] = True
    return mask


def silenced(encoder, heads=(), units=()):
    """A copy in which what these heads and units hand on is multiplied by 0."""
    copied = replace(encoder, network=copy.deepcopy(encoder.network))
    layers, size = copied.network.model.encoder.layer, DIM // HEADS
    with torch.no_grad():
        for layer, head in heads:
            output = layers[layer].attention.output.dense
            output.weight[:, head * size : (head + 1) * size] = 0
        for layer, unit in units:
            layers[layer].output.dense.weight[:, unit] = 0
    return copied


def on_openvino(encoder):
    network = OpenVinoNetwork(convert_to_openvino(encoder.network), precision="float32")
    return replace(encoder, network=network)


HEADS_GONE = [(0, 1), (0, 3), (2, 0), (2, 1), (2, 2)]
UNITS_GONE = [(0, 0), (1, 5), (1, 31), (2, 7)]


def test_a_removed_head_is_a_silenced_head(tiny):
    removed = remove_heads(tiny, marked(HEADS, *HEADS_GONE))
    expected = silenced(tiny, heads=HEADS_GONE).encode(TEXTS)
    np.testing.assert_allclose(removed.encode(TEXTS), expected, atol=1e-5)
    assert np.abs(expected - tiny.encode(TEXTS)).max() > 1e-3


def test_a_removed_unit_is_a_silenced_unit(tiny):
    removed = remove_units(tiny, marked(UNITS, *UNITS_GONE))
    expected = silenced(tiny, units=UNITS_GONE).encode(TEXTS)
    np.testing.assert_allclose(removed.encode(TEXTS), expected, atol=1e-5)
    assert np.abs(expected - tiny.encode(TEXTS)).max() > 1e-3


def test_removed_layers_are_passed_over(tiny):
    removed = remove_layers(tiny, [False, True, False])
    model, kept = tiny.network.model, [0, 2]
    tokens = tiny.tokenize(TEXTS[:1])
    with torch.no_grad():
        hidden = model.embeddings(torch.from_numpy(tokens.ids))
        for i in kept:
            hidden = model.encoder.layer[i](hidden)
    np.testing.assert_allclose(removed.forward(tokens), hidden, atol=1e-5)


def test_what_is_removed_is_no_longer_there(tiny):
    size = DIM // HEADS
    a_head = 3 * (DIM * size + size) + size * DIM
    a_unit = DIM + 1 + DIM
    a_layer = 4 * DIM * (DIM + 1) + UNITS * (DIM + 1) + DIM * (UNITS + 1) + 4 * DIM
    heads = remove_heads(tiny, marked(HEADS, *HEADS_GONE))
    units = remove_units(heads, marked(UNITS, *UNITS_GONE))
    layers = remove_layers(tiny, [True, False, True])
    for pruned, gone in [
        (heads, 5 * a_head),
        (units, 5 * a_head + 4 * a_unit),
        (layers, 2 * a_layer),
    ]:
        assert pruned.n_parameters == tiny.n_parameters - gone
        assert pruned.size_bytes == tiny.size_bytes - 4 * gone
        held = {
            p.untyped_storage().nbytes() - p.nbytes
            for p in pruned.network.model.parameters()
        }
        assert held == {0}, "a view would keep the whole of it in memory"


def test_pruned_encoders_run_on_both_engines(tiny):
    pruned = remove_heads(tiny, marked(HEADS, *HEADS_GONE))
    pruned = remove_units(pruned, marked(UNITS, *UNITS_GONE))
    pruned = remove_layers(pruned, [False, True, False])
    converted = on_openvino(pruned)
    expected = pruned.encode(TEXTS)
    np.testing.assert_allclose(converted.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(converted.encode(TEXTS[:1]), expected[:1], atol=1e-5)
    whole = on_openvino(tiny)
    assert converted.n_parameters == pruned.n_parameters < whole.n_parameters
    assert converted.size_bytes < whole.size_bytes


def test_minilm_without_half_of_its_parts_runs(minilm):
    gone = np.zeros((6, 1536), dtype=bool)
    gone[:, ::2] = True
    heads, units, layers = gone[:, :12], gone, gone[0, :6]
    pruned = remove_layers(remove_units(remove_heads(minilm, heads), units), layers)
    vectors = pruned.encode(TEXTS)
    assert np.isfinite(vectors).all()
    assert vectors.shape == (4, 384)
    half_a_layer = 2 * 384 * 384 + 192 * 3 + 384 + 2 * 384 * 768 + 768 + 384 + 4 * 384
    whole_layer = 4 * 384 * 385 + 1536 * 385 + 384 * 1537 + 4 * 384
    gone_in_all = 6 * whole_layer - 3 * half_a_layer
    assert pruned.n_parameters == minilm.n_parameters - gone_in_all


def test_pruned_layers_can_be_saved_and_loaded(tiny, tmp_path):
    from recsys_lib.embeddings.engines.torch import load_torch_network

    pruned = remove_layers(tiny, [False, True, False])
    pruned.network.model.save_pretrained(tmp_path)
    loaded = load_torch_network(tmp_path)
    again = replace(pruned, network=loaded)
    np.testing.assert_array_equal(again.encode(TEXTS), pruned.encode(TEXTS))


def test_nothing_removed_changes_nothing_and_the_original_stays(tiny):
    before = tiny.encode(TEXTS)
    none = [np.zeros((LAYERS, n), dtype=bool) for n in (HEADS, UNITS)]
    for same in [
        zero_weights(tiny, 0),
        remove_heads(tiny, none[0]),
        remove_units(tiny, none[1]),
        remove_layers(tiny, none[0][:, 0]),
    ]:
        np.testing.assert_allclose(same.encode(TEXTS), before, atol=1e-6)
        assert same.n_parameters == tiny.n_parameters
    zero_weights(tiny, 0.9)
    np.testing.assert_array_equal(tiny.encode(TEXTS), before)


@pytest.mark.parametrize("fraction", [0.25, 0.9])
def test_the_smallest_weights_become_zero(tiny, fraction):
    pruned = zero_weights(tiny, fraction)
    old, new = (
        np.concatenate([x.detach().numpy().ravel() for x in matrices(encoder)])
        for encoder in (tiny, pruned)
    )
    order = np.argsort(np.abs(old))
    n = round(fraction * len(old))
    assert not new[order[:n]].any()
    np.testing.assert_array_equal(new[order[n:]], old[order[n:]])
    assert pruned.size_bytes == tiny.size_bytes


def naive_least_important(scores, fraction):
    """Mark one after the other, the lowest that is not its layer's best."""
    rows = [list(row) for row in scores]
    places = [(v, i, j) for i, row in enumerate(rows) for j, v in enumerate(row)]
    free = [p for p in places if p[2] != rows[p[1]].index(max(rows[p[1]]))]
    gone = {p[1:] for p in sorted(free)[: round(fraction * len(places))]}
    return [[(i, j) in gone for j in range(len(r))] for i, r in enumerate(rows)]


@given(SCORES, st.floats(0, 0.99, allow_subnormal=False))
def test_least_important_equals_the_naive_choice(scores, fraction):
    found = least_important(scores, fraction)
    assert found.tolist() == naive_least_important(scores, fraction)
    assert not found.all(axis=1).any()


def test_least_important_of_whole_layers_is_one_row():
    assert least_important([3, 1, 2, 9], 0.5).tolist() == [False, True, True, False]
    assert least_important([3.0], 0.99).tolist() == [False]


@pytest.mark.parametrize("fraction", [1, -0.1, float("nan")])
def test_refused_fractions(tiny, fraction):
    message = rf"fraction must lie in \[0, 1\); got {fraction}"
    with pytest.raises(ValueError, match=message):
        zero_weights(tiny, fraction)
    with pytest.raises(ValueError, match=message):
        least_important([[1.0]], fraction)


@pytest.mark.parametrize("scores", [[[1.0, np.nan]], [[[1.0]]], []])
def test_refused_scores(scores):
    with pytest.raises(ValueError, match=r"scores must be \(n_layers, n\), finite"):
        least_important(scores, 0.5)


def test_refused_masks(tiny):
    with pytest.raises(TypeError, match="removed must be bool; got int"):
        remove_layers(tiny, [0, 1, 0])
    with pytest.raises(ValueError, match=r"removed must be of shape \(3, 4\); got"):
        remove_heads(tiny, np.zeros((3, 5), dtype=bool))
    with pytest.raises(ValueError, match="leave a part in each layer; got all of one"):
        remove_heads(tiny, marked(HEADS, (0, 0), (0, 1), (0, 2), (0, 3)))
    with pytest.raises(ValueError, match="leave a part in each layer"):
        remove_layers(tiny, [True] * 3)
    uneven = remove_units(tiny, marked(UNITS, *UNITS_GONE))
    with pytest.raises(
        ValueError, match=r"layers must have equal widths; got \[30, 31"
    ):
        remove_units(uneven, marked(UNITS, *UNITS_GONE))


def test_refused_encoder(encoder):
    with pytest.raises(TypeError, match='must be a BERT of engine="torch"; got'):
        zero_weights(encoder, 0.5)
