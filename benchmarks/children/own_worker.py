"""Our library in a process of its own: ``python -m`` with OPTIONS.

OPTIONS is the JSON of the keywords of `book_encoder`, or of `build_index` with a
``kind``. The operations are those of the peers, and ``tokenize`` and ``forward``: the
bare pass over the tokens of the last text. Like the service's, the encoder is
calibrated on a sample of the texts: ``sample`` is "films" or "reviews".
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.children.worker import Operations, serve
from benchmarks.peers import MODEL
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.reviews import load_clothing_reviews
from recsys_lib.embeddings.encoder import calibration_sample
from recsys_lib.embeddings.own import book_encoder
from recsys_lib.embeddings.random_bert import ARCHITECTURES, one_product
from recsys_lib.ranking.faiss_store import faiss
from recsys_lib.ranking.index import Index, build_index

MEDIAN_TOKENS = 13  # of a film's description


def text_operations(sample: str = "films", **options: Any) -> Operations:
    """Encoder and flat index, and the bare forward pass of the same engine."""
    texts = {"films": films, "reviews": reviews}[sample]()
    models = shlex.quote(os.environ[MODEL]) if MODEL in os.environ else ""
    encoder = book_encoder(models, calibration=calibration_sample(texts), **options)
    indexes: list[Index] = []
    ready: list[Any] = []

    def prepare(path: str) -> None:
        indexes[:] = [build_index(np.load(path), kind="flat")]

    def request(text: str, k: int) -> Any:
        return indexes[0].search(encoder.encode([text]), k).items[0].tolist()

    def encode(texts: Sequence[str], batch_size: int | None = None) -> Any:
        return encoder.encode(texts, batch_size=batch_size)

    def engine() -> list[str]:
        return [encoder.engine, encoder.precision]

    def tokenize(text: str) -> int:
        ready[:] = [encoder.tokenize([text])]
        return len(ready[0].ids[0])

    def forward() -> None:
        encoder.forward(ready[0])

    def nearest(k: int) -> None:
        indexes[0].search(query, k)

    def product() -> None:
        multiply(MEDIAN_TOKENS)

    query = encoder.encode(["a film about a toy"])
    multiply = one_product(ARCHITECTURES["minilm-l6"])
    listed: list[Any] = [prepare, request, encode, engine]
    listed += [tokenize, forward, nearest, product]
    return {operation.__name__: operation for operation in listed}


def films() -> list[str]:
    """Texts of MovieLens 100k."""
    return load_movielens().items["text"].tolist()


def reviews() -> list[str]:
    """Texts of the clothing reviews."""
    return load_clothing_reviews().reviews["text"].tolist()


def vector_operations(kind: Any, **options: Any) -> Operations:
    """One of our indexes."""
    held: list[Any] = []
    masks: list[Any] = []

    def prepare(path: str, queries: str) -> None:
        held[:] = [build_index(np.load(path), kind=kind, **options), np.load(queries)]

    def allow(path: str) -> None:
        masks[:] = np.load(path, mmap_mode="r")  # (filters, shares, n_queries, n_items)

    def search(number: int, k: int, mask: Sequence[int] | None = None) -> Any:
        index, queries = held
        allowed = None if mask is None else masks[mask[0]][mask[1], number]
        found = index.search(queries[number : number + 1], k, allowed=allowed)
        return found.items[0].tolist()

    def distances(k: int) -> float:
        """Vectors of the graph that a query is compared with, on average."""
        index, queries = held
        faiss.cvar.hnsw_stats.reset()
        index.search(queries, k)
        return float(faiss.cvar.hnsw_stats.ndis / len(queries))

    listed: list[Any] = [prepare, allow, search, distances]
    return {operation.__name__: operation for operation in listed}


def make(options: dict[str, Any]) -> Callable[[], Operations]:
    """Operations of an index if the options have a kind, else of an encoder."""
    offered = vector_operations if "kind" in options else text_operations
    return lambda: offered(**options)


if __name__ == "__main__":
    serve(make(json.loads(sys.argv[1])))
