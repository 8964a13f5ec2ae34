"""Recommend from a text or from a history: an encoder, an index and models, composed.

Any `recsys_lib.models.history_model.HistoryModel` serves, a `ContentModel` or a blend
of `recsys_lib.models.hybrid` too; so does any encoder, a cached one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.embeddings.encoder import TextEncoder
from recsys_lib.models.history_model import HistoryModel
from recsys_lib.ranking.top_n import TopN, top_n

Floats = npt.NDArray[np.floating[Any]]


class VectorIndex(Protocol):
    """Any index of `recsys_lib.ranking.index`, over the vectors of the items."""

    def search(self, queries: npt.ArrayLike, k: int) -> TopN:
        """Nearest k of each query."""


@dataclass(frozen=True)
class Recommendation:
    """Items for one request, best first.

    Attributes:
        items: Public ids, as many as were wanted or as there are.
        scores: One per item, descending: cosines for a text, for a history on the
            scale of its model.
        unknown: Ids of the history that are not in the catalogue, and were ignored.
    """

    items: list[str]
    scores: list[float]
    unknown: list[str]


@dataclass(frozen=True, eq=False)
class Recommender:
    """Text or interaction history in, top n out.

    Attributes:
        item_ids: (n_items,) public ids, each once; the position of an id is its code.
        encoder: Embeds texts.
        index: Of the items' vectors.
        history_model: Scores histories, rows (n_users, n_items) of ones.
        cold_model: Scores empty histories (popularity, say); None: ``history_model``.

    Raises:
        ValueError: If there is no item, or an id repeats.
    """

    item_ids: Sequence[str]
    encoder: TextEncoder
    index: VectorIndex
    history_model: HistoryModel
    cold_model: HistoryModel | None = None

    def __post_init__(self) -> None:
        n_items, n_ids = len(self.item_ids), len(set(self.item_ids))
        if not n_items or n_ids < n_items:
            got = f"got {n_items} items with {n_ids} ids"
            raise ValueError(f"item_ids must be some, each once; {got}")

    def recommend_texts(self, texts: Sequence[str], k: int) -> list[Recommendation]:
        """Find the k items nearest to each text.

        Args:
            texts: Any number.
            k: Items wanted, >= 1; there may be fewer in the catalogue.

        Raises:
            TypeError: If texts are not a sequence of str.
            ValueError: If k < 1.
        """
        _check_request(texts, k)
        if not texts:
            return []
        vectors = self.encoder.encode(texts)
        best = self.index.search(vectors, min(k, len(self.item_ids)))
        return self._recommendations(best, [[]] * len(texts))

    def recommend_histories(
        self, histories: Sequence[Sequence[str]], k: int
    ) -> list[Recommendation]:
        """Find the k best items that are not in each history.

        Args:
            histories: Item ids that each user met; one that repeats counts once. An
                empty one, or one of unknown ids alone, is answered by ``cold_model``.
            k: Items wanted, >= 1; there may be fewer left.

        Raises:
            TypeError: If a str stands where a sequence of ids should.
            ValueError: If k < 1.
        """
        _check_request(histories, k)
        for history in histories:
            _check_request(history, k)
        if not histories:
            return []
        seen = self._matrix(histories)
        scores = self.history_model.score(seen)
        cold = np.flatnonzero(np.diff(seen.indptr) == 0)
        if self.cold_model is not None and len(cold):
            scores = np.array(scores)
            scores[cold] = self.cold_model.score(seen[cold])
        best = top_n(scores, min(k, len(self.item_ids)), exclude=seen)
        unknown = [[i for i in ids if i not in self._codes] for ids in histories]
        return self._recommendations(best, unknown)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {item: code for code, item in enumerate(self.item_ids)}

    def _matrix(self, histories: Sequence[Sequence[str]]) -> csr_matrix:
        met = [
            sorted({self._codes[i] for i in ids if i in self._codes})
            for ids in histories
        ]
        ends = np.cumsum([0, *map(len, met)])
        columns = np.array([code for row in met for code in row], dtype=np.int64)
        ones = np.ones(len(columns), dtype=np.float32)
        shape = (len(met), len(self.item_ids))
        return csr_matrix((ones, columns, ends), shape=shape)

    def _recommendations(
        self, best: TopN, unknown: Sequence[list[str]]
    ) -> list[Recommendation]:
        rows = zip(best.items.tolist(), best.scores.tolist(), unknown, strict=True)
        ids = self.item_ids
        return [
            Recommendation(
                [ids[code] for code in codes if code >= 0],
                [score for code, score in zip(codes, scores, strict=True) if code >= 0],
                missing,
            )
            for codes, scores, missing in rows
        ]


def _check_request(sequence: Sequence[Any], k: int) -> None:
    if isinstance(sequence, str):
        raise TypeError(f"a sequence of texts or ids is needed; got str {sequence!r}")
    if k < 1:
        raise ValueError(f"k must be >= 1; got {k}")
