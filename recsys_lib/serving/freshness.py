"""How much fresh data is worth: replay a log, predicting each event before it is known.

Two schedules set what a server knows at a request: that of its model, which all users
share, and that of the profile of the user who asks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arrays import BoolArray, Float32Array, Float64Array, IntArray
from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.models.incremental_ease import IncrementalEase


@dataclass(frozen=True)
class UpdateSchedule:
    """When events become known to a model or a profile, and how their weight decays.

    Attributes:
        every_s: Seconds between updates; 0 updates at every event, inf never.
        delay_s: Seconds from an event until an update can contain it.
        half_life_s: Half-life of the weight of an event in a profile; inf for none.

    Raises:
        ValueError: If a duration is negative, NaN, or the half-life 0.

    >>> minutely = UpdateSchedule(every_s=60)
    >>> minutely.known_until(np.array([100, 120, 190]), start=0).tolist()
    [60.0, 120.0, 180.0]
    """

    every_s: float = 0.0
    delay_s: float = 0.0
    half_life_s: float = np.inf

    def __post_init__(self) -> None:
        if not (self.every_s >= 0 and self.delay_s >= 0 and self.half_life_s > 0):
            raise ValueError(f"every_s, delay_s must be >= 0, half_life_s > 0: {self}")

    def known_until(self, times: IntArray, start: float) -> Float64Array:
        """Time before which all events are known, for each request at ``times``.

        Args:
            times: (n,) seconds.
            start: Time of the first update, in seconds.
        """
        age = np.asarray(times - start, dtype=np.float64)
        if self.every_s:
            age -= age % self.every_s  # 0 if every_s is infinite
        return np.asarray(np.minimum(start + age, times - self.delay_s))


def visits(interactions: pd.DataFrame, *, gap_s: float = 0.0) -> BoolArray:
    """Mark the rows that come more than a gap after their user's row before.

    Without a gap, it marks the first row, in file order, of each page that a user rated
    in one second.

    Args:
        interactions: n rows with columns user and timestamp, in seconds.
        gap_s: Seconds, >= 0.

    Returns:
        (n,) True for the first row of each visit.

    >>> visits(pd.DataFrame({"user": [0, 0, 0], "timestamp": [9, 5, 5]})).tolist()
    [True, True, False]
    """
    log = interactions.reset_index(drop=True).sort_values("timestamp", kind="stable")
    waited = log.groupby("user")["timestamp"].diff()
    return np.asarray(((waited > gap_s) | waited.isna()).sort_index())


def replay_log(
    interactions: pd.DataFrame,
    shape: tuple[int, int],
    *,
    start: float,
    model: UpdateSchedule,
    profiles: Mapping[str, UpdateSchedule],
    asked: BoolArray | None = None,
    l2: float = 500.0,
) -> pd.DataFrame:
    """Predict each event of a log by EASE, then learn from it (prequential evaluation).

    The item of an event is ranked among the items that its user had not interacted with
    before that second, under every schedule. Nothing of that second or later is known.

    Args:
        interactions: n rows with columns user, item, and timestamp in seconds; each
            user-item pair at most once.
        shape: (n_users, n_items).
        start: Time from which events are predicted; the model knows all events before.
        model: Schedule of the model.
        profiles: Schedules of the histories that are scored, by name.
        asked: (n,) True for the rows to predict; None for all.
        l2: Ridge penalty of EASE, > 0.

    Returns:
        Ranks from 1: a column for each profile, a row for each row asked from ``start``
        on, in order of time. An item of equal score counts half.

    Raises:
        ValueError: If no event lies before ``start``, none is to be predicted, or a
            pair repeats.
    """
    log = interactions.assign(asked=True if asked is None else asked)
    log = log.sort_values("timestamp", kind="stable")
    times, pairs = log["timestamp"].to_numpy(), log[["user", "item"]].to_numpy()
    learned = int(np.searchsorted(times, start))
    rows = np.flatnonzero(log["asked"] & (times >= start))
    if not learned or not len(rows) or log.duplicated(["user", "item"]).any():
        got = f"got {learned} before and {len(rows)} to predict"
        raise ValueError(f"events must lie on both sides of start, none twice; {got}")
    ease = IncrementalEase(interaction_matrix(log[:learned], shape), l2=l2)
    past, ranks = _Past(log, shape[1]), np.empty((len(rows), len(profiles)))
    known = np.searchsorted(times, model.known_until(times[rows], start)).clip(learned)
    for part in _runs(known):
        ease.add(*pairs[learned : known[part[0]]].T)
        learned, now = known[part[0]], times[rows[part]]
        users, items = pairs[rows[part]].T
        seen = past.histories(users, now)
        for column, profile in enumerate(profiles.values()):
            until = profile.known_until(now, start)
            scores = ease.score(past.histories(users, until, profile.half_life_s))
            ranks[part, column] = _ranks(scores, items, seen)
    return pd.DataFrame(ranks, log.index[rows], columns=list(profiles))


class _Past:
    """The events of each user, in order of time."""

    def __init__(self, log: pd.DataFrame, n_items: int) -> None:
        log = log.sort_values("user", kind="stable")
        users, firsts = np.unique(log["user"], return_index=True)
        events = np.split(log[["timestamp", "item"]].to_numpy().T, firsts[1:], axis=1)
        self._n_items, self._of = n_items, dict(zip(users, events, strict=True))

    def histories(
        self, users: Iterable[int], until: Float64Array, half_life_s: float = np.inf
    ) -> csr_matrix:
        """(n, n_items) events of each user before a time, weighted by their age."""
        found = [self._of[user] for user in users]
        ends = [np.searchsorted(x[0], end) for x, end in zip(found, until, strict=True)]
        parts = [x[:, :n] for x, n in zip(found, ends, strict=True)]
        times, items = np.concatenate(parts, axis=1)
        weights = 2.0 ** ((times - np.repeat(until, ends)) / half_life_s)
        shape = (len(ends), self._n_items)
        return csr_matrix((weights, items, np.cumsum([0, *ends])), shape=shape)


def _runs(known: IntArray, most: int = 1000) -> list[IntArray]:
    """Positions of each run of equal values, cut into pieces of at most `most`."""
    cuts = {*(np.flatnonzero(np.diff(known)) + 1), *range(most, len(known), most)}
    return np.split(np.arange(len(known)), sorted(cuts))


def _ranks(scores: Float32Array, items: IntArray, seen: csr_matrix) -> Float64Array:
    """Rank of one item in each row, among those not seen."""
    mine = scores[np.arange(len(scores)), items][:, None]
    scores[seen.nonzero()] = -np.inf
    better, equal = (scores > mine).sum(axis=1), (scores == mine).sum(axis=1)
    return np.asarray(better + (1 + equal) / 2)
