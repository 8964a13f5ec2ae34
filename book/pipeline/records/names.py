"""Names of records as a reader writes them: `hits_lfu_100` is "hits, LFU, 100"."""

import re
from itertools import pairwise

_WRITTEN = {
    "1mb": "1 MB",
    "10mb": "10 MB",
    "4bit": "4 bits",
    "amdahl": "Amdahl's law",
    "arc": "ARC",
    "as it is": "original",
    "auc": "AUC",
    "bert": "BERT",
    "bert base": "BERT-base",
    "bert large": "BERT-large",
    "bm25": "BM25",
    "che": "Che's formula",
    "clip b 32": "CLIP B/32",
    "cls": "CLS",
    "cpu": "CPU",
    "e5": "E5",
    "ease": "EASE",
    "fifo": "FIFO",
    "flops": "FLOPs",
    "forward": "forward pass",
    "genre year": "genre and year",
    "gpt 2 xl": "GPT-2 XL",
    "gpt 3": "GPT-3",
    "gpu": "GPU",
    "hit10": "hit rate@10",
    "hnsw": "HNSW",
    "ials": "iALS",
    "id": "ID",
    "itemknn": "ItemKNN",
    "l3": "L3",
    "l6": "L6",
    "lent": "reused",
    "lfu": "LFU",
    "little": "Little's law",
    "lru": "LRU",
    "map": "MAP",
    "mb": "size",
    "minilm": "MiniLM",
    "mlp": "MLP",
    "mmr": "MMR",
    "mrr": "MRR",
    "ndcg": "nDCG",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "pre trained": "pre-trained",
    "pytorch": "PyTorch",
    "r1": "recall@1",
    "r10": "recall@10",
    "resnet": "ResNet",
    "rmse": "RMSE",
    "rt": "response time",
    "s3fifo": "S3-FIFO",
    "sar": "SAR",
    "tf idf": "TF-IDF",
    "tfidf": "TF-IDF",
    "tokenise": "tokenising",
    "vit": "ViT",
    "vivit": "ViViT",
    "vivit b 16x2": "ViViT B/16x2",
    "wtinylfu": "W-TinyLFU",
}
_COMPARED = (
    "arc, as it is, bert base, bert large, best text, binary, clip b 32, cls, e5, "
    "ease, every item, fifo, flat, float32, gpt 2 xl, gpt 3, half zero, hnsw, ials, "
    "int8, int8 model, itemknn, l3, l6, lfu, lru, minilm, mmr, one text, openvino, "
    "original, popularity, random, random weights, s3fifo, shuffled, student, text, "
    "text alone, text one, tf idf, tfidf, token table, vivit b 16x2, wtinylfu"
)
_VARIANTS = frozenset(_COMPARED.split(", "))
_NO_COMMA = "a after as at batch in is of on over per rung than the to top with without"
_JOINING = frozenset(_NO_COMMA.split())
_UNIT = r"(?<=.)_(ns|us|ms|kb|mb|gb)$"  # of a record that the run lacks
_PHRASES = sorted({*_WRITTEN, *_VARIANTS}, key=len, reverse=True)


def readable(name: str, unit: str = "") -> str:
    """Write a record's name in words, without the unit at its end.

    What was compared, such as a model or a way to cache, stands between commas.

    >>> readable("hits_lfu_100")
    'hits, LFU, 100'
    >>> readable("rt_one_text_p50_ms", "ms")
    'response time, one text, p50'
    >>> readable("cold_gain_over_tf_idf")
    'cold gain over TF-IDF'
    """
    ending = "_" + unit.lower().replace("1/", "per_").replace("/", "_per_")
    bare = name.removesuffix(ending) if unit else re.sub(_UNIT, "", name)
    parts = _parts(bare)
    said = _written(parts[0])
    for last, part in pairwise(parts):
        listed = part.isdigit() or part in _VARIANTS or last in _VARIANTS
        joined = _JOINING & {last, part} or last.isdigit()
        said += (", " if listed and not joined else " ") + _written(part)
    return _joined(said)


def _parts(name: str) -> list[str]:
    """The words of a name, with each known phrase as one."""
    rest = name.replace("_", " ")
    parts: list[str] = []
    while rest:
        found = (p for p in _PHRASES if f"{rest} ".startswith(f"{p} "))
        part = next(found, rest.split(" ")[0])
        parts.append(part)
        rest = rest[len(part) :].lstrip()
    return parts


def _written(part: str) -> str:
    return _WRITTEN.get(part, part)


def _joined(said: str) -> str:
    """Fractions (9 10), ranks (at 10) and possessives (document s) in one word."""
    said = re.sub(r"\b(\d+),? (\d+)\b(?= )", r"\1/\2", said)
    said = re.sub(r" at,? (\d+)\b", r"@\1", said)
    return re.sub(r"(?<!\bper) s\b", "'s", said)
