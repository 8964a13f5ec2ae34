"""Encoders on a GPU, each in a process of its own: ``python -m`` with its name.

Each offers ``request(text)`` and ``encode(texts, batch_size)``; ours also its parts:
the bare replay of its graph, tokenising, and passes.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.children.peer_worker import MAX_LENGTH, weights_folder
from benchmarks.children.worker import Operations, serve


def own() -> Operations:
    """Our encoder as `load_encoder` gives it for a GPU, and the GPU's best rates."""
    from recsys_lib.embeddings.encoder import load_encoder
    from recsys_lib.embeddings.engines.cuda_graphs import graph_shape
    from recsys_lib.embeddings.engines.torch import TorchNetwork
    from recsys_lib.embeddings.tokens import Tokens, token_batches

    encoder = load_encoder(device="cuda")
    network: Any = encoder.network
    assert isinstance(network, TorchNetwork)
    ready: list[Any] = []
    batches: list[Tokens] = []

    def request(text: str) -> None:
        encoder.encode([text])

    def encode(texts: Sequence[str], batch_size: int | None = None) -> Any:
        return encoder.encode(texts, batch_size=batch_size)

    def lay_ready(text: str) -> int:
        encoder.encode([text])
        n_tokens: int = encoder.tokenize([text]).ids.size
        ready[:] = [network.graphs.made["mean", graph_shape(1, n_tokens)]]
        return n_tokens

    def replay() -> None:
        ready[0].replay()

    def tokenize(texts: Sequence[str]) -> list[int]:
        made = token_batches(
            encoder.tokenizer, texts, encoder.batching, pad_id=encoder.pad_id
        )
        batches[:] = [tokens for _, tokens in made]
        return [int(n) for batch in batches for n in batch.mask.sum(axis=1)]

    def passes() -> None:
        network.encode(batches, encoder.pooling)

    def engine() -> list[str]:
        return [encoder.engine, encoder.precision]

    listed: list[Any] = [request, encode, lay_ready, replay, tokenize, passes, engine]
    listed += [tflops, gbytes_per_s]
    return {operation.__name__: operation for operation in listed}


def tflops(size: int = 8192, repeats: int = 10) -> float:
    """Best rate of a matrix product in bfloat16, in 1e12 operations a second."""
    import torch

    left, right = torch.randn(2, size, size, dtype=torch.bfloat16, device="cuda")
    return 2 * size**3 / _best_s(partial(torch.mm, left, right), repeats) / 1e12


def gbytes_per_s(n_bytes: int = 2**32, repeats: int = 10) -> float:
    """Best rate of copying in the GPU's memory, reading and writing both counted."""
    import torch

    source = torch.ones(n_bytes, dtype=torch.int8, device="cuda")
    copy = partial(torch.empty_like(source).copy_, source)
    return 2 * n_bytes / _best_s(copy, repeats) / 1e9


def sentence_transformers(
    batch_size: int | None = None, **model_kwargs: Any
) -> Operations:
    """sentence-transformers, at its default batch size or another."""
    from sentence_transformers import SentenceTransformer

    options: dict[str, Any] = {"device": "cuda", "model_kwargs": model_kwargs}
    model = SentenceTransformer(weights_folder(), **options)
    model.max_seq_length = MAX_LENGTH
    sizes = {"batch_size": batch_size} if batch_size else {}

    def request(text: str) -> None:
        model.encode([text], normalize_embeddings=True)

    def encode(texts: Sequence[str]) -> Any:
        found = model.encode(texts, normalize_embeddings=True, **sizes)
        return np.asarray(found, dtype=np.float32)

    return {"request": request, "encode": encode}


def _best_s(call: Callable[[], object], repeats: int) -> float:
    """Least of several times in seconds, by the GPU's clock."""
    import torch

    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return min(times)


WORKERS: dict[str, Callable[[], Operations]] = {
    "own": own,
    "st-gpu": sentence_transformers,
    "st-gpu-bf16": partial(sentence_transformers, 256, torch_dtype="bfloat16"),
}

if __name__ == "__main__":
    serve(WORKERS[sys.argv[1]])
