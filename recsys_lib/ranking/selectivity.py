"""Recall and time of a search among allowed items, against the share that is allowed.

A correlated filter allows the items farthest from the query's neighbours. It is the
hard case of an approximate search, whose shortlist then holds no allowed item.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np

from recsys_lib.arrays import BoolArray, Float32Array, Float64Array, IntArray
from recsys_lib.metrics.accuracy import overlap
from recsys_lib.ranking.top_n import top_n

FilterKind = Literal["random", "correlated"]
Search = Callable[[Float32Array, BoolArray | None], IntArray]
_N_NEAR = 50  # neighbours whose mean stands for the query's cluster


@dataclass(frozen=True, eq=False)
class Filtered:
    """Searches of one index, all of them with a filter of one kind and share.

    Attributes:
        recall: (n_queries,) share of the k best allowed items that were found.
        ms: (n_queries,) milliseconds of each search.
    """

    recall: Float64Array
    ms: Float64Array


def filter_masks(
    query: Float32Array,
    vectors: Float32Array,
    shares: Iterable[float],
    *,
    rng: np.random.Generator,
) -> dict[tuple[FilterKind, float], BoolArray]:
    """Draw the items that a filter allows, for each kind and share.

    Args:
        query: (dim,).
        vectors: (n_items, dim) of the items, n_items >= 1.
        shares: Of the items that are allowed, in (0, 1]; at least one item is.
        rng: Draws the random filters; a smaller one allows a part of a larger one.

    Returns:
        (kind, share) -> (n_items,) whether an item is allowed.

    >>> line = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    >>> rng = np.random.default_rng(0)
    >>> masks = filter_masks(line[0], line, [0.3], rng=rng)
    >>> masks["correlated", 0.3].tolist()
    [False, False, True]
    """
    n_items = len(vectors)
    near = top_n((vectors @ query)[None], min(_N_NEAR, n_items)).items[0]
    orders: dict[FilterKind, IntArray] = {
        "random": rng.permutation(n_items),
        "correlated": np.argsort(vectors @ vectors[near].mean(axis=0), kind="stable"),
    }
    masks = {}
    for (kind, order), share in product(orders.items(), shares):
        masks[kind, share] = np.zeros(n_items, np.bool_)
        masks[kind, share][order[: max(1, round(share * n_items))]] = True
    return masks


def measure_filters(
    searches: Mapping[str, Search],
    vectors: Float32Array,
    queries: Float32Array,
    shares: Sequence[float],
    *,
    k: int = 10,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[tuple[str, str, float], Filtered]:
    """Search with every filter, and twice without one, for each query in random order.

    Args:
        searches: Name -> call that takes a query (1, dim) and a mask (n_items,), or
            None for all items, and returns codes of items (1, n).
        vectors: (n_items, dim) of the items.
        queries: (n_queries, dim); each has filters of its own.
        shares: As of `filter_masks`.
        k: Items to find, or all allowed ones if these are fewer.
        seed: Of the filters and of the order.
        clock: Returns seconds.

    Returns:
        (name, kind of filter, share) -> searches. Those of "none" and "again", of share
        1, have no filter; their ratio shows what is noise.
    """
    rng = np.random.default_rng(seed)
    whole = [("none", 1.0), ("again", 1.0)]
    kinds = [*whole, *product(get_args(FilterKind), shares)]
    found: dict[tuple[str, str, float], list[tuple[float, float]]] = {
        (name, *key): [] for name in searches for key in kinds
    }
    for query in [queries[0], *queries]:  # the first is searched once to warm up
        masks = filter_masks(query, vectors, shares, rng=rng)
        tried = dict.fromkeys(whole) | masks
        scores = vectors @ query
        exact = {
            key: _best(scores if mask is None else np.where(mask, scores, -np.inf), k)
            for key, mask in tried.items()
        }
        turns = [*product(searches, kinds)]
        for name, key in (turns[i] for i in rng.permutation(len(turns))):
            began = clock()
            items = searches[name](query[None], tried[key])
            ms = 1e3 * (clock() - began)
            recall = float(overlap(exact[key], items)[0])
            found[name, *key].append((recall, ms))
    columns = {key: np.array(rows[1:]).T for key, rows in found.items()}
    return {key: Filtered(recall, ms) for key, (recall, ms) in columns.items()}


def filter_afterwards(search: Callable[[Float32Array], IntArray]) -> Search:
    """Drop what is not allowed from a search among all items: the control.

    Args:
        search: Finds items (1, n) of a query, of all items.

    Returns:
        As of `measure_filters`; a place without an item holds -1.
    """

    def find(query: Float32Array, allowed: BoolArray | None) -> IntArray:
        items = search(query)
        return items if allowed is None else np.where(allowed[items], items, -1)

    return find


def _best(scores: Float32Array, k: int) -> IntArray:
    """Codes (1, n) of the k highest scores, without the empty places."""
    best = top_n(scores[None], min(k, scores.size)).items
    return best[:, best[0] >= 0]
