"""Vectors in numbered slots, searched by faiss; `ranking.index` is built on it."""

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from recsys_lib.arrays import BoolArray, Float32Array, IntArray
from recsys_lib.extras import needs

with needs("cpu"):
    faiss: Any = import_module("faiss")  # its type stubs are incomplete

Kind = Literal["flat", "int8", "binary", "hnsw"]
_Found = tuple[Float32Array, IntArray]  # scores and slots, each (n_queries, k)
_Bytes = npt.NDArray[np.uint8]
_CANDIDATES_PER_RESULT = {"binary": 13, "hnsw": 7}  # recall@10 > .95 of 200,000 items
_FAST_CODE_BYTES = (8, 16, 32, 64)  # faiss compares 64-byte codes faster than 48-byte
_LINKS, _BUILD_WIDTH = 32, 60  # fewer links need twice the search width
_RESCORED_PER_RESULT = 2  # bfloat16 seldom moves a neighbour further down than that
_FILTERED_WIDENING = {"binary": 4, "hnsw": 1}  # the first shortlist of allowed items
# The second, where the first was not enough. A third, 16 times the first, does not pay
# where the filter excludes the neighbours. 99 % of 50,000 x 384: hnsw 3.1 ms, all
# vectors 2.5. Half of 200,000: binary 9 ms, and half of the queries still need all
# vectors, which take 16.
_WIDENING = 4
_SURE_SHARE = 1 / 3  # of a shortlist, in which its best must lie
# Crossings of 200,000 x 384, filters at random, on two cores of an EPYC (AVX-512), near
# 12 % of the items. Shortlist to exact: hnsw 2.3 to 3.0 ms at 15 %, 3.3 to 2.4 at 10 %;
# binary 2.7 to 2.9 ms at 15 %, 2.4 to 2.1 at 10 %.
_EXACT_PER_CANDIDATE = 40  # vectors compared in the time of one candidate
_EXACT_PER_BYTE = 3  # bytes of vectors compared in the time of one byte of signs
_BITMAP_FROM = 0.5  # of all items; of fewer, faiss reads a list of slots faster
_MAX_REMOVED_SHARE = 0.2
_CACHE_LINE_BYTES = 64
_MAX_K_ON_GPU = 2048


class VectorStore:
    """Float32 vectors in slots 0 to n_slots - 1; does not check its arguments.

    Attributes:
        kind: "flat", "int8", "binary" or "hnsw".
        present: (n_slots,) False for a removed vector that the `hnsw` graph still
            passes through.
        n_present: Number of vectors that a search can return.
        faiss_index: The index to save; all else follows from it and `present`.

    Raises:
        ValueError: If the kind is unknown, or the device is not available for it.
    """

    def __init__(self, dim: int, *, kind: Kind, device: str = "cpu") -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}; got {kind!r}")
        self.kind = kind
        self._gpu = _gpu_number(device, kind)
        self._gpu_lock = threading.Lock()  # faiss: one search at a time on a GPU
        self.set_index(_empty_index(dim, kind), np.empty(0, np.bool_))

    @property
    def size_bytes(self) -> int:
        """Memory of vectors, codes and graph links."""
        size = self._table.ntotal * self._table.code_size + self._bits.nbytes
        if self.kind == "hnsw":
            base = faiss.downcast_index(self.faiss_index.base_index)
            size += base.ntotal * faiss.downcast_index(base.storage).code_size
            graph = base.hnsw
            size += 4 * (graph.neighbors.size() + graph.levels.size())
            size += 8 * graph.offsets.size()
        return int(size)

    def set_index(self, faiss_index: Any, present: BoolArray) -> None:
        """Replace the contents by a faiss index of the same kind."""
        self.faiss_index, self.present = faiss_index, present
        self._table = faiss_index
        if self.kind == "hnsw":
            self._table = faiss.downcast_index(faiss_index.refine_index)
        self._bits = np.empty((0, 0), np.uint8)
        if self.kind == "binary":
            rows = faiss_index.reconstruct_n(0, faiss_index.ntotal)
            self._bits = _aligned(_sign_bits(rows))
        self._refresh_views()

    def add(self, rows: Float32Array) -> None:
        """Append vectors (n, dim), n >= 1."""
        if not self.faiss_index.is_trained:
            self.faiss_index.train(rows)
        self.faiss_index.add(rows)
        if self.kind == "binary":
            self._bits = _aligned(np.concatenate([self._bits, _sign_bits(rows)]))
        self.present = np.concatenate([self.present, np.ones(len(rows), np.bool_)])
        self._refresh_views()

    def remove(self, removed: BoolArray) -> BoolArray:
        """Remove vectors; later ones may move to lower slots.

        Args:
            removed: (n_slots,) True for the vectors to remove.

        Returns:
            (n_slots,) False for the slots that no longer exist.
        """
        self.present = self.present & ~removed
        remaining = self.present
        if self.kind != "hnsw":
            self._table.remove_ids(np.flatnonzero(removed))
            self.present = self.present[remaining]
            if self.kind == "binary":
                self._bits = _aligned(self._bits[remaining])
        elif np.count_nonzero(~remaining) > _MAX_REMOVED_SHARE * remaining.size:
            self._rebuild()
        else:
            remaining = np.ones_like(remaining)
        self._refresh_views()
        return remaining

    def search(self, queries: Float32Array, k: int, effort: float | None) -> _Found:
        """Find the k nearest, best first; k is at most `n_present`."""
        n_slots = self.present.size
        width = _CANDIDATES_PER_RESULT.get(self.kind, n_slots) * max(k, 10)
        if effort is not None and self.kind in _CANDIDATES_PER_RESULT:
            width = max(k, math.ceil(effort * n_slots))
        with _threads_for(len(queries)):
            return self._search(queries, k, width)

    def search_allowed(
        self, queries: Float32Array, k: int, effort: float | None, allowed: BoolArray
    ) -> _Found:
        """Find the k nearest of some vectors, best first.

        A shortlist of `binary` and `hnsw` is trusted if its k best lie in its first
        third; if not, a wider one is tried, and then all allowed vectors are compared.
        So are they at once where that costs less.

        Args:
            queries: (n_queries, dim).
            k: At most the number of vectors allowed.
            effort: As of `Index.search`: the one width to try, without this check.
            allowed: (n_slots,) of present vectors alone.
        """
        slots = np.flatnonzero(allowed)
        scores = np.empty((len(queries), k), np.float32)
        best = np.empty((len(queries), k), np.int64)
        left = np.arange(len(queries))
        with _threads_for(len(queries)):
            for width in self._widths(k, effort, slots.size):
                found = self._shortlisted(queries[left], k, width, allowed)
                scores[left], best[left], last = found
                sure = last < width * (_SURE_SHARE if effort is None else 1)
                left = left[~sure]
            if left.size:
                found_all = self._search_allowed_exactly(queries[left], k, slots)
                scores[left], best[left] = found_all
        return scores, best

    def _widths(self, k: int, effort: float | None, n_allowed: int) -> list[int]:
        """Lengths of the shortlists to try before all allowed vectors are compared."""
        if self.kind not in _CANDIDATES_PER_RESULT:
            return []
        graph = self.kind == "hnsw"
        n_ranked = self.present.size if graph else n_allowed
        if effort is not None:
            widths = [max(k, math.ceil(effort * n_ranked))]
        else:
            width = _CANDIDATES_PER_RESULT[self.kind] * max(k, 10)
            width *= _FILTERED_WIDENING[self.kind]
            if graph:
                width = math.ceil(width * n_ranked / n_allowed)
            widths = [w for w in (width, _WIDENING * width) if self._pays(w, n_allowed)]
        return [width for width in widths if width < n_ranked]

    def _pays(self, width: int, n_allowed: int) -> bool:
        """Whether a shortlist costs less than to compare all allowed vectors."""
        if self.kind == "hnsw":
            return width * _EXACT_PER_CANDIDATE < n_allowed
        vector_bytes = n_allowed * int(self._table.code_size)
        return _EXACT_PER_BYTE * self._bits.nbytes < vector_bytes

    def _shortlisted(
        self, queries: Float32Array, k: int, width: int, allowed: BoolArray
    ) -> tuple[Float32Array, IntArray, IntArray]:
        """Rank a shortlist exactly.

        Returns:
            Scores and slots (n_queries, k), and the place in the shortlist of the last
            of them (n_queries,), `width` if fewer than k are allowed.
        """
        if self.kind == "binary":
            slots = self._nearest_bits(queries, width, _selector(allowed))
            places = np.broadcast_to(np.arange(width), slots.shape)
        else:
            ranked = self._nearest_in_graph(queries, width)  # (n_queries, width)
            usable = (ranked >= 0) & allowed[ranked]
            first = np.argsort(~usable, axis=1, kind="stable")
            places = first[:, : _RESCORED_PER_RESULT * k]
            at = np.arange(len(ranked))[:, None], places
            slots = np.where(usable[at], ranked[at], -1)
            places = np.where(usable[at], places, width)
        scores = self._scores_of(queries, slots)
        best = np.argsort(-scores, axis=1)[:, :k]
        at = np.arange(len(best))[:, None], best  # np.take_along_axis is slow for one
        return scores[at], slots[at], places[at].max(axis=1)

    def _search_allowed_exactly(
        self, queries: Float32Array, k: int, slots: IntArray
    ) -> _Found:
        n_slots = self.present.size
        if self.kind != "int8" and slots.size < _BITMAP_FROM * n_slots:
            selector = faiss.IDSelectorArray(slots)
        else:
            allowed = np.zeros(n_slots, np.bool_)
            allowed[slots] = True
            selector = _selector(allowed)
        options = faiss.SearchParameters(sel=selector)
        scores, best = self._table.search(queries, k, params=options)
        return scores, best

    def _search(self, queries: Float32Array, k: int, width: int) -> _Found:
        if width < self.present.size:
            search = self._search_bits if self.kind == "binary" else self._search_graph
            scores, slots = search(queries, k, width)
            if not (slots < 0).any():  # many equal vectors can disconnect the graph
                return scores, slots
        return self._search_all(queries, k)

    def _search_all(self, queries: Float32Array, k: int) -> _Found:
        if self._gpu_copy and k <= _MAX_K_ON_GPU:
            with self._gpu_lock:
                scores, slots = self._gpu_copy[1].search(queries, k)
        else:
            options = self._selector and faiss.SearchParameters(sel=self._selector)
            scores, slots = self._table.search(queries, k, params=options)
        return scores, slots

    def _search_graph(self, queries: Float32Array, k: int, width: int) -> _Found:
        in_graph = faiss.SearchParametersHNSW(efSearch=width, sel=self._selector)
        options = faiss.IndexRefineSearchParameters(
            k_factor=_RESCORED_PER_RESULT, base_index_params=in_graph
        )
        scores, slots = self.faiss_index.search(queries, k, params=options)
        return scores, slots

    def _nearest_in_graph(self, queries: Float32Array, width: int) -> IntArray:
        options = faiss.SearchParametersHNSW(efSearch=width)
        graph = self.faiss_index.base_index
        slots: IntArray = graph.search(queries, width, params=options)[1]
        return slots

    def _search_bits(self, queries: Float32Array, k: int, width: int) -> _Found:
        slots = self._nearest_bits(queries, width, None)
        scores = self._scores_of(queries, slots)
        best = np.argsort(-scores, axis=1)[:, :k]
        at = np.arange(len(best))[:, None], best  # np.take_along_axis is slow for one
        return scores[at], slots[at]

    def _nearest_bits(
        self, queries: Float32Array, width: int, selector: Any
    ) -> IntArray:
        """Slots (n_queries, width) of the nearest signs, nearest first."""
        codes = _sign_bits(queries)
        distances = np.empty((len(queries), width), np.int32)
        slots = np.empty((len(queries), width), np.int64)
        heap = faiss.int_maxheap_array_t()
        heap.nh, heap.k = slots.shape
        heap.val, heap.ids = faiss.swig_ptr(distances), faiss.swig_ptr(slots)
        given, table = faiss.swig_ptr(codes), faiss.swig_ptr(self._bits)
        exact, (n_bits, n_bytes) = faiss.EXACT_TOPK, self._bits.shape
        faiss.hammings_knn_hc(heap, given, table, n_bits, n_bytes, 1, exact, selector)
        return slots

    def _scores_of(self, queries: Float32Array, slots: IntArray) -> Float32Array:
        """Inner products (n_queries, n) with the vectors in slots; of -1, -inf."""
        scores = np.empty(slots.shape, np.float32)
        given, out, wanted = (faiss.swig_ptr(x) for x in (queries, scores, slots))
        n_queries, n = slots.shape
        self._table.compute_distance_subset(n_queries, given, n, out, wanted)
        return scores

    def _refresh_views(self) -> None:
        self.n_present = int(np.count_nonzero(self.present))
        some_removed = self.n_present < self.present.size
        self._selector = _selector(self.present) if some_removed else None
        self._gpu_copy: Any = None
        if self._gpu is not None:
            resources = faiss.StandardGpuResources()
            copy = faiss.index_cpu_to_gpu(resources, self._gpu, self._table)
            self._gpu_copy = resources, copy  # the copy does not own its resources

    def _rebuild(self) -> None:
        fresh = _empty_index(self._table.d, self.kind)
        slots = np.flatnonzero(self.present)
        if slots.size:
            fresh.add(self._table.reconstruct_batch(slots))
        self.set_index(fresh, np.ones(slots.size, np.bool_))


@contextmanager
def _threads_for(n_queries: int) -> Iterator[None]:
    """Faiss splits the queries among threads: for one, a second is only a cost."""
    before = faiss.omp_get_max_threads()  # of the calling thread alone
    faiss.omp_set_num_threads(min(n_queries, before))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _selector(chosen: BoolArray) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def _empty_index(dim: int, kind: Kind) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "int8":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, metric)
    if kind == "hnsw":
        bfloat16 = faiss.ScalarQuantizer.QT_bf16  # each hop reads half the bytes
        graph = faiss.IndexHNSWSQ(dim, bfloat16, _LINKS, metric)
        graph.hnsw.efConstruction = _BUILD_WIDTH
        return faiss.IndexRefineFlat(graph)
    return faiss.IndexFlatIP(dim)


def index_device(device: str, *, kind: Kind = "flat") -> str:
    """Return the device if faiss can have an index there, or else "cpu".

    Args:
        device: Of the models: "cpu" or "cuda[:i]".
        kind: As of `VectorStore`; a GPU takes "flat" alone, and needs faiss-gpu.

    Raises:
        ValueError: If the device is neither.

    >>> index_device("cpu")
    'cpu'
    """
    number = _number_of(device)
    there = number is not None and number < _n_gpus()
    return device if there and kind == "flat" else "cpu"


def _gpu_number(device: str, kind: Kind) -> int | None:
    number = _number_of(device)
    if number is None:
        return None
    if kind != "flat":
        raise ValueError(f"device must be cpu for kind {kind!r}; got {device!r}")
    if number >= (n_gpus := _n_gpus()):
        raise ValueError(f"device must be one of faiss's {n_gpus} GPUs; got {device!r}")
    return number


def _number_of(device: str) -> int | None:
    """Number of a GPU; None for the CPU."""
    if device == "cpu":
        return None
    matched = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not matched:
        raise ValueError(f'device must be "cpu" or "cuda[:i]"; got {device!r}')
    return int(matched[1] or 0)


def _n_gpus() -> int:
    """GPUs that faiss sees; faiss-cpu sees none."""
    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


def _sign_bits(rows: Float32Array) -> _Bytes:
    """Signs of all dimensions, then of random projections up to a fast code length.

    Returns:
        (n, n_bytes), one bit for each sign.
    """
    dim = rows.shape[1]
    n_bytes = -(-dim // 8)
    n_bytes = min((n for n in _FAST_CODE_BYTES if n >= n_bytes), default=n_bytes)
    projected = rows @ _directions(dim, 8 * n_bytes - dim)
    return np.packbits(np.hstack([rows, projected]) > 0, axis=1)


@lru_cache
def _directions(dim: int, n: int) -> Float32Array:
    """(dim, n) random directions, the same each time."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((dim, n), dtype=np.float32)


def _aligned(codes: _Bytes) -> _Bytes:
    """Copy codes so that no 64-byte code lies in two cache lines."""
    memory = np.empty(codes.size + _CACHE_LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE_BYTES
    aligned = memory[start : start + codes.size].reshape(codes.shape)
    aligned[:] = codes
    return aligned
