"""The items nearest by inner product: exact, or faster at the price of some recall.

Four kinds, over faiss: `flat` reads every vector; `int8` reads a quarter of the bytes;
`binary` compares sign bits, then ranks a shortlist exactly; `hnsw` walks a graph over
copies in bfloat16, then ranks what it found exactly. Give `binary` and `hnsw` vectors
of one length, unit vectors say: neither sees the length.
"""

import os
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from recsys_lib.machine import huge_pages
from recsys_lib.ranking.faiss_store import Kind, Rows, VectorStore, faiss
from recsys_lib.ranking.top_n import TopN

Ids = npt.NDArray[np.int64]
_FORMAT = "recsys_lib index 2"


class Index:
    """Vectors under ids of the caller's choice, made by `build_index` or `load_index`.

    Searches may run in several threads at once, but not while `add` or `remove` runs.

    Attributes:
        dim: Of every vector.
    """

    def __init__(self, dim: int, store: VectorStore, ids: Ids) -> None:
        self.dim, self._store = dim, store
        self._ids = ids  # (n_slots,), -1 where `store.kept` is False

    def __len__(self) -> int:
        return self._store.n_kept

    @property
    def kind(self) -> Kind:
        """As given to `build_index`."""
        return self._store.kind

    @property
    def size_bytes(self) -> int:
        """Bytes of vectors, codes, links and ids in memory."""
        return self._store.size_bytes + self._ids.nbytes

    def search(
        self, queries: npt.ArrayLike, k: int, *, effort: float | None = None
    ) -> TopN:
        """Find the k nearest items of each query; the order of ties is not fixed.

        Args:
            queries: (n_queries, dim).
            k: At least 1; where fewer items are held, empty slots (id -1, score -inf)
                follow them, since a catalogue may shrink between two requests.
            effort: Fraction of the items that `binary` shortlists and `hnsw` keeps in
                view, in (0, 1]; at 1 both answer as `flat` does. None is 13 max(k, 10)
                and 7 max(k, 10) items. `flat` and `int8` always look at all.

        Returns:
            Ids and inner products. Those of `int8` are off by at most sum(|query| *
            range) / 510, the range of each dimension being that of the first vectors.

        Raises:
            ValueError: If k or effort is out of its range, or queries do not fit.
        """
        rows = checked_rows(queries, self.dim)
        if k < 1:
            raise ValueError(f"k must be >= 1; got {k}")
        if effort is not None and not 0 < effort <= 1:
            raise ValueError(f"effort must lie in (0, 1]; got {effort}")
        if not (len(rows) and self._store.n_kept):
            empty = np.full((len(rows), k), -1)
            return TopN(empty, np.full(empty.shape, -np.inf, np.float32))
        scores, slots = self._store.nearest(rows, k, effort)
        items = self._ids[slots]
        if np.minimum.reduce(slots, axis=None) < 0:
            none = slots < 0
            items[none], scores[none] = -1, -np.inf
        return TopN(items, scores)

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add items; `int8` clips what leaves the range of the first vectors it held.

        Args:
            ids: (n,) integers >= 0, none twice and none already held.
            vectors: (n, dim), kept as float32.

        Raises:
            TypeError: If ids are not integers.
            ValueError: If ids or vectors do not fit; nothing is added.
        """
        rows, new = checked_rows(vectors, self.dim), checked_ids(ids)
        if len(new) != len(rows) or len(np.unique(new)) != len(new):
            got = f"got {len(new)} for {len(rows)}, {len(np.unique(new))} of them apart"
            raise ValueError(f"ids must be different, one for each vector; {got}")
        held = new[np.isin(new, self._ids)]
        if held.size:
            raise ValueError(f"ids must be new; got {held[:5].tolist()} again")
        if len(rows):
            self._store.add(rows)
            self._ids = np.concatenate([self._ids, new])

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove items; ids that are not held are passed over.

        `hnsw` cannot cut a vector out of its graph: it walks through the removed ones
        without answering them, and is built anew once they are more than a fifth.

        Args:
            ids: (n,) integers >= 0.

        Returns:
            How many were removed.

        Raises:
            TypeError: If ids are not integers.
            ValueError: If ids are not one-dimensional or below 0.
        """
        gone = np.isin(self._ids, checked_ids(ids))
        if gone.any():
            left = np.where(gone, -1, self._ids)
            self._ids = left[self._store.remove(gone)]
        return int(np.count_nonzero(gone))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, under its name only once it is whole.

        `binary` leaves out its bits and makes them again on loading.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.{uuid4().hex}.part")
        stored = faiss.serialize_index(self._store.faiss_index)
        try:
            with part.open("wb") as file:
                np.savez(
                    file, format=_FORMAT, kind=self.kind, ids=self._ids, store=stored
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def build_index(
    vectors: npt.ArrayLike,
    *,
    kind: Kind = "flat",
    ids: npt.ArrayLike | None = None,
    device: str = "cpu",
) -> Index:
    """Index a table, empty or not; unit vectors make the inner product the cosine.

    Args:
        vectors: (n_items, dim), kept as float32 but by `int8`. A zero vector scores 0
            (`int8`: within its error). Equal ones are kept apart, each by its id; of
            many, `hnsw` may pass some over below full effort.
        kind: "flat", "int8", "binary" or "hnsw".
        ids: (n_items,) different integers >= 0; by default the row numbers.
        device: "cpu", or "cuda[:i]" for `flat`, copied there after every change.

    Raises:
        TypeError: If ids are not integers.
        ValueError: If vectors, ids, kind or device do not fit.

    Source: Malkov & Yashunin, TPAMI 42(4), 2020, doi 10.1109/TPAMI.2018.2889473 (hnsw);
        Charikar, STOC 2002, doi 10.1145/509907.509965 (signs).

    >>> index = build_index([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], ids=[7, 8, 9])
    >>> index.search([[0.0, 2.0]], 2).items.tolist()
    [[9, 8]]
    """
    rows = checked_rows(vectors, None)
    store = VectorStore(rows.shape[1], kind=kind, device=device)
    index = Index(rows.shape[1], store, np.empty(0, np.int64))
    with huge_pages():  # a graph jumps from page to page
        index.add(np.arange(len(rows)) if ids is None else ids, rows)
    return index


def load_index(path: str | os.PathLike[str], *, device: str = "cpu") -> Index:
    """Read what `Index.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or no such index, naming it, or the device does
            not fit.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as held:
                if str(held["format"]) != _FORMAT:
                    raise ValueError(f"format {held['format']}")
                kind, ids = held["kind"].item(), held["ids"]
                with huge_pages():
                    saved = faiss.deserialize_index(held["store"])
        except Exception as error:  # zip, NumPy and faiss each have errors of their own
            what = f"{os.fspath(path)} ({type(error).__name__}: {error})"
            raise ValueError(f"file must be a saved index, whole; got {what}") from None
    store = VectorStore(saved.d, kind=kind, device=device)
    store.hold(saved, ids >= 0)
    return Index(saved.d, store, ids)


def checked_rows(vectors: npt.ArrayLike, dim: int | None) -> Rows:
    """Vectors as finite rows of float32, of this length where one is given.

    Raises:
        ValueError: If they are not.
    """
    rows = np.asarray(vectors)
    if rows.dtype != np.float32:
        with np.errstate(over="ignore"):  # what it cannot hold is reported as inf
            rows = rows.astype(np.float32)
    rows = np.ascontiguousarray(rows)
    if rows.ndim != 2 or rows.shape[1] != (dim or rows.shape[1]) or not rows.shape[1]:
        got = f"got shape {np.shape(vectors)}"
        raise ValueError(f"vectors must be (n, {dim or 'dim'}); {got}")
    finite = np.isfinite(rows)
    if not finite.all():
        bad = np.count_nonzero(~finite.all(axis=1))
        raise ValueError(f"vectors must be finite; got NaN or inf in {bad}")
    return rows


def checked_ids(ids: npt.ArrayLike) -> Ids:
    """Ids as (n,) integers >= 0.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they are not one-dimensional or below 0.
    """
    given = np.asarray(ids)
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers; got {given.dtype}")
    codes = given.astype(np.int64)
    if codes.ndim != 1 or (codes < 0).any():
        got = f"got shape {codes.shape}, {np.count_nonzero(codes < 0)} below 0"
        raise ValueError(f"ids must be (n,) and >= 0; {got}")
    return codes
