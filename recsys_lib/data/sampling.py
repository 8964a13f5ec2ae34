"""Reduce a data set to a size that the book's tables hold, by a seeded draw."""

from dataclasses import replace

import numpy as np

from recsys_lib.arrays import FloatArray, IntArray
from recsys_lib.data.dataset import Dataset

_GROUPS = 10
_ACTIVE = 1000  # users with over 10 items, which are enough
_HOW = {
    0: "with equal chances",
    1: "with chances in proportion to their interactions",
    np.inf: "those with most interactions",
}


def fit_to(dataset: Dataset, *, n_items: int, n_users: int, seed: int = 0) -> Dataset:
    """Reduce a data set to so many items and users, with as little choice as possible.

    Items and users are drawn with equal chances, the same share of new and old items.
    Of a large set too few interactions would be left; then chances are in proportion to
    the number of interactions, and if this is not enough, those with most are taken, at
    last the users before the items. It is enough if 1,000 users, or half of those there
    were, have over 10 items. If no draw is enough, the one with most such users is
    returned.

    Args:
        dataset: Of any size; a small one loses only users without interactions.
        n_items: At most.
        n_users: At most.
        seed: Of the draws.

    Returns:
        The data that are left; `understood` says how they were drawn.
    """
    enough, best, most = min(_ACTIVE, _n_active(dataset) / 2), dataset, -1
    groups = age_groups(dataset)
    for power, users_first in [*((power, False) for power in _HOW), (np.inf, True)]:
        rng, cut = np.random.default_rng(seed), dataset
        if users_first:
            cut = sample_users(cut, n_users, rng=rng, power=power)
        if cut.n_items > n_items:
            cut = sample_items(cut, n_items, rng=rng, power=power, groups=groups)
        cut = sample_users(cut, n_users, rng=rng, power=power)
        n_active = _n_active(cut)
        if n_active > most:
            best, most = cut, n_active
        if n_active >= enough:
            break
    return best


def sample_items(
    dataset: Dataset,
    n_items: int,
    *,
    rng: np.random.Generator,
    power: float = 0,
    groups: IntArray | None = None,
) -> Dataset:
    """Draw items so that the share of new and old ones stays as it is.

    From each group the same share is drawn.

    Args:
        dataset: Its items keep their order, and its users their codes.
        n_items: How many, in [1, dataset.n_items].
        rng: Draws.
        power: Chances in a group are in proportion to this power of the number of an
            item's interactions: 0 for equal ones, infinity for the items with most.
        groups: (n_items,) of each item; by default as of `age_groups`.

    Returns:
        The items drawn with their interactions; `understood` says how.

    Raises:
        ValueError: If n_items is out of range.
    """
    if not 1 <= n_items <= dataset.n_items:
        raise ValueError(f"n_items must lie in [1, {dataset.n_items}]; got {n_items}")
    events = dataset.interactions
    groups = age_groups(dataset) if groups is None else groups
    counts = np.bincount(events["item"], minlength=dataset.n_items)
    order = np.lexsort((_arrivals(counts, power, rng), groups))
    sizes = np.bincount(groups)
    place = np.arange(dataset.n_items) - (np.cumsum(sizes) - sizes)[groups[order]]
    drawn = np.sort(order[place < _quotas(sizes, n_items)[groups[order]]])
    code = np.full(dataset.n_items, -1)
    code[drawn] = np.arange(n_items)
    found = code[events["item"]]
    events = events[found >= 0].reset_index(drop=True)
    events["item"] = found[found >= 0]
    said = (
        f"{n_items:,} of {dataset.n_items:,} items drawn, the same share of new and "
        f"old ones, {_HOW[power]}"
    )
    return replace(
        dataset,
        interactions=events,
        items=dataset.items.iloc[drawn].reset_index(drop=True),
        understood="; ".join(filter(None, [dataset.understood, said])),
    )


def sample_users(
    dataset: Dataset, n_users: int, *, rng: np.random.Generator, power: float = 0
) -> Dataset:
    """Keep users with an interaction; if they are more than `n_users`, draw so many.

    Args:
        dataset: Its items keep their codes, and its users their order.
        n_users: At most.
        rng: Draws.
        power: Of the number of a user's interactions, as in `sample_items`.
    """
    events, understood = dataset.interactions, dataset.understood
    users, counts = np.unique(events["user"], return_counts=True)
    if len(users) > n_users:
        said = f"{n_users:,} of {len(users):,} users drawn, {_HOW[power]}"
        understood = "; ".join(filter(None, [understood, said]))
        arrivals = _arrivals(counts, power, rng)
        users = np.sort(users[np.argsort(arrivals, kind="stable")[:n_users]])
    code = np.full(dataset.n_users, -1)
    code[users] = np.arange(len(users))
    found = code[events["user"]]
    events = events[found >= 0].reset_index(drop=True)
    events["user"] = found[found >= 0]
    return replace(
        dataset,
        interactions=events,
        users=dataset.users.iloc[users].reset_index(drop=True),
        understood=understood,
    )


def _arrivals(counts: IntArray, power: float, rng: np.random.Generator) -> FloatArray:
    """The first n are a draw without replacement: exponential times at these rates."""
    times = rng.exponential(size=len(counts))
    if np.isinf(power):
        return times / (1 + times) - counts  # ties at random
    return np.asarray(times / np.maximum(counts, 0.5) ** power)


def _n_active(dataset: Dataset) -> int:
    """Number of users with over 10 different items."""
    events = dataset.interactions
    pair = events["user"].to_numpy() * dataset.n_items + events["item"].to_numpy()
    users = np.unique(pair) // max(dataset.n_items, 1)
    return int((np.bincount(users) > 10).sum()) if len(users) else 0


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
