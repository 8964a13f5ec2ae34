"""Vectors in numbered slots, searched by faiss: what `recsys_lib.indexes` rests on."""

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

faiss: Any = import_module("faiss")  # of the extra `cpu` or `gpu`; its stubs lack much

Kind = Literal["flat", "int8", "binary", "hnsw"]
Rows = npt.NDArray[np.float32]
Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_SEEN_PER_ITEM = {"binary": 20, "hnsw": 7}  # recall@10 above .95 of 200,000
_SCANNED_BYTES = 32  # faiss counts bits of 32 bytes in half the time of 48
_SCANNED_WIDTH = 4  # times the shortlist is taken by them; all bits thin it out
_LINKS, _BUILD_WIDTH = 32, 60  # fewer links need twice the width of search
_MAX_REMOVED = 0.2
_MAX_K_ON_GPU = 2048


class VectorStore:
    """Rows of float32 in slots 0 to n_slots - 1; arguments are not checked here.

    Attributes:
        kind: "flat", "int8", "binary" or "hnsw".
        kept: (n_slots,) False where `hnsw` still links through a removed vector.
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
        codes = [self._table] + ([self._bits] if self._bits else [])
        size = sum(x.ntotal * x.code_size for x in codes) + self._rest.nbytes
        if self.kind == "hnsw":
            graph = self.faiss_index.hnsw
            size += 4 * (graph.neighbors.size() + graph.levels.size())
            size += 8 * graph.offsets.size()
        return int(size)

    def hold(self, faiss_index: Any, kept: Mask) -> None:
        """Take over a faiss index of this kind."""
        self.faiss_index, self.kept = faiss_index, kept
        graph = self.kind == "hnsw"
        self._table = (
            faiss.downcast_index(faiss_index.storage) if graph else faiss_index
        )
        scanned, self._rest = _sign_bits(np.empty((0, faiss_index.d), np.float32))
        self._bits: Any = None
        if self.kind == "binary":
            self._bits = faiss.IndexBinaryFlat(8 * scanned.shape[1])
            self._bits.use_heap = False  # few distances differ: counting sorts them
            self._add_bits(faiss_index.reconstruct_n(0, faiss_index.ntotal))
        self._renew_views()

    def add(self, rows: Rows) -> None:
        """Append rows (n, dim), n >= 1."""
        if not self.faiss_index.is_trained:
            self.faiss_index.train(rows)
        self.faiss_index.add(rows)
        if self._bits:
            self._add_bits(rows)
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
            for part in filter(None, (self._table, self._bits)):
                part.remove_ids(np.flatnonzero(gone))
            self.kept = self.kept[stays]
            self._rest = self._rest[stays] if self._bits else self._rest
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
        with _at_most_threads(len(rows)):
            if width >= n_slots:
                return self._scan(rows, k)
            if self._bits:
                return self._rescored(rows, k, width)
            options = faiss.SearchParametersHNSW(efSearch=width, sel=self._selector)
            scores, slots = self.faiss_index.search(rows, k, params=options)
            if (slots < 0).any():  # many equal vectors can part the graph
                return self._scan(rows, k)
            return scores, slots

    def _scan(self, rows: Rows, k: int) -> tuple[Rows, Slots]:
        if self._gpu_copy and k <= _MAX_K_ON_GPU:
            with self._gpu_lock:
                scores, slots = self._gpu_copy[1].search(rows, k)
        else:
            options = self._selector and faiss.SearchParameters(sel=self._selector)
            scores, slots = self._table.search(rows, k, params=options)
        return scores, slots

    def _rescored(self, rows: Rows, k: int, width: int) -> tuple[Rows, Slots]:
        slots = self._nearest_by_sign(rows, width)  # (n_queries, width)
        scores = np.empty(slots.shape, np.float32)
        queries, out, asked = (faiss.swig_ptr(x) for x in (rows, scores, slots))
        self._table.compute_distance_subset(len(rows), queries, width, out, asked)
        best = np.argsort(-scores, axis=1)[:, :k]
        at = np.arange(len(best))[:, None], best  # np.take_along_axis is slow for one
        return scores[at], slots[at]

    def _nearest_by_sign(self, rows: Rows, width: int) -> Slots:
        scanned, rest = _sign_bits(rows)
        wider = min(_SCANNED_WIDTH * width, self.kept.size)
        apart, slots = self._bits.search(scanned, wider)
        apart = apart + np.bitwise_count(self._rest[slots] ^ rest[:, None]).sum(axis=2)
        best = np.argpartition(apart, width - 1, axis=1)[:, :width]
        return np.ascontiguousarray(slots[np.arange(len(best))[:, None], best])

    def _add_bits(self, rows: Rows) -> None:
        scanned, rest = _sign_bits(rows)
        self._bits.add(scanned)
        self._rest = np.concatenate([self._rest, rest])

    def _renew_views(self) -> None:
        bits = np.packbits(self.kept, bitorder="little")
        self._selector = None if self.kept.all() else faiss.IDSelectorBitmap(bits)
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
        graph = faiss.IndexHNSWFlat(dim, _LINKS, metric)
        graph.hnsw.efConstruction = _BUILD_WIDTH
        return graph
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


@contextmanager
def _at_most_threads(n_queries: int) -> Iterator[None]:
    """Faiss shares out queries: for one, to wake a second thread is only a cost."""
    before = faiss.omp_get_max_threads()  # of the calling thread alone
    faiss.omp_set_num_threads(min(n_queries, before))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _sign_bits(rows: Rows) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """The bytes that are scanned, and the others in words of 8."""
    bits = np.packbits(rows > 0, axis=1)
    rest = bits[:, _SCANNED_BYTES:]
    words = np.zeros((len(rest), -(-rest.shape[1] // 8)), np.uint64)
    words.view(np.uint8)[:, : rest.shape[1]] = rest
    return np.ascontiguousarray(bits[:, :_SCANNED_BYTES]), words
