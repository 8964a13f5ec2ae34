"""200,000 vectors, some of them allowed: recall and time against selectivity.

The allowed items are drawn at random, or are correlated with the query: those farthest
from its neighbours, so that a shortlist of its own cluster holds none of them.
"""

from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import get_args

import numpy as np
import numpy.typing as npt

from benchmarks.benches.vectors import DIM, LEAST_RECALL, OWN, K, synthetic
from benchmarks.peers import FOLDER, Child, interleave, start_own
from benchmarks.report import Row
from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import bootstrap_interval
from recsys_lib.ranking.selectivity import FilterKind, filter_masks

SHARES = (1.0, 0.99, 0.5, 0.1, 0.05, 0.01, 0.001)
FILTERS = get_args(FilterKind)
LEAST_SHARE_TIMED, AT_MOST_UNFILTERED = 0.01, 2.0


def run(bounds: object, *, quick: bool) -> list[Row]:
    """Measure each kind of our index with every filter, and without one."""
    n_items, n_queries, rounds = (20_000, 10, 10) if quick else (200_000, 40, 200)
    files = {name: FOLDER / f"{name}.npy" for name in ("table", "queries", "masks")}
    vectors = synthetic(n_items + n_queries, seed=0)
    queries, table = vectors[:n_queries], vectors[n_queries:]
    masks = masks_of(queries, table)
    for name, array in (("table", table), ("queries", queries), ("masks", masks)):
        np.save(files[name], array)
    truth = nearest_allowed(queries, table, masks)
    rows: list[Row] = []
    for kind in OWN:
        with ExitStack() as stack:
            child = stack.enter_context(start_own(kind=kind))
            child.ask(
                "prepare", path=str(files["table"]), queries=str(files["queries"])
            )
            child.ask("allow", path=str(files["masks"]))
            rows += recall_rows(child, kind, truth)
            rows += time_rows(child, kind, n_queries, rounds)
    return rows


def masks_of(
    queries: npt.NDArray[np.float32], table: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Masks (filters, shares, n_queries, n_items) of allowed items."""
    rng = np.random.default_rng(0)
    shape = len(FILTERS), len(SHARES), len(queries), len(table)
    masks = np.zeros(shape, np.bool_)
    for i, query in enumerate(queries):
        drawn = filter_masks(query, table, SHARES, rng=rng)
        for (f, name), (s, share) in product(enumerate(FILTERS), enumerate(SHARES)):
            masks[f, s, i] = drawn[name, share]
    return masks


def nearest_allowed(
    queries: npt.NDArray[np.float32],
    table: npt.NDArray[np.float32],
    masks: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Exact neighbours (filters, shares, n_queries, K)."""
    scores = queries @ table.T
    best = np.empty((*masks.shape[:3], K), np.int64)
    for f, s in np.ndindex(masks.shape[:2]):
        allowed = np.where(masks[f, s], scores, -np.inf)
        best[f, s] = np.argpartition(-allowed, K, axis=1)[:, :K]
    return best


def recall_rows(child: Child, kind: str, truth: npt.NDArray[np.int64]) -> list[Row]:
    """Recall by filter and selectivity; int8 has nothing to rank exactly: no target."""
    rows = []
    for (f, name), (s, share) in product(enumerate(FILTERS), enumerate(SHARES)):
        shares = [
            len({*child.ask("search", number=i, k=K, mask=[f, s])} & {*best}) / K
            for i, best in enumerate(truth[f, s].tolist())
        ]
        label = f"{kind}, {name} {share:.1%}, recall@{K}"
        target = None if kind == "int8" else LEAST_RECALL
        rows.append(Row("filters", label, bootstrap_interval(shares), "", target))
    return rows


def time_rows(child: Child, kind: str, n_queries: int, rounds: int) -> list[Row]:
    """Milliseconds without a filter, and each filter's multiple of them."""

    def timed(mask: list[int] | None, i: int) -> float:
        return child.time_ms("search", number=i % n_queries, k=K, mask=mask)

    cells = [*product(range(len(FILTERS)), range(len(SHARES)))]
    calls = {str(cell): partial(timed, [*cell]) for cell in cells}
    ms = interleave(calls | {"none": partial(timed, None)}, rounds=rounds)
    whole = bootstrap_interval(ms["none"], statistic="median")
    rows = [Row("filters", f"{kind}, no filter, {DIM} dimensions", whole, "ms")]
    for f, s in cells:
        share = SHARES[s]
        label = f"{kind}, {FILTERS[f]} {share:.1%}, time / unfiltered"
        target = AT_MOST_UNFILTERED if share <= LEAST_SHARE_TIMED else None
        over = ratio(ms[str((f, s))], ms["none"])
        rows.append(Row("filters", label, over, target=target, at_most=True))
    return rows
