"""Reduce a data set to a size that the book's tables hold, by a seeded draw."""

from dataclasses import replace

import numpy as np

from recsys_lib.arrays import IntArray
from recsys_lib.data.dataset import Dataset

_GROUPS = 10


def sample_items(
    dataset: Dataset, n_items: int, *, rng: np.random.Generator
) -> Dataset:
    """Draw items so that the share of new and old ones stays as it is.

    From each group of `age_groups` the same share is drawn. If at least half of all
    items stay, those of a group have equal chances; otherwise too few interactions
    would be left, and chances are in proportion to an item's interactions.

    Args:
        dataset: Its items keep their order, and its users their codes.
        n_items: How many, in [1, dataset.n_items].
        rng: Draws.

    Returns:
        The items drawn with their interactions; `understood` says how.

    Raises:
        ValueError: If n_items is out of range.
    """
    if not 1 <= n_items <= dataset.n_items:
        raise ValueError(f"n_items must lie in [1, {dataset.n_items}]; got {n_items}")
    events, groups = dataset.interactions, age_groups(dataset)
    is_large = 2 * n_items < dataset.n_items
    weight = np.ones(dataset.n_items)
    if is_large:
        weight = np.maximum(np.bincount(events["item"], minlength=dataset.n_items), 0.5)
    # the smallest of exponential times at these rates: a draw without replacement
    arrival = rng.exponential(size=dataset.n_items) / weight
    order = np.lexsort((arrival, groups))
    sizes = np.bincount(groups)
    place = np.arange(dataset.n_items) - (np.cumsum(sizes) - sizes)[groups[order]]
    drawn = np.sort(order[place < _quotas(sizes, n_items)[groups[order]]])
    stays = events["item"].isin(drawn)
    events = events[stays].reset_index(drop=True)
    events["item"] = np.searchsorted(drawn, events["item"])
    chances = "in proportion to their interactions" if is_large else "that are equal"
    said = (
        f"{n_items:,} of {dataset.n_items:,} items drawn, the same share of new and "
        f"old ones, by chances {chances}"
    )
    return replace(
        dataset,
        interactions=events,
        items=dataset.items.iloc[drawn].reset_index(drop=True),
        understood="; ".join(filter(None, [dataset.understood, said])),
    )


def sample_users(
    dataset: Dataset, n_users: int, *, rng: np.random.Generator
) -> Dataset:
    """Keep users with an interaction; if they are more than `n_users`, draw so many.

    Args:
        dataset: Its items keep their codes, and its users their order.
        n_users: At most.
        rng: Draws, each user with the same chance.
    """
    events, understood = dataset.interactions, dataset.understood
    users = np.unique(events["user"])
    if len(users) > n_users:
        said = f"{n_users:,} of {len(users):,} users drawn"
        understood = "; ".join(filter(None, [understood, said]))
        users = np.sort(rng.choice(users, n_users, replace=False))
    events = events[events["user"].isin(users)].reset_index(drop=True)
    events["user"] = np.searchsorted(users, events["user"])
    return replace(
        dataset,
        interactions=events,
        users=dataset.users.iloc[users].reset_index(drop=True),
        understood=understood,
    )


def age_groups(dataset: Dataset) -> IntArray:
    """Ten groups of items by the time of their first interaction, of about equal size.

    Returns:
        (n_items,) from 0, the oldest; items with one first time are in one group.
        Items without interactions are a group of their own, the last.
    """
    events = dataset.interactions
    first = events.groupby("item")["timestamp"].min()
    edges = np.quantile(first, np.arange(1, _GROUPS) / _GROUPS, method="higher")
    groups = np.full(dataset.n_items, _GROUPS)
    groups[first.index] = np.searchsorted(np.unique(edges), first, side="right")
    codes: IntArray = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return codes


def _quotas(sizes: IntArray, n: int) -> IntArray:
    """Parts of n in proportion to sizes, by the largest remainders."""
    exact = n * sizes / sizes.sum()
    quotas: IntArray = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")[: n - quotas.sum()]
    quotas[largest] += 1
    return quotas
