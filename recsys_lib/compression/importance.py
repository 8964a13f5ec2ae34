"""What matters in a BERT, judged on texts without labels: heads, units and layers.

Without labels there is no loss to derive. What counts instead is by how much the vector
of a text would move.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cosine_similarity

from recsys_lib.compression.pruning import bert_of, common_width
from recsys_lib.embeddings.encoder import Encoder
from recsys_lib.embeddings.pooling import pool_tensors
from recsys_lib.embeddings.tokens import Tokens

Scores = npt.NDArray[np.float64]


def head_importance(encoder: Encoder, texts: Sequence[str], *, seed: int = 0) -> Scores:
    """Score each attention head by how far the text's vector moves with its gate.

    A gate multiplies what a head hands on, and is 1. The squared derivative along a
    random direction is on average the squared speed of the whole vector, so one pass
    backward serves all gates.

    Args:
        encoder: A BERT on the torch engine, its layers alike.
        texts: Some hundred of the kind to encode.
        seed: Of the random directions, one a text.

    Returns:
        (n_layers, n_heads), at least 0.

    Raises:
        ValueError: If there is no text, or layers have different numbers of heads.
        TypeError: If the encoder is no BERT on the torch engine.

    Source: Michel et al., NeurIPS 2019, arXiv 1905.10650 (with a loss).
    """
    layers = bert_of(encoder).encoder.layer
    outputs = [layer.attention.output.dense for layer in layers]
    n_heads = common_width(layer.attention.self.num_attention_heads for layer in layers)
    return _gate_speeds(encoder, texts, outputs, n_gates=n_heads, seed=seed)


def unit_importance(encoder: Encoder, texts: Sequence[str], *, seed: int = 0) -> Scores:
    """Score each feed-forward unit as `head_importance` does a head.

    Returns:
        (n_layers, n_units), at least 0.
    """
    outputs = [layer.output.dense for layer in bert_of(encoder).encoder.layer]
    n_units = common_width(output.in_features for output in outputs)
    return _gate_speeds(encoder, texts, outputs, n_gates=n_units, seed=seed)


@torch.inference_mode()
def layer_importance(encoder: Encoder, texts: Sequence[str]) -> Scores:
    """Score each layer by how far it turns the hidden states: 1 minus their cosine.

    Returns:
        (n_layers,) in [0, 2], the mean over all tokens of the texts.

    Raises:
        ValueError: If there is no text.
        TypeError: If the encoder is no BERT on the torch engine.

    Source: Men et al., ShortGPT (Block Influence), 2024, arXiv 2403.03853.
    """
    turned, n_tokens = np.zeros(len(bert_of(encoder).encoder.layer)), 0
    for tokens in _batches(encoder, texts):
        outputs = _run(encoder, tokens, output_hidden_states=True)
        states = torch.stack(outputs.hidden_states)
        kept = states[:, torch.from_numpy(tokens.mask == 1)]  # (1 + n_layers, n, dim)
        cosines = cosine_similarity(kept[:-1], kept[1:], dim=-1)  # (n_layers, n)
        turned += (1 - cosines).sum(dim=1).double().cpu().numpy()
        n_tokens += kept.shape[1]
    return turned / n_tokens


def _gate_speeds(
    encoder: Encoder,
    texts: Sequence[str],
    outputs: Sequence[Any],
    *,
    n_gates: int,
    seed: int,
) -> Scores:
    """Score the gates that lie on the inputs of each of some linear layers."""
    directions = torch.Generator().manual_seed(seed)
    speeds = np.zeros((len(outputs), n_gates))
    with _recorded(outputs) as inputs:
        for tokens in _batches(encoder, texts):
            vectors = _vectors(encoder, tokens)
            direction = torch.randn(vectors.shape, generator=directions)
            along = (vectors * direction.to(vectors)).sum()
            slopes = torch.autograd.grad(along, inputs)
            for speed, given, slope in zip(speeds, inputs, slopes, strict=True):
                by_value = (given.detach() * slope).sum(dim=1)  # (n, width)
                by_gate = by_value.reshape(len(by_value), n_gates, -1).sum(dim=2)
                speed += by_gate.square().sum(dim=0).double().cpu().numpy()
            inputs.clear()
    return speeds / len(texts)


@contextmanager
def _recorded(modules: Sequence[Any]) -> Iterator[list[torch.Tensor]]:
    """A list to which each module adds what it is given."""
    inputs: list[torch.Tensor] = []

    def add(module: object, given: tuple[torch.Tensor]) -> None:
        inputs.append(given[0])

    hooks = [module.register_forward_pre_hook(add) for module in modules]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def _vectors(encoder: Encoder, tokens: Tokens) -> torch.Tensor:
    """What `Encoder.encode` gives, with its graph for derivatives."""
    hidden = _run(encoder, tokens).last_hidden_state
    mask = torch.from_numpy(tokens.mask).to(hidden.device)
    return pool_tensors(hidden, mask, encoder.pooling)


def _run(encoder: Encoder, tokens: Tokens, **options: bool) -> Any:
    model = bert_of(encoder)
    ids, mask = (
        torch.from_numpy(x).to(model.device) for x in (tokens.ids, tokens.mask)
    )
    return model(ids, attention_mask=mask, **options)


def _batches(
    encoder: Encoder, texts: Sequence[str], size: int = 16
) -> Iterator[Tokens]:
    if not texts:
        raise ValueError("texts must be some; got none")
    for start in range(0, len(texts), size):
        yield encoder.tokenize(texts[start : start + size])
