"""One index in several shards: each holds a part of the items, all are asked at once.

The shards are searched in threads while faiss or another process does the work: each
may be a `scaling.ray_serving.RemoteShard`, in a process of its own, on any machine.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.ranking.faiss_store import Kind
from recsys_lib.ranking.index import build_index, checked_ids, checked_rows
from recsys_lib.ranking.top_n import TopN


@dataclass(frozen=True, eq=False)
class ShardedIndex:
    """Answers as one `indexes.Index` of all the items does.

    `flat` gives the same answers, ties apart. `hnsw` and `binary` look at as many
    candidates in every shard as one index looks at in all; `int8` has a range a shard.

    Attributes:
        shards: Indexes, or what has their methods; item i is in shard i % n_shards.
    """

    shards: Sequence[Any]

    def __len__(self) -> int:
        return sum(shard.__len__() for shard in self.shards)  # a remote one has no len

    @property
    def dim(self) -> int:
        """Of every vector."""
        return int(self.shards[0].dim)

    @property
    def kind(self) -> str:
        """Of every shard."""
        return str(self.shards[0].kind)

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards in memory."""
        return sum(int(shard.size_bytes) for shard in self.shards)

    def search(
        self, queries: npt.ArrayLike, k: int, *, effort: float | None = None
    ) -> TopN:
        """Find the k nearest items; arguments, answer and errors as of `Index`."""
        found = self._ask_all(lambda shard: shard.search(queries, k, effort=effort))
        items = np.concatenate([part.items for part in found], axis=1)
        scores = np.concatenate([part.scores for part in found], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return TopN(*(np.take_along_axis(x, best, axis=1) for x in (items, scores)))

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add items, each to its shard; errors as of `Index`, and nothing is added."""
        done: list[int] = []
        parts = _parts(ids, vectors, len(self.shards), self.dim)
        try:
            for home, (own, rows) in enumerate(parts):
                self.shards[home].add(own, rows)
                done.append(home)
        except ValueError:
            for home in done:
                self.shards[home].remove(parts[home][0])
            raise

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove items; answer and errors as of `Index`."""
        return sum(self._ask_all(lambda shard: shard.remove(ids)))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(len(self.shards))

    def _ask_all(self, call: Callable[[Any], Any]) -> list[Any]:
        return list(self._pool.map(call, self.shards))


def build_sharded_index(
    vectors: npt.ArrayLike,
    *,
    n_shards: int,
    kind: Kind = "flat",
    ids: npt.ArrayLike | None = None,
    make_shard: Callable[..., Any] = build_index,
) -> ShardedIndex:
    """Index a table in n shards.

    Args:
        vectors: (n_items, dim), as of `build_index`, like kind and ids.
        n_shards: >= 1.
        kind: "flat", "int8", "binary" or "hnsw".
        ids: (n_items,) different integers >= 0; by default the row numbers.
        make_shard: Makes one from (rows, kind=, ids=): here, or `cluster.RemoteShard`.

    Raises:
        TypeError, ValueError: As of `build_index`, or if n_shards is below 1.

    >>> index = build_sharded_index([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], n_shards=2)
    >>> index.search([[0.0, 2.0]], 2).items.tolist()
    [[2, 1]]
    """
    if n_shards < 1:
        raise ValueError(f"n_shards must be >= 1; got {n_shards}")
    rows = checked_rows(vectors, None)
    parts = _parts(np.arange(len(rows)) if ids is None else ids, rows, n_shards, None)
    return ShardedIndex([make_shard(part, kind=kind, ids=own) for own, part in parts])


def _parts(
    ids: npt.ArrayLike, vectors: npt.ArrayLike, n_shards: int, dim: int | None
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    rows, own = checked_rows(vectors, dim), checked_ids(ids)
    if len(own) != len(rows):
        got = f"got {len(own)} for {len(rows)}"
        raise ValueError(f"ids must be one for each vector; {got}")
    homes = [np.flatnonzero(own % n_shards == shard) for shard in range(n_shards)]
    return [(own[home], rows[home]) for home in homes]
