"""Keep a recommender fresh: exact updates of EASE, and a replay that never looks ahead.

What a server knows is set by two clocks: that of its model, which all users share, and
that of the profile of the one who asks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arrays import BoolArray as Bools
from recsys_lib.arrays import Float32Array as Array
from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.incremental_ease import IncrementalEase

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clock:
    """What a server knows when a request comes.

    Attributes:
        every_s: Seconds from one update to the next: 0 at once, inf never.
        delay_s: Seconds until an event can be known.
        half_life_s: Of the weight of an event in a profile; inf: all count alike.

    Raises:
        ValueError: If a duration is negative, NaN, or the half-life 0.

    >>> Clock(every_s=60).until(np.array([100, 120, 190]), start=0).tolist()
    [60.0, 120.0, 180.0]
    """

    every_s: float = 0.0
    delay_s: float = 0.0
    half_life_s: float = np.inf

    def __post_init__(self) -> None:
        if not (self.every_s >= 0 and self.delay_s >= 0 and self.half_life_s > 0):
            raise ValueError(f"every_s, delay_s must be >= 0, half_life_s > 0: {self}")

    def until(self, times: Ints, start: float) -> Floats:
        """Moment before which all is known, for each request at ``times``."""
        age = np.asarray(times - start, dtype=np.float64)
        if self.every_s:
            age -= age % self.every_s  # all of it, if that is never
        return np.asarray(np.minimum(start + age, times - self.delay_s))


def visits(interactions: pd.DataFrame, *, gap_s: float = 0.0) -> Bools:
    """Mark (n,) rows that come more than a gap after what their user met before.

    Without a gap: the first row, in file order, of each page rated in one second.

    >>> visits(pd.DataFrame({"user": [0, 0, 0], "timestamp": [9, 5, 5]})).tolist()
    [True, True, False]
    """
    log = interactions.reset_index(drop=True).sort_values("timestamp", kind="stable")
    waited = log.groupby("user")["timestamp"].diff()
    return np.asarray(((waited > gap_s) | waited.isna()).sort_index())


def replay(
    interactions: pd.DataFrame,
    shape: tuple[int, int],
    *,
    start: float,
    model: Clock,
    profiles: Mapping[str, Clock],
    asked: Bools | None = None,
    l2: float = 500.0,
) -> pd.DataFrame:
    """Predict events before they are known, then learn from them (prequential).

    An event is ranked among the items that its user had not met before its second,
    whatever the clocks; nothing of its own second or later is known.

    Args:
        interactions: Columns user, item, timestamp in seconds; a pair but once.
        shape: (n_users, n_items).
        start: Second from which events are predicted; the model knows all before.
        model: Clock of EASE.
        profiles: Clocks of the histories that are scored, by name.
        asked: (n,) which rows to predict, all by default.
        l2: Of EASE.

    Returns:
        Ranks from 1, a column for each profile, the rows asked from ``start`` on in
        order of time; an item of equal score counts as half a place.

    Raises:
        ValueError: If no event lies before ``start`` or none is to be predicted, or a
            pair repeats.
    """
    log = interactions.assign(asked=True if asked is None else asked)
    log = log.sort_values("timestamp", kind="stable")
    times, pairs = log["timestamp"].to_numpy(), log[["user", "item"]].to_numpy()
    taken = int(np.searchsorted(times, start))
    rows = np.flatnonzero(log["asked"] & (times >= start))
    if not taken or not len(rows) or log.duplicated(["user", "item"]).any():
        got = f"got {taken} and {len(rows)}"
        raise ValueError(f"events must lie on both sides of start, none twice; {got}")
    ease = IncrementalEase(interaction_matrix(log[:taken], shape), l2=l2)
    past, ranks = _Past(log, shape[1]), np.empty((len(rows), len(profiles)))
    known = np.searchsorted(times, model.until(times[rows], start)).clip(taken)
    for part in _runs(known):
        ease.add(*pairs[taken : known[part[0]]].T)
        taken, now = known[part[0]], times[rows[part]]
        users, items = pairs[rows[part]].T
        seen = past.histories(users, now)
        for column, clock in enumerate(profiles.values()):
            until = clock.until(now, start)
            scores = ease.score(past.histories(users, until, clock.half_life_s))
            ranks[part, column] = _ranks(scores, items, seen)
    return pd.DataFrame(ranks, log.index[rows], columns=list(profiles))


class _Past:
    """What each user had met, and when."""

    def __init__(self, log: pd.DataFrame, n_items: int) -> None:
        log = log.sort_values("user", kind="stable")
        users, firsts = np.unique(log["user"], return_index=True)
        events = np.split(log[["timestamp", "item"]].to_numpy().T, firsts[1:], axis=1)
        self._n_items, self._of = n_items, dict(zip(users, events, strict=True))

    def histories(
        self, users: Iterable[int], until: Floats, half_life_s: float = np.inf
    ) -> csr_matrix:
        """Events before each moment, weighted by their age: (n, n_items)."""
        found = [self._of[user] for user in users]
        ends = [np.searchsorted(x[0], end) for x, end in zip(found, until, strict=True)]
        parts = [x[:, :n] for x, n in zip(found, ends, strict=True)]
        times, items = np.concatenate(parts, axis=1)
        weights = 2.0 ** ((times - np.repeat(until, ends)) / half_life_s)
        shape = (len(ends), self._n_items)
        return csr_matrix((weights, items, np.cumsum([0, *ends])), shape=shape)


def _runs(known: Ints, most: int = 1000) -> list[Ints]:
    """Positions of equal values that follow each other, at most so many together."""
    cuts = {*(np.flatnonzero(np.diff(known)) + 1), *range(most, len(known), most)}
    return np.split(np.arange(len(known)), sorted(cuts))


def _ranks(scores: Array, items: Ints, seen: csr_matrix) -> Floats:
    """Place of one item in each row, among those not seen."""
    mine = scores[np.arange(len(scores)), items][:, None]
    scores[seen.nonzero()] = -np.inf
    better, equal = (scores > mine).sum(axis=1), (scores == mine).sum(axis=1)
    return np.asarray(better + (1 + equal) / 2)
