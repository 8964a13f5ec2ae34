"""Vectors in numbered slots, searched by faiss; the ground of `ranking.index`."""

import math
import re
import threading
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

faiss: Any = import_module("faiss")  # of the extra `cpu` or `gpu`; its stubs lack much

Kind = Literal["flat", "int8", "binary", "hnsw"]
Rows = npt.NDArray[np.float32]
Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_SEEN_PER_ITEM = {"binary": 13, "hnsw": 7}  # recall@10 above .95 of 200,000
_FAST_BYTES = (8, 16, 32, 64)  # faiss counts the bits of 64 bytes faster than of 48
_LINKS, _BUILD_WIDTH = 32, 60  # fewer links need twice the width of search
_RESCORED = 2  # times k: bfloat16 swaps neighbours, but seldom so far
_MAX_REMOVED = 0.2
_LINE = 64  # bytes of a line of the cache
_MAX_K_ON_GPU = 2048


class VectorStore:
    """Rows of float32 in slots 0 to n_slots - 1; arguments are not checked here.

    Attributes:
        kind: "flat", "int8", "binary" or "hnsw".
        kept: (n_slots,) False where `hnsw` still links through a removed vector.
        n_kept: True ones in it.
        faiss_index: What is saved: the rest follows from it and `kept`.

    Raises:
        ValueError: If there is no such kind, or no such device for it.
    """

    def __init__(self, dim: int, *, kind: Kind, device: str = "cpu") -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}; got {kind!r}")
        self.kind = kind
        self._gpu = _gpu_number(device, kind)
        self._gpu_lock = threading.Lock()  # faiss: one search at a time on a GPU
        self.hold(_empty_index(dim, kind), np.empty(0, np.bool_))

    @property
    def size_bytes(self) -> int:
        """Bytes of vectors, codes and links."""
        size = self._table.ntotal * self._table.code_size + self._bits.nbytes
        if self.kind == "hnsw":
            walked = faiss.downcast_index(self.faiss_index.base_index)
            size += walked.ntotal * faiss.downcast_index(walked.storage).code_size
            graph = walked.hnsw
            size += 4 * (graph.neighbors.size() + graph.levels.size())
            size += 8 * graph.offsets.size()
        return int(size)

    def hold(self, faiss_index: Any, kept: Mask) -> None:
        """Take over a faiss index of this kind."""
        self.faiss_index, self.kept = faiss_index, kept
        self._table = faiss_index
        if self.kind == "hnsw":
            self._table = faiss.downcast_index(faiss_index.refine_index)
        self._bits = np.empty((0, 0), np.uint8)
        if self.kind == "binary":
            rows = faiss_index.reconstruct_n(0, faiss_index.ntotal)
            self._bits = _aligned(_sign_bits(rows))
        self._renew_views()

    def add(self, rows: Rows) -> None:
        """Append rows (n, dim), n >= 1."""
        if not self.faiss_index.is_trained:
            self.faiss_index.train(rows)
        self.faiss_index.add(rows)
        if self.kind == "binary":
            self._bits = _aligned(np.concatenate([self._bits, _sign_bits(rows)]))
        self.kept = np.concatenate([self.kept, np.ones(len(rows), np.bool_)])
        self._renew_views()

    def remove(self, gone: Mask) -> Mask:
        """Remove vectors; later ones may move up.

        Args:
            gone: (n_slots,) True where to remove.

        Returns:
            (n_slots,) False where the slot itself fell away.
        """
        self.kept = self.kept & ~gone
        stays = self.kept
        if self.kind != "hnsw":
            self._table.remove_ids(np.flatnonzero(gone))
            self.kept = self.kept[stays]
            if self.kind == "binary":
                self._bits = _aligned(self._bits[stays])
        elif np.count_nonzero(~stays) > _MAX_REMOVED * stays.size:
            self._rebuild()
        else:
            stays = np.ones_like(stays)
        self._renew_views()
        return stays

    def nearest(self, rows: Rows, k: int, effort: float | None) -> tuple[Rows, Slots]:
        """Scores and slots, each (n_queries, k), best first; slot -1 where none is."""
        n_slots = self.kept.size
        width = _SEEN_PER_ITEM.get(self.kind, n_slots) * max(k, 10)
        if effort is not None and self.kind in _SEEN_PER_ITEM:
            width = max(k, math.ceil(effort * n_slots))
        # Faiss shares out queries: for one, to wake a second thread is only a cost.
        before = faiss.omp_get_max_threads()  # of the calling thread alone
        faiss.omp_set_num_threads(min(len(rows), before))
        try:
            return self._searched(rows, k, width)
        finally:
            faiss.omp_set_num_threads(before)

    def _searched(self, rows: Rows, k: int, width: int) -> tuple[Rows, Slots]:
        if width < self.kept.size:
            search = self._rescored if self.kind == "binary" else self._walked
            scores, slots = search(rows, k, width)
            if not (slots < 0).any():  # many equal vectors can part the graph
                return scores, slots
        return self._scan(rows, k)

    def _scan(self, rows: Rows, k: int) -> tuple[Rows, Slots]:
        if self._gpu_copy and k <= _MAX_K_ON_GPU:
            with self._gpu_lock:
                scores, slots = self._gpu_copy[1].search(rows, k)
        else:
            options = self._selector and faiss.SearchParameters(sel=self._selector)
            scores, slots = self._table.search(rows, k, params=options)
        return scores, slots

    def _walked(self, rows: Rows, k: int, width: int) -> tuple[Rows, Slots]:
        walk = faiss.SearchParametersHNSW(efSearch=width, sel=self._selector)
        options = faiss.IndexRefineSearchParameters(
            k_factor=_RESCORED, base_index_params=walk
        )
        scores, slots = self.faiss_index.search(rows, k, params=options)
        return scores, slots

    def _rescored(self, rows: Rows, k: int, width: int) -> tuple[Rows, Slots]:
        _, slots = faiss.knn_hamming(_sign_bits(rows), self._bits, width)
        scores = np.empty(slots.shape, np.float32)
        queries, out, asked = (faiss.swig_ptr(x) for x in (rows, scores, slots))
        self._table.compute_distance_subset(len(rows), queries, width, out, asked)
        best = np.argsort(-scores, axis=1)[:, :k]
        at = np.arange(len(best))[:, None], best  # np.take_along_axis is slow for one
        return scores[at], slots[at]

    def _renew_views(self) -> None:
        self.n_kept = int(np.count_nonzero(self.kept))
        bits = np.packbits(self.kept, bitorder="little")
        some_gone = self.n_kept < self.kept.size
        self._selector = faiss.IDSelectorBitmap(bits) if some_gone else None
        self._gpu_copy: Any = None
        if self._gpu is not None:
            resources = faiss.StandardGpuResources()
            copy = faiss.index_cpu_to_gpu(resources, self._gpu, self._table)
            self._gpu_copy = resources, copy  # the copy does not own its resources

    def _rebuild(self) -> None:
        fresh = _empty_index(self._table.d, self.kind)
        left = np.flatnonzero(self.kept)
        if left.size:
            fresh.add(self._table.reconstruct_batch(left))
        self.hold(fresh, np.ones(left.size, np.bool_))


def _empty_index(dim: int, kind: Kind) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "int8":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, metric)
    if kind == "hnsw":
        half = faiss.ScalarQuantizer.QT_bf16  # of the bytes that a hop fetches
        graph = faiss.IndexHNSWSQ(dim, half, _LINKS, metric)
        graph.hnsw.efConstruction = _BUILD_WIDTH
        return faiss.IndexRefineFlat(graph)
    return faiss.IndexFlatIP(dim)


def _gpu_number(device: str, kind: Kind) -> int | None:
    if device == "cpu":
        return None
    named = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not named:
        raise ValueError(f'device must be "cpu" or "cuda[:i]"; got {device!r}')
    if kind != "flat":
        raise ValueError(f"device must be cpu for kind {kind!r}; got {device!r}")
    n_gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    number = int(named[1] or 0)
    if number >= n_gpus:
        got = f"it has {n_gpus}; got {device!r}"
        raise ValueError(f"device must be a GPU that faiss can use, of which {got}")
    return number


def _sign_bits(rows: Rows) -> npt.NDArray[np.uint8]:
    """(n, n_bytes) sign bits, of random directions too up to a length counted fast."""
    dim = rows.shape[1]
    n_bytes = -(-dim // 8)
    more = 8 * min((n for n in _FAST_BYTES if n >= n_bytes), default=n_bytes) - dim
    along = np.hstack([rows, rows @ _directions(dim, more)])
    return np.packbits(along > 0, axis=1)


@lru_cache
def _directions(dim: int, n: int) -> Rows:
    """(dim, n) random directions, the same each time."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((dim, n), dtype=np.float32)


def _aligned(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Copy codes so that none of 64 bytes lies in two lines of the cache."""
    memory = np.empty(codes.size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    lines = memory[start : start + codes.size].reshape(codes.shape)
    lines[:] = codes
    return lines
