"""Nearest items by inner product: exact, or faster with some loss of recall.

Four kinds, all over faiss. `flat` compares every vector. `int8` does too, and reads a
quarter of the bytes. `binary` compares sign bits, then ranks a shortlist exactly.
`hnsw` searches a graph over bfloat16 copies, then ranks what it found exactly. Give
`binary` and `hnsw` vectors of equal length, such as unit vectors: both ignore length.
"""

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from recsys_lib.arguments import whole_number
from recsys_lib.arrays import BoolArray, Float32Array, IntArray
from recsys_lib.machine import huge_pages
from recsys_lib.ranking.faiss_store import Kind, VectorStore, faiss
from recsys_lib.ranking.fingerprint import Fingerprint
from recsys_lib.ranking.top_n import TopN

_FORMAT = "recsys_lib index 2"


class Index:
    """Vectors with an id each, made by `build_index` or `load_index`.

    Several threads may search at once, but not while `add` or `remove` runs.

    Attributes:
        dim: Dimension of the vectors.
        filled_by: Fingerprint of the encoder of the vectors; None if it was not given.
    """

    def __init__(
        self,
        dim: int,
        store: VectorStore,
        ids: IntArray,
        filled_by: Fingerprint | None = None,
    ) -> None:
        self.dim, self._store, self.filled_by = dim, store, filled_by
        self._ids = ids  # (n_slots,), -1 where `store.present` is False

    def __len__(self) -> int:
        return self._store.n_present

    @property
    def kind(self) -> Kind:
        """The kind given to `build_index`."""
        return self._store.kind

    @property
    def size_bytes(self) -> int:
        """Memory of vectors, codes, graph links and ids."""
        return self._store.size_bytes + self._ids.nbytes

    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        effort: float | None = None,
        allowed: npt.ArrayLike | None = None,
        by: Fingerprint | None = None,
    ) -> TopN:
        """Find the k nearest items of each query; the order of ties is not fixed.

        Args:
            queries: (n_queries, dim).
            k: At least 1; an index with fewer items returns them all.
            effort: Fraction of the items that `binary` shortlists and `hnsw` keeps as
                candidates, in (0, 1]; at 1 both give the results of `flat`. None means
                13 max(k, 10) and 7 max(k, 10) items; among allowed items, as many as
                their k best need. `flat` and `int8` ignore it.
            allowed: Items that may be found: their ids (m,), of which those that are
                not in the index are ignored, or a mask (n,) of booleans in which
                ``allowed[id]`` says whether an item is; None for all. All allowed
                vectors are compared where that takes less time than a shortlist.
            by: Fingerprint of the encoder of the queries, to be checked.

        Returns:
            Ids and inner products, each (n_queries, min(k, items allowed)). Those of
            `int8` have an error of at most sum(|query| * range) / 510, where the range
            of each dimension is that of the first vectors added.

        Raises:
            TypeError: If k is not an integer, or allowed are no integers or booleans.
            ValueError: If k, effort or the shape of queries is out of range, queries
                are not finite, or allowed are not one-dimensional or below 0.
            OtherEncoder: If another encoder filled the index; the message names both.
        """
        if by is not None and self.filled_by is not None:
            self.filled_by.check(by)
        rows = _float32_rows(queries, self.dim)
        wanted = whole_number("k", k)
        if effort is not None and not 0 < effort <= 1:
            raise ValueError(f"effort must lie in (0, 1]; got {effort}")
        chosen = None if allowed is None else self._chosen(allowed)
        n_items = len(self) if chosen is None else int(np.count_nonzero(chosen))
        shape = len(rows), min(wanted, n_items)
        if 0 in shape:
            return TopN(np.empty(shape, np.int64), np.empty(shape, np.float32))
        if chosen is None:
            scores, slots = self._store.search(rows, shape[1], effort)
        else:
            found = self._store.search_allowed(rows, shape[1], effort, chosen)
            scores, slots = found
        return TopN(self._ids[slots], scores)

    def _chosen(self, allowed: npt.ArrayLike) -> BoolArray:
        """Slots (n_slots,) of the allowed items."""
        given, ids = np.asarray(allowed), self._ids
        if given.dtype != np.bool_:
            return np.isin(ids, _checked_ids(given))
        if given.ndim != 1:
            raise ValueError(f"a mask must be (n,); got shape {given.shape}")
        if not given.size:
            return np.zeros(ids.size, np.bool_)
        chosen: BoolArray = given[np.minimum(ids, given.size - 1)]
        return chosen & self._store.present & (ids < given.size)

    def add(
        self,
        ids: npt.ArrayLike,
        vectors: npt.ArrayLike,
        *,
        by: Fingerprint | None = None,
    ) -> None:
        """Add items; `int8` clips values outside the range of the first vectors added.

        Args:
            ids: (n,) different integers >= 0, none of them in the index yet.
            vectors: (n, dim), stored as float32.
            by: Fingerprint of their encoder; needed where the index has one.

        Raises:
            TypeError: If ids are not integers.
            ValueError: If ids or vectors do not meet these conditions, or their encoder
                is not named; nothing is added.
            OtherEncoder: If another encoder filled the index; the message names both.
        """
        if self.filled_by is not None:
            if by is None:
                wanted = f"vectors for an index of {self.filled_by} must name their"
                raise ValueError(f"{wanted} encoder; got by=None")
            self.filled_by.check(by)
        rows, new = _float32_rows(vectors, self.dim), _checked_ids(ids)
        if len(new) != len(rows) or len(np.unique(new)) != len(new):
            got = f"got {len(np.unique(new))} different ids for {len(rows)} vectors"
            raise ValueError(f"ids must be different, one for each vector; {got}")
        known = new[np.isin(new, self._ids)]
        if known.size:
            raise ValueError(f"ids must be new; got {known[:5].tolist()} again")
        if len(rows):
            self._store.add(rows)
            self._ids = np.concatenate([self._ids, new])

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove items; ids that are not in the index are ignored.

        `hnsw` cannot delete a vector from its graph. Searches pass through removed
        vectors without returning them; the graph is rebuilt once they are more than a
        fifth.

        Args:
            ids: (n,) integers >= 0.

        Returns:
            Number of items removed.

        Raises:
            TypeError: If ids are not integers.
            ValueError: If ids are not one-dimensional or below 0.
        """
        removed = np.isin(self._ids, _checked_ids(ids))
        if removed.any():
            ids_left = np.where(removed, -1, self._ids)
            self._ids = ids_left[self._store.remove(removed)]
        return int(np.count_nonzero(removed))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, which appears under its name when complete.

        The sign bits of `binary` are not written; `load_index` computes them again.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.{uuid4().hex}.part")
        content: dict[str, Any] = {"kind": self.kind, "ids": self._ids}
        content["store"] = faiss.serialize_index(self._store.faiss_index)
        if self.filled_by is not None:
            content["filled_by"] = self.filled_by.to_json()
            content["probes"] = self.filled_by.probes
        try:
            with part.open("wb") as file:
                np.savez(file, format=_FORMAT, **content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def build_index(
    vectors: npt.ArrayLike,
    *,
    kind: Kind = "flat",
    ids: npt.ArrayLike | None = None,
    device: str = "cpu",
    filled_by: Fingerprint | None = None,
) -> Index:
    """Build an index of vectors; with unit vectors the inner product is the cosine.

    Args:
        vectors: (n_items, dim), n_items >= 0, stored as float32 except by `int8`. A
            zero vector scores 0 (`int8`: within its error). Equal vectors are all
            stored; of many, `hnsw` may miss some below full effort.
        kind: "flat", "int8", "binary" or "hnsw".
        ids: (n_items,) different integers >= 0; by default the row numbers.
        device: "cpu", or "cuda[:i]" for `flat`, copied there after every change.
        filled_by: Fingerprint of the encoder of the vectors.

    Raises:
        TypeError: If ids are not integers.
        ValueError: If the shape of vectors, an id, the kind or the device is not as
            described, or a vector is not finite.

    Source: Malkov & Yashunin, TPAMI 42(4), 2020, doi 10.1109/TPAMI.2018.2889473 (hnsw);
        Charikar, STOC 2002, doi 10.1145/509907.509965 (signs).

    >>> index = build_index([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], ids=[7, 8, 9])
    >>> index.search([[0.0, 2.0]], 2).items.tolist()
    [[9, 8]]
    """
    rows = _float32_rows(vectors, None)
    store = VectorStore(rows.shape[1], kind=kind, device=device)
    index = Index(rows.shape[1], store, np.empty(0, np.int64), filled_by)
    with huge_pages():  # a graph search jumps between pages
        index.add(np.arange(len(rows)) if ids is None else ids, rows, by=filled_by)
    return index


def load_index(path: str | os.PathLike[str], *, device: str = "cpu") -> Index:
    """Load an index that `Index.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or not a saved index (the message names
            it), or the device is not available for this kind.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                if str(saved["format"]) != _FORMAT:
                    raise ValueError(f"format {saved['format']}")
                kind, ids = saved["kind"].item(), saved["ids"]
                filled_by = None
                if "filled_by" in saved:
                    said = saved["filled_by"].item()
                    filled_by = Fingerprint.from_json(said, saved["probes"])
                with huge_pages():
                    faiss_index = faiss.deserialize_index(saved["store"])
        except Exception as error:  # zip, NumPy and faiss each raise their own types
            got = f"{os.fspath(path)} ({type(error).__name__}: {error})"
            raise ValueError(
                f"file must be a complete saved index; got {got}"
            ) from None
    store = VectorStore(faiss_index.d, kind=kind, device=device)
    store.set_index(faiss_index, ids >= 0)
    return Index(faiss_index.d, store, ids, filled_by)


def _float32_rows(vectors: npt.ArrayLike, dim: int | None) -> Float32Array:
    rows = np.asarray(vectors)
    if rows.dtype != np.float32:
        with np.errstate(over="ignore"):  # an overflow becomes inf, reported below
            rows = rows.astype(np.float32)
    rows = np.ascontiguousarray(rows)
    if rows.ndim != 2 or rows.shape[1] != (dim or rows.shape[1]) or not rows.shape[1]:
        got = f"got shape {np.shape(vectors)}"
        raise ValueError(f"vectors must be (n, {dim or 'dim'}); {got}")
    finite = np.isfinite(rows)
    if not finite.all():
        n_bad = np.count_nonzero(~finite.all(axis=1))
        raise ValueError(f"vectors must be finite; got NaN or inf in {n_bad}")
    return rows


def _checked_ids(ids: npt.ArrayLike) -> IntArray:
    given = np.asarray(ids)
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers; got {given.dtype}")
    codes = given.astype(np.int64)
    if codes.ndim != 1 or (codes < 0).any():
        got = f"got shape {codes.shape}, {np.count_nonzero(codes < 0)} below 0"
        raise ValueError(f"ids must be (n,) and >= 0; {got}")
    return codes
