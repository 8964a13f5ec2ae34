"""Recommend from a text or a history, by an encoder, an index and history models.

The encoder may be any `TextEncoder`, a `CachedEncoder` too. The models may be any
`HistoryModel`, a `ContentModel` or a blend of `recsys_lib.models.hybrid` too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_lib.arguments import whole_number
from recsys_lib.arrays import BoolArray
from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.models.history_model import HistoryModel
from recsys_lib.ranking.top_n import TopN, top_n
from recsys_lib.serving.item_filter import EXCLUDE, Filter, ItemFields, values_of


class VectorIndex(Protocol):
    """An index over the vectors of the items, such as `recsys_lib.ranking.index`'s."""

    def search(
        self, queries: npt.ArrayLike, k: int, *, allowed: npt.ArrayLike | None = None
    ) -> TopN:
        """Find the k nearest items of each query, of those that a mask allows."""


@dataclass(frozen=True)
class Recommendation:
    """Items for one request, best first.

    Attributes:
        items: Public ids, k or as many as there are.
        scores: One per item, descending: cosines for a text; for a history, on the
            scale of its model.
        unknown: Ids of the history that are not in the catalogue and were ignored.
        titles: One per item; empty if the recommender has none.
    """

    items: list[str]
    scores: list[float]
    unknown: list[str]
    titles: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Recommender:
    """Recommends the best items for texts and for interaction histories.

    Attributes:
        item_ids: (n_items,) different public ids; the position of an id is its code.
        encoder: Embeds texts, as queries.
        index: Holds the vectors of the items under their codes. Where it says which
            encoder filled it, this must be ``encoder``.
        history_model: Scores histories, given as (n_users, n_items) of ones.
        cold_model: Scores empty histories, for example by popularity; None for
            ``history_model``.
        titles: (n_items,) names of the items for people; None to answer with ids alone.
        fields: Metadata of the items, in the order of their ids, for filters.

    Raises:
        ValueError: If there is no item, an id repeats, or titles or fields are not one
            per item.
        OtherEncoder: If another encoder filled the index; the message names both.
    """

    item_ids: Sequence[str]
    encoder: TextEncoder
    index: VectorIndex
    history_model: HistoryModel
    cold_model: HistoryModel | None = None
    titles: Sequence[str] | None = None
    fields: ItemFields = field(default_factory=ItemFields)

    def __post_init__(self) -> None:
        n_items, n_ids = len(self.item_ids), len(set(self.item_ids))
        if not n_items or n_ids < n_items:
            got = f"got {n_items} items with {n_ids} ids"
            raise ValueError(f"item_ids must be one or more, all different; {got}")
        if self.titles is not None and len(self.titles) != n_items:
            got = f"got {len(self.titles)} for {n_items} items"
            raise ValueError(f"titles must be one per item; {got}")
        if self.fields.codes and self.fields.n_items != n_items:
            got = f"got {self.fields.n_items} for {n_items} items"
            raise ValueError(f"fields must have a value for each item; {got}")
        if (filled_by := getattr(self.index, "filled_by", None)) is not None:
            filled_by.check(fingerprint_of(self.encoder))

    def recommend_texts(
        self,
        texts: Sequence[str],
        k: int,
        filters: Sequence[Filter] | None = None,
    ) -> list[Recommendation]:
        """Find the k items nearest to each text.

        Args:
            texts: Any number of them.
            k: Items to return, >= 1; all if the catalogue has fewer.
            filters: One for each text, an empty one for all items: field of ``fields``
                -> value or values of which an item must have one. "exclude" holds ids
                of items not to return, those seen for example.

        Raises:
            TypeError: If texts are not a sequence of str.
            ValueError: If k < 1, a filter names an unknown field or a value of a wrong
                type, or there are not as many filters as texts.
        """
        _check_request(texts, k, filters)
        if not texts:
            return []
        vectors = self.encoder.encode(texts, role="query")
        n = min(k, len(self.item_ids))
        if not any(filters or ()):
            best = self.index.search(vectors, n)
            return self._recommendations(best, [[]] * len(texts))
        found: list[Recommendation] = []
        for vector, wanted in zip(vectors, filters or (), strict=True):
            allowed = self._allowed(wanted) if wanted else None
            best = self.index.search(vector[None], n, allowed=allowed)
            found += self._recommendations(best, [[]])
        return found

    def recommend_histories(
        self,
        histories: Sequence[Sequence[str]],
        k: int,
        filters: Sequence[Filter] | None = None,
    ) -> list[Recommendation]:
        """Find the k best items that are not in each history.

        Args:
            histories: Ids of the items that each user interacted with; an id that
                repeats counts once. ``cold_model`` answers for a history that is empty
                or has only unknown ids.
            k: Items to return, >= 1; all if fewer are left.
            filters: As of `recommend_texts`, one for each history.

        Raises:
            TypeError: If a str stands where a sequence of ids should.
            ValueError: As of `recommend_texts`.
        """
        _check_request(histories, k, filters)
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
        if any(filters or ()):
            masks = np.array([self._allowed(wanted) for wanted in filters or ()])
            scores = np.where(masks, scores, -np.inf)
        best = top_n(scores, min(k, len(self.item_ids)), exclude=seen)
        unknown = [[i for i in ids if i not in self._codes] for ids in histories]
        return self._recommendations(best, unknown)

    def _allowed(self, wanted: Filter) -> BoolArray:
        """Items (n_items,) that a filter allows."""
        self.fields.check(wanted)
        allowed = np.ones(len(self.item_ids), np.bool_)
        if {*wanted} - {EXCLUDE}:
            allowed = self.fields.mask(wanted)
        unwanted = values_of(wanted.get(EXCLUDE, ()))
        known = [self._codes[str(i)] for i in unwanted if i in self._codes]
        allowed[known] = False
        return allowed

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {item: code for code, item in enumerate(self.item_ids)}

    def _matrix(self, histories: Sequence[Sequence[str]]) -> csr_matrix:
        rows = [
            sorted({self._codes[i] for i in ids if i in self._codes})
            for ids in histories
        ]
        ends = np.cumsum([0, *map(len, rows)])
        columns = np.array([code for row in rows for code in row], dtype=np.int64)
        ones = np.ones(len(columns), dtype=np.float32)
        shape = (len(rows), len(self.item_ids))
        return csr_matrix((ones, columns, ends), shape=shape)

    def _recommendations(
        self, best: TopN, unknown: Sequence[list[str]]
    ) -> list[Recommendation]:
        rows = zip(best.items.tolist(), best.scores.tolist(), unknown, strict=True)
        ids, names = self.item_ids, self.titles
        return [
            Recommendation(
                [ids[code] for code in codes if code >= 0],
                [score for code, score in zip(codes, scores, strict=True) if code >= 0],
                missing,
                [names[code] for code in codes if code >= 0] if names else [],
            )
            for codes, scores, missing in rows
        ]


class SwitchingRecommender:
    """A recommender that can be replaced while it answers.

    Each call is answered by one recommender from its beginning to its end.
    """

    def __init__(self, current: Recommender) -> None:
        self.current = current

    @property
    def fields(self) -> ItemFields:
        """Metadata of the items, as of `Recommender`."""
        return self.current.fields

    @property
    def encoder(self) -> TextEncoder:
        """The encoder of the moment."""
        return self.current.encoder

    def recommend_texts(
        self, texts: Sequence[str], k: int, filters: Sequence[Filter] | None = None
    ) -> list[Recommendation]:
        """Answer as `Recommender.recommend_texts`."""
        return self.current.recommend_texts(texts, k, filters)

    def recommend_histories(
        self,
        histories: Sequence[Sequence[str]],
        k: int,
        filters: Sequence[Filter] | None = None,
    ) -> list[Recommendation]:
        """Answer as `Recommender.recommend_histories`."""
        return self.current.recommend_histories(histories, k, filters)


def _check_request(
    sequence: Sequence[Any], k: int, filters: Sequence[Filter] | None = None
) -> None:
    if isinstance(sequence, str):
        raise TypeError(f"texts or ids must be a sequence of str; got str {sequence!r}")
    whole_number("k", k)
    if filters is not None and len(filters) != len(sequence):
        got = f"got {len(filters)} for {len(sequence)}"
        raise ValueError(f"filters must be one for each text or history; {got}")
