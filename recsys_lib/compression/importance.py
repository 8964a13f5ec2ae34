"""Importance of attention heads, feed-forward units and layers, from unlabelled texts.

Without labels there is no loss to differentiate. Importance is instead how far the
embedding of a text would move.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from recsys_lib.arrays import Float64Array
from recsys_lib.compression.pruning import bert_of, common_width
from recsys_lib.embeddings.pooling import pool_tensors
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs

with needs("torch"):
    import torch
    from torch.nn.functional import cosine_similarity


_BATCH = 16  # texts


def head_importance(
    encoder: Encoder, texts: Sequence[str], *, seed: int = 0
) -> Float64Array:
    """Score each attention head by the gradient of the embeddings with respect to it.

    A gate of 1 multiplies the output of each head. The score is the squared length of
    the derivative of a text's embedding with respect to the gate, averaged over the
    texts. It is estimated from one random projection of the embedding per text, so that
    one backward pass serves all gates.

    Args:
        encoder: A BERT on the torch engine, with as many heads in each layer.
        texts: Some hundred texts like those to encode.
        seed: Of the random projections.

    Returns:
        (n_layers, n_heads), at least 0.

    Raises:
        ValueError: If there is no text, or layers have different numbers of heads.
        TypeError: If the encoder is not a BERT on the torch engine.

    Source: Michel et al., NeurIPS 2019, arXiv 1905.10650 (for a loss).
    """
    layers = bert_of(encoder).encoder.layer
    outputs = [layer.attention.output.dense for layer in layers]
    n_heads = common_width(layer.attention.self.num_attention_heads for layer in layers)
    return _gate_importance(encoder, texts, outputs, n_gates=n_heads, seed=seed)


def unit_importance(
    encoder: Encoder, texts: Sequence[str], *, seed: int = 0
) -> Float64Array:
    """Score each feed-forward unit as `head_importance` scores heads.

    Returns:
        (n_layers, n_units), at least 0.
    """
    outputs = [layer.output.dense for layer in bert_of(encoder).encoder.layer]
    n_units = common_width(output.in_features for output in outputs)
    return _gate_importance(encoder, texts, outputs, n_gates=n_units, seed=seed)


@torch.inference_mode()
def layer_importance(encoder: Encoder, texts: Sequence[str]) -> Float64Array:
    """Score each layer by 1 - cosine between its input and output hidden states.

    Returns:
        (n_layers,) in [0, 2], the mean over all tokens of the texts.

    Raises:
        ValueError: If there is no text.
        TypeError: If the encoder is not a BERT on the torch engine.

    Source: Men et al., ShortGPT (Block Influence), 2024, arXiv 2403.03853.
    """
    distances, n_tokens = np.zeros(len(bert_of(encoder).encoder.layer)), 0
    for tokens in _batches(encoder, texts):
        outputs = _run(encoder, tokens, output_hidden_states=True)
        states = torch.stack(outputs.hidden_states)
        real = states[:, torch.from_numpy(tokens.mask == 1)]  # (1 + n_layers, n, dim)
        cosines = cosine_similarity(real[:-1], real[1:], dim=-1)  # (n_layers, n)
        distances += (1 - cosines).sum(dim=1).double().cpu().numpy()
        n_tokens += real.shape[1]
    return distances / n_tokens


def _gate_importance(
    encoder: Encoder,
    texts: Sequence[str],
    outputs: Sequence[Any],
    *,
    n_gates: int,
    seed: int,
) -> Float64Array:
    """Score the gates on the inputs of some linear layers."""
    generator = torch.Generator().manual_seed(seed)
    scores = np.zeros((len(outputs), n_gates))
    with _recorded(outputs) as inputs:
        for tokens in _batches(encoder, texts):
            vectors = _vectors(encoder, tokens)
            direction = torch.randn(vectors.shape, generator=generator)
            projected = (vectors * direction.to(vectors)).sum()
            gradients = torch.autograd.grad(projected, inputs)
            for score, x, gradient in zip(scores, inputs, gradients, strict=True):
                by_value = (x.detach() * gradient).sum(dim=1)  # (n, width)
                by_gate = by_value.reshape(len(by_value), n_gates, -1).sum(dim=2)
                score += by_gate.square().sum(dim=0).double().cpu().numpy()
            inputs.clear()
    return scores / len(texts)


@contextmanager
def _recorded(modules: Sequence[Any]) -> Iterator[list[torch.Tensor]]:
    """A list to which each module appends its input."""
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
    """Embed as `Encoder.encode` does, with the graph that gradients need."""
    hidden = _run(encoder, tokens).last_hidden_state
    mask = torch.from_numpy(tokens.mask).to(hidden.device)
    return pool_tensors(hidden, mask, encoder.pooling, encoder.layers)


def _run(
    encoder: Encoder, tokens: Tokens, *, output_hidden_states: bool = False
) -> Any:
    model = bert_of(encoder)
    ids, mask = (
        torch.from_numpy(x).to(model.device) for x in (tokens.ids, tokens.mask)
    )
    return model(ids, attention_mask=mask, output_hidden_states=output_hidden_states)


def _batches(encoder: Encoder, texts: Sequence[str]) -> Iterator[Tokens]:
    if not texts:
        raise ValueError("there must be at least one text; got none")
    for start in range(0, len(texts), _BATCH):
        yield encoder.tokenize(texts[start : start + _BATCH])
