"""On a GPU: one text, a catalogue, and a flat search, beside sentence-transformers."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks.benches.request import EXACT, own_rows, qualities
from benchmarks.benches.vectors import DIM, synthetic
from benchmarks.benches.vectors import turn as search
from benchmarks.bounds import SHARE, Bounds, Transformer
from benchmarks.peers import (
    FOLDER,
    IN_A_ROW,
    Child,
    Milliseconds,
    NotRun,
    interleave,
    start_on_gpu,
    start_own,
    warm_turn,
)
from benchmarks.report import Row, exact, not_run
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.reviews import load_clothing_reviews
from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import bootstrap_interval

DEFAULT, HALF = "st-gpu", "st-gpu-bf16"
LABELS = {DEFAULT: "sentence-transformers", HALF: "the same in bf16, batches of 256"}
FASTER_THAN_DEFAULT, OVER_REPLAY = 3.5, 1.25


@dataclass(frozen=True)
class Rounds:
    """Numbers of requests, catalogues and searches; of reviews and vectors."""

    requests: int
    catalogues: int
    searches: int
    reviews: int | None
    vectors: int


QUICK, FULL = Rounds(30, 2, 20, 500, 20_000), Rounds(400, 4, 200, None, 200_000)


def run(bounds: Bounds, *, quick: bool) -> list[Row]:
    """Measure our torch engine on the GPU beside the peer there.

    Raises:
        NotRun: If there is no GPU.
    """
    if not torch.cuda.is_available():
        raise NotRun("no GPU")
    rounds = QUICK if quick else FULL
    with ExitStack() as stack:
        own = stack.enter_context(start_on_gpu("own"))
        rates = own.ask("tflops"), own.ask("gbytes_per_s")
        children, rows = {"own": own}, rate_rows(*rates)
        for name in (DEFAULT, HALF):
            try:
                children[name] = stack.enter_context(start_on_gpu(name))
            except NotRun as reason:
                rows.append(not_run("gpu", LABELS[name], reason))
        rows += one_text(children, rounds.requests)
        rows += catalogue(children, rounds, *rates)
    return rows + searches(rounds)


def rate_rows(tflops: float, gbytes_per_s: float) -> list[Row]:
    """Rows of the best rates of the GPU."""
    return [
        Row("gpu", "matrix product, bfloat16", exact(tflops), "TFLOP/s"),
        Row("gpu", "copying, read and written", exact(gbytes_per_s), "GB/s"),
    ]


def one_text(children: dict[str, Child], n: int) -> list[Row]:
    """Rows of encoding one text: ours, peers over ours, ours over its bare graph."""
    items = load_movielens().items["text"].tolist()
    texts = [str(x) for x in np.random.default_rng(0).permutation(items)]
    for child in children.values():  # every length once, so that each graph is recorded
        child.turn_ms("request", [{"text": text} for text in texts])
    turns = {name: partial(turn, child, texts) for name, child in children.items()}
    turns["replay"] = partial(replays, children["own"], texts)
    ms = interleave(turns, rounds=n // IN_A_ROW, warmup=1)
    calls = {name: partial(ask, child, texts) for name, child in children.items()}
    cold = interleave(calls, rounds=n // IN_A_ROW, warmup=1)
    rows = [
        Row("gpu", f"one text, {row.name}", row.value, row.unit)
        for row in own_rows(ms["own"], "")
    ]
    for name in (name for name in LABELS if name in ms):
        label = f"one text, p50, {LABELS[name]} / own, after other work"
        rows.append(Row("gpu", label, ratio(cold[name], cold["own"])))
    for quantile in (0.5, 0.99):
        over = ratio(ms["own"], ms["replay"], quantile=quantile)
        label = f"one text, p{100 * quantile:.0f}, own / bare replay of its graph"
        most = OVER_REPLAY if quantile == 0.5 else None
        note = f"replay {np.quantile(ms['replay'], quantile):.3f} ms"
        rows.append(Row("gpu", label, over, target=most, at_most=True, note=note))
        for name in (name for name in LABELS if name in ms):
            over = ratio(ms[name], ms["own"], quantile=quantile)
            label = f"one text, p{100 * quantile:.0f}, {LABELS[name]} / own"
            least = FASTER_THAN_DEFAULT if name == DEFAULT else None
            note = f"{np.quantile(ms[name], quantile):.2f} ms"
            rows.append(Row("gpu", label, over, target=least, note=note))
    return rows


def ask(child: Child, texts: list[str], i: int) -> float:
    """Time of a text after other work on processor and GPU."""
    return child.time_ms("request", text=texts[i % len(texts)])


def turn(child: Child, texts: list[str], i: int) -> Milliseconds:
    """Times of the texts of round i in a row."""
    return warm_turn(
        child, "request", lambda number: {"text": texts[number % len(texts)]}, i
    )


def replays(own: Child, texts: list[str], i: int) -> Milliseconds:
    """Times of the bare graph of the first text of round i."""
    own.ask("lay_ready", text=texts[i * IN_A_ROW % len(texts)])
    return warm_turn(own, "replay", lambda _: {}, i)


def catalogue(
    children: dict[str, Child], rounds: Rounds, tflops: float, gbytes_per_s: float
) -> list[Row]:
    """Rows of encoding the reviews: texts a second, factors, quality, bounds."""
    texts = load_clothing_reviews().reviews["text"].tolist()[: rounds.reviews]
    own = children["own"]
    lengths = own.ask("tokenize", texts=texts)

    def encode(child: Child, _: int) -> float:
        return child.time_ms("encode", texts=texts)

    calls = {name: partial(encode, child) for name, child in children.items()}
    calls["tokenise"] = lambda _: own.time_ms("tokenize", texts=texts)
    calls["passes"] = lambda _: own.time_ms("passes")  # of what was tokenised last
    ms = interleave(calls, rounds=rounds.catalogues, warmup=1)
    per_s = bootstrap_interval(len(texts) / ms["own"] * 1e3, statistic="median")
    note = f"{len(texts):,} reviews; {' '.join(own.ask('engine'))}"
    rows = [Row("gpu", "catalogue, own", per_s, "texts/s", note=note)]
    cosines = qualities(children, texts, default=DEFAULT)
    for name in (name for name in LABELS if name in ms):
        note = f"{np.median(len(texts) / ms[name] * 1e3):,.0f} texts/s"
        note += f"; mean cosine {cosines[name]:.5f}"
        least = FASTER_THAN_DEFAULT if name == DEFAULT else None
        label = f"catalogue, {LABELS[name]} / own"
        over = ratio(ms[name], ms["own"])
        rows.append(Row("gpu", label, over, target=least, note=note))
    if "own" in cosines:
        label = "catalogue, own, mean cosine to f32"
        cosine = exact(cosines["own"], len(texts))
        rows.append(Row("gpu", label, cosine, "", target=EXACT))
    return rows + bound_rows(ms, lengths, tflops, gbytes_per_s)


def bound_rows(
    ms: dict[str, Milliseconds], lengths: list[int], tflops: float, gbytes_per_s: float
) -> list[Row]:
    """Rows of the catalogue's share of the GPU's bound, and of its two parts."""
    flops = sum(Transformer().flops(n) for n in lengths)  # padding is not counted
    bounds = Bounds({"bfloat16": 1e3 * tflops}, gbytes_per_s)
    least, bound = bounds.least_ms(flops, 2 * Transformer().weights, "bfloat16")
    note = f"nearest bound: {bound}, {flops / 1e12:.1f} TFLOP in {least:.0f} ms"
    rows = [
        Row("gpu", f"catalogue, {name}{SHARE}", ratio(least + 0 * x, x), "", note=note)
        for name, x in [("own", ms["own"]), ("the passes alone", ms["passes"])]
    ]
    for name in ("tokenise", "passes"):
        label = f"catalogue, {name} alone / own"
        note = f"{np.median(ms[name]):.0f} ms; the two overlap"
        rows.append(Row("gpu", label, ratio(ms[name], ms["own"]), note=note))
    return rows


def searches(rounds: Rounds) -> list[Row]:
    """Rows of one query against a flat index, on the GPU and on the CPU."""
    label = f"flat search of {rounds.vectors:,} x {DIM}, CPU / GPU"
    vectors, n_queries = synthetic(rounds.vectors + 100, seed=0), 100
    files = {"path": FOLDER / "gpu-table.npy", "queries": FOLDER / "gpu-queries.npy"}
    np.save(files["path"], vectors[n_queries:])
    np.save(files["queries"], vectors[:n_queries])

    try:
        with (
            start_own(kind="flat") as cpu,
            start_own(kind="flat", device="cuda") as gpu,
        ):
            for child in (cpu, gpu):
                child.ask("prepare", **{name: str(x) for name, x in files.items()})
            both = {"cpu": cpu, "gpu": gpu}
            turns = {x: partial(search, both[x], n_queries) for x in both}
            ms = interleave(turns, rounds=rounds.searches // IN_A_ROW, warmup=1)
    except NotRun as reason:
        return [not_run("gpu", label, reason)]
    note = f"{np.median(ms['cpu']):.2f} and {np.median(ms['gpu']):.3f} ms"
    return [Row("gpu", label, ratio(ms["cpu"], ms["gpu"]), note=note)]
