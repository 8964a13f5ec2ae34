import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_lib.compression.importance import (
    head_importance,
    layer_importance,
    unit_importance,
)
from recsys_lib.compression.pruning import remove_heads
from recsys_lib.embeddings.pooling import Dense
from recsys_lib.embeddings.random_bert import random_encoder

TEXTS = ["Toy Story (1995)", "", "a long film about the sea, whales, and revenge", "Up"]
DIM, HEADS, UNITS, LAYERS = 16, 4, 8, 2
TINY = {
    "num_hidden_layers": LAYERS,
    "hidden_size": DIM,
    "num_attention_heads": HEADS,
    "intermediate_size": UNITS,
    "max_position_embeddings": 16,
}


@pytest.fixture(scope="module", params=["mean", "cls"])
def tiny(request):
    made = random_encoder(TINY, engine="torch", max_length=16)
    with torch.no_grad():
        for module in made.network.model.encoder.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight *= 20
    return replace(made, pooling=request.param)


def output_of(encoder, part, layer):
    found = encoder.network.model.encoder.layer[layer]
    return (found.attention.output if part == "heads" else found.output).dense


def speeds_by_difference(encoder, part, n_gates):
    """Mean squared move of the vectors for a small turn of each gate, over the turn."""
    turn, speeds = 1e-2, np.empty((LAYERS, n_gates))
    for layer, gate in np.ndindex(speeds.shape):
        moved = []
        for factor in (1 + turn, 1 - turn):
            turned = replace(encoder, network=copy.deepcopy(encoder.network))
            weight = output_of(turned, part, layer).weight
            with torch.no_grad():
                weight.unflatten(1, (n_gates, -1))[:, gate] *= factor
            moved.append(turned.encode(TEXTS).astype(float))
        slope = (moved[0] - moved[1]) / (2 * turn)
        speeds[layer, gate] = (slope**2).sum(axis=1).mean()
    return speeds


@pytest.mark.parametrize(
    ("score", "part", "n_gates"),
    [(head_importance, "heads", HEADS), (unit_importance, "units", UNITS)],
)
def test_scores_are_squared_speeds_of_the_vector(tiny, score, part, n_gates):
    found = score(tiny, TEXTS * 300)
    expected = speeds_by_difference(tiny, part, n_gates)
    np.testing.assert_allclose(found, expected, rtol=0.25, atol=1e-2 * expected.max())


def test_what_hands_nothing_on_scores_nothing(tiny):
    deaf = replace(tiny, network=copy.deepcopy(tiny.network))
    with torch.no_grad():
        output_of(deaf, "heads", 1).weight[:, :4] = 0
        output_of(deaf, "units", 0).weight[:, 3] = 0
    assert head_importance(deaf, TEXTS)[1, 0] == 0
    assert unit_importance(deaf, TEXTS)[0, 3] == 0
    assert np.count_nonzero(head_importance(deaf, TEXTS)) == LAYERS * HEADS - 1


def test_a_dense_layer_is_part_of_the_vector(tiny):
    constant = Dense(np.zeros((3, DIM), np.float32), np.ones(3, np.float32))
    ended = replace(tiny, layers=(constant,))
    assert not head_importance(ended, TEXTS).any()
    assert head_importance(tiny, TEXTS).any()


def test_layers_score_how_far_they_turn_each_token(tiny):
    model, turned = tiny.network.model, []
    for text in TEXTS:
        ids = torch.from_numpy(tiny.tokenize([text]).ids)
        with torch.no_grad():
            states = [model.embeddings(ids)]
            for layer in model.encoder.layer:
                states.append(layer(states[-1]))
        rows = [x[0].double().numpy() for x in states]  # (length, dim)
        units = [x / np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in rows]
        turned.append(
            [1 - (units[i] * units[i + 1]).sum(axis=1) for i in range(LAYERS)]
        )
    expected = np.concatenate(turned, axis=1).mean(axis=1)
    np.testing.assert_allclose(layer_importance(tiny, TEXTS), expected, atol=1e-5)


def test_scores_repeat_and_leave_no_trace(tiny):
    hooks = [output_of(tiny, "heads", i)._forward_pre_hooks for i in range(LAYERS)]
    first, again = (head_importance(tiny, TEXTS, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (head_importance(tiny, TEXTS, seed=4) != first).any()
    assert not any(hooks)
    assert all(p.grad is None for p in tiny.network.model.parameters())


@pytest.mark.parametrize("score", [head_importance, unit_importance, layer_importance])
def test_refusals(tiny, encoder, score):
    with pytest.raises(ValueError, match="at least one text; got none"):
        score(tiny, [])
    with pytest.raises(TypeError, match='must be a BERT of engine="torch"'):
        score(encoder, TEXTS)


def test_layers_must_be_alike(tiny):
    uneven = remove_heads(tiny, np.eye(LAYERS, HEADS, dtype=bool) * [[True], [False]])
    with pytest.raises(ValueError, match=r"equal widths; got \[3, 4\]"):
        head_importance(uneven, TEXTS)
