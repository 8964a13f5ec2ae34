"""200,000 vectors: time and recall of one query at a time.

The vectors are synthetic: 2,000 clusters of low rank, with noise.
"""

from contextlib import ExitStack
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.bounds import Bounds, nearness
from benchmarks.peers import (
    FOLDER,
    IN_A_ROW,
    Child,
    Milliseconds,
    NotRun,
    interleave,
    start_own,
    start_peer,
    warm_turn,
)
from benchmarks.report import Row, not_run
from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import Interval, bootstrap_interval
from recsys_lib.ranking.similarity import normalize

DIM, RANK, K = 384, 48, 10
N_CENTRES, SPREAD, NOISE = 2000, 0.6, 0.35
OWN = ("flat", "int8", "binary", "hnsw")
PEERS = ("numpy", "usearch")
WIDTHS = (32, 64, 128, 256, 512, 1024)  # of usearch; the first with enough recall
CODE_BYTES = 64  # of the signs of a vector in `binary`
FASTER_THAN_FLAT, LEAST_RECALL = 20.0, 0.95


def run(bounds: Bounds, *, quick: bool) -> list[Row]:
    """Measure each kind of our index, brute force and usearch on the same vectors."""
    n_items, n_queries, rounds = (20_000, 50, 50) if quick else (200_000, 200, 600)
    files = [FOLDER / "table.npy", FOLDER / "queries.npy"]
    vectors = synthetic(n_items + n_queries, seed=0)
    for file, part in zip(
        files, (vectors[n_queries:], vectors[:n_queries]), strict=True
    ):
        np.save(file, part)
    truth = np.argsort(-(vectors[:n_queries] @ vectors[n_queries:].T), axis=1)[:, :K]
    rows: list[Row] = []
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for name in (*OWN, *PEERS):
            try:
                child = start_own(kind=name) if name in OWN else start_peer(name)
                children[name] = stack.enter_context(child)
                child.ask("prepare", path=str(files[0]), queries=str(files[1]))
            except NotRun as reason:
                children.pop(name, None)
                rows.append(not_run("vectors", name, reason))
        recalls = {name: recall(child, truth) for name, child in children.items()}
        if "usearch" in children:
            recalls["usearch"] = widen(children["usearch"], truth)
        turns = {x: partial(turn, child, n_queries) for x, child in children.items()}
        ms = interleave(turns, rounds=rounds // IN_A_ROW, warmup=1)
        ms = {x: np.median(taken.reshape(-1, IN_A_ROW), 1) for x, taken in ms.items()}
        calls = {x: partial(ask, child, n_queries) for x, child in children.items()}
        cold = interleave(calls, rounds=rounds // IN_A_ROW, warmup=1)
        compared = children["hnsw"].ask("distances", k=K) if "hnsw" in children else 0
    rows += comparison(ms, recalls, n_items) + cold_rows(cold)
    return rows + bound_rows(ms, n_items, compared, bounds)


def synthetic(n: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Draw unit vectors (n, DIM): clusters of low rank with a falling spectrum, noise.

    >>> synthetic(3, seed=0).shape
    (3, 384)
    """
    rng = np.random.default_rng(seed)
    spectrum = (1 / np.sqrt(1 + np.arange(RANK) / 8)).astype(np.float32)
    centres = rng.standard_normal((N_CENTRES, RANK), dtype=np.float32) * spectrum
    plane = rng.standard_normal((RANK, DIM), dtype=np.float32)
    latent = centres[rng.integers(N_CENTRES, size=n)]
    latent += SPREAD * rng.standard_normal((n, RANK), dtype=np.float32)
    noise = rng.standard_normal((n, DIM), dtype=np.float32) / np.float32(DIM**0.5)
    return np.asarray(normalize(normalize(latent @ plane) + NOISE * noise))


def ask(child: Child, n_queries: int, i: int) -> float:
    """Time of the search of round i."""
    return child.time_ms("search", number=i % n_queries, k=K)


def turn(child: Child, n_queries: int, i: int) -> Milliseconds:
    """Times of the searches of round i, with the codes in the caches."""
    return warm_turn(
        child, "search", lambda number: {"number": number % n_queries, "k": K}, i
    )


def recall(child: Child, truth: npt.NDArray[np.int64]) -> Interval:
    """Share of the true neighbours that a child finds, over all queries."""
    found = [child.ask("search", number=i, k=K) for i in range(len(truth))]
    pairs = zip(found, truth.tolist(), strict=True)
    return bootstrap_interval([len({*a} & {*b}) / K for a, b in pairs])


def widen(usearch: Child, truth: npt.NDArray[np.int64]) -> Interval:
    """Set the peer's narrowest search that reaches the recall; return its recall."""
    for width in WIDTHS:
        usearch.ask("widen", candidates=width)
        found = recall(usearch, truth)
        if found.value >= LEAST_RECALL:
            break
    return found


def comparison(
    ms: dict[str, Milliseconds], recalls: dict[str, Interval], n_items: int
) -> list[Row]:
    """Rows of time, recall, and the factor over our flat index."""
    rows = []
    for name, samples in ms.items():
        median = bootstrap_interval(samples, statistic="median")
        label = f"{name}, {n_items:,} x {DIM} synthetic, p50"
        rows.append(Row("vectors", label, median, "ms"))
        aimed = name in ("binary", "hnsw")
        least = LEAST_RECALL if aimed else None
        rows.append(Row("vectors", f"{name}, recall@{K}", recalls[name], "", least))
        if name != "flat" and "flat" in ms:
            target = FASTER_THAN_FLAT if aimed else None
            over = ratio(ms["flat"], samples)
            rows.append(Row("vectors", f"flat / {name}", over, target=target))
    if {"usearch", "hnsw"} <= set(ms):
        rows.append(Row("vectors", "usearch / hnsw", ratio(ms["usearch"], ms["hnsw"])))
    return rows


def cold_rows(ms: dict[str, Milliseconds]) -> list[Row]:
    """Rows of the factors over our flat index after other work has used the caches."""
    note = "caches emptied by the others before each query"
    return [
        Row("vectors", f"flat / {x}, cold", ratio(ms["flat"], ms[x]), note=note)
        for x in ("binary", "hnsw")
        if {"flat", x} <= set(ms)
    ]


def bound_rows(
    ms: dict[str, Milliseconds], n_items: int, compared: float, bounds: Bounds
) -> list[Row]:
    """Rows of each scan's share of the time to read its codes, and of the graph's.

    Args:
        ms: Times by kind.
        n_items: In each index.
        compared: Vectors that a query is compared with in the graph, on average.
        bounds: Of the machine.
    """
    code_bytes = {"flat": 4 * DIM, "int8": DIM, "binary": CODE_BYTES}
    rows = []
    for name in (name for name in code_bytes if name in ms):
        flops = 2 * n_items * DIM if name == "flat" else 0  # integers are not counted
        least = bounds.least_ms(flops, n_items * code_bytes[name])
        median = float(np.median(ms[name]))
        rows.append(nearness("vectors", f"scan of {name}", median, least))
    if "hnsw" in ms:
        label = f"walk of hnsw, {compared:,.0f} vectors one after the other"
        least = bounds.least_ms(2 * compared * DIM, 2 * compared * DIM)  # bfloat16
        rows.append(nearness("vectors", label, float(np.median(ms["hnsw"])), least))
    return rows
