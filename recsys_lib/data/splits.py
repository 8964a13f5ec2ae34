"""Cut interactions into training and test data: at random, in time, by items, by users.

Every split keeps the rows as they were, index included, so that the two parts can be
traced back to the frame they came from. A validation cut is a split of ``train``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Split:
    """The two parts of a frame of interactions, both in its order."""

    train: pd.DataFrame
    test: pd.DataFrame


def stratified_split(
    interactions: pd.DataFrame,
    *,
    ratio: float = 0.75,
    by: Literal["item", "user"] = "item",
    seed: int = 42,
) -> Split:
    """Keep the same part of each item's (or user's) rows for training, at random.

    Args:
        interactions: Columns item and user, in file order: the draw depends on it.
        ratio: Part of each stratum kept, in (0, 1); rounded half to even, so that a
            stratum of one row is all training from .5 on.
        by: Column that names the strata.
        seed: 42 and by item on MovieLens 100k gives the recommenders benchmark.

    Raises:
        ValueError: If ratio lies outside (0, 1) or a part comes out empty.

    Source: Recommenders (github.com/recommenders-team/recommenders),
    ``python_stratified_split``.

    >>> frame = pd.DataFrame({"user": range(8), "item": [0] * 4 + [1] * 4})
    >>> stratified_split(frame).test["item"].tolist()
    [0, 1]
    """
    _check_part("ratio", ratio)
    # the benchmark's generator, which NumPy keeps for reproducing old results
    draws = np.random.RandomState(seed).random_sample(len(interactions))
    strata = interactions[by]
    rank = pd.Series(draws, index=strata.index).groupby(strata).rank("first")
    size = strata.groupby(strata).transform("size")
    return _divide(interactions, rank.le((ratio * size).round()))


def temporal_split(interactions: pd.DataFrame, *, ratio: float = 0.75) -> Split:
    """Train on the past, test on what came strictly later.

    Args:
        interactions: Column timestamp.
        ratio: Part of the rows before the cut, in (0, 1); rows that share the second
            of the cut all go to the test, so the part may come out smaller.

    Raises:
        ValueError: If ratio lies outside (0, 1) or a part comes out empty.

    >>> frame = pd.DataFrame({"timestamp": [30, 10, 20, 40]})
    >>> temporal_split(frame, ratio=0.5).train["timestamp"].tolist()
    [10, 20]
    """
    _check_part("ratio", ratio)
    times = interactions["timestamp"]
    cut = np.sort(times)[int(ratio * len(times)) :][:1]
    return _divide(interactions, times.lt(cut[0]) if len(cut) else times.notna())


def cold_item_split(
    interactions: pd.DataFrame, *, fraction: float = 0.2, seed: int = 0
) -> Split:
    """Hold out whole items: no item of the test has a row in training.

    Args:
        interactions: Column item.
        fraction: Part of the items held out with all their rows, in (0, 1).
        seed: Of the draw of items.

    Raises:
        ValueError: If fraction lies outside (0, 1) or a part comes out empty.

    >>> frame = pd.DataFrame({"item": [0, 0, 1, 1]})
    >>> cold_item_split(frame, fraction=0.5).test["item"].nunique()
    1
    """
    _check_part("fraction", fraction)
    items = np.unique(interactions["item"])
    n_held_out = round(fraction * len(items))
    held_out = np.random.default_rng(seed).permutation(items)[:n_held_out]
    return _divide(interactions, ~interactions["item"].isin(held_out))


def _divide(interactions: pd.DataFrame, kept: "pd.Series[bool]") -> Split:
    if kept.all() or not kept.any():
        raise ValueError(
            f"both parts must have rows; got {int(kept.sum())} of {len(kept)} in train"
        )
    return Split(interactions[kept], interactions[~kept])


def _check_part(name: str, part: float) -> None:
    if not 0 < part < 1:
        raise ValueError(f"{name} must lie in (0, 1); got {part}")
