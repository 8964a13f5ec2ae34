"""What "auto" chooses from: a pass of each engine and precision, and its quality.

The quality is the share of sentences of the clothing reviews whose garment is among
the ten nearest; a garment is the mean vector of five other reviews.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np

from benchmarks.benches.request import INT8, bare_pass, cosine_note
from benchmarks.peers import FOLDER, Child, NotRun, interleave, start_own, start_peer
from benchmarks.report import Row, not_run
from recsys_lib.arrays import Float32Array, FloatArray, IntArray
from recsys_lib.data.reviews import draw_garments, load_clothing_reviews
from recsys_lib.embeddings.engines.choice import candidates
from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import bootstrap_interval, paired_interval
from recsys_lib.ranking.similarity import normalize
from recsys_lib.ranking.top_n import top_n

PEERS = (INT8, "st-onnx")
N_DESCRIBING, N_WORDS, K = 5, 20, 10  # reviews of a garment, words of each


def run(bounds: object, *, quick: bool) -> list[Row]:
    """Measure each candidate's bare pass beside those of two peers."""
    n_garments, rounds = (20, 20) if quick else (254, 400)
    texts, garments = sentences(n_garments)
    rows: list[Row] = []
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for engine, precision in candidates("auto", "auto", calibrated=True):
            options = {"sample": "reviews", "engine": engine, "precision": precision}
            children[f"{engine} {precision}"] = stack.enter_context(
                start_own(**options)
            )
        for name in PEERS:
            try:
                children[name] = stack.enter_context(start_peer(name))
            except NotRun as reason:
                rows.append(not_run("engines", name, reason))
        rows += quality_rows(children, texts, garments)
        return rows + time_rows(children, texts, rounds)


def sentences(n_garments: int) -> tuple[list[str], IntArray]:
    """Texts of garments, five of each, then the sentences that ask for one.

    Returns:
        The texts, and (n_sentences,) numbers of the garments that are asked for.
    """
    drawn = draw_garments(load_clothing_reviews().reviews, n_garments)
    describing = drawn[drawn.nth < N_DESCRIBING]
    asking = drawn[drawn.nth.between(N_DESCRIBING, 8)]
    texts = [*describing.text, *asking.text]
    cut = [" ".join(text.split()[:N_WORDS]) for text in texts]
    return cut, np.searchsorted(np.unique(describing.item), asking.item)


def found(vectors: Float32Array, garments: IntArray) -> FloatArray:
    """1 for each sentence whose garment is among the ten nearest, else 0."""
    described, asking = np.split(vectors, [len(vectors) - len(garments)])
    described = described.reshape(-1, N_DESCRIBING, vectors.shape[1]).mean(axis=1)
    middle = described.mean(axis=0)
    table, rows = normalize(described - middle), normalize(asking - middle)
    best = top_n((rows @ table.T).astype(np.float32), K).items
    return (best == garments[:, None]).any(axis=1).astype(float)


def quality_rows(
    children: Mapping[str, Child], texts: list[str], garments: IntArray
) -> list[Row]:
    """Rows of the first child's recall, and of what the others change."""
    rows: list[Row] = []
    reference = None
    for name, child in children.items():
        file = FOLDER / f"engines-{name.replace(' ', '-')}.npy"
        child.ask("encode", save=file, texts=texts)
        vectors = normalize(np.load(file)).astype(np.float32)
        hits = found(vectors, garments)
        if reference is None:
            reference = vectors, hits
            recall = bootstrap_interval(hits, units=garments)
            rows.append(Row("engines", f"{name}, recall@{K} of garments", recall, ""))
            continue
        change = paired_interval(hits, reference[1], units=garments)
        note = cosine_note(float((vectors * reference[0]).sum(axis=1).mean()))
        rows.append(Row("engines", f"{name}, change of that", change, "", note=note))
    return rows


def time_rows(children: Mapping[str, Child], texts: list[str], n: int) -> list[Row]:
    """Rows of the first child's pass over each other's, and over itself."""
    calls = {name: partial(bare_pass, x, texts) for name, x in children.items()}
    first = next(iter(calls))
    calls["itself"] = calls[first]
    ms = interleave(calls, rounds=n)
    return [
        Row(
            "engines",
            f"pass, {first} / {name}",
            ratio(ms[first], ms[name]),
            note=f"{np.median(ms[name]):.2f} ms",
        )
        for name in calls
        if name != first
    ]
