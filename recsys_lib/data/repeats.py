"""What becomes of several interactions of one user with one item."""

import pandas as pd


def count_repeats(interactions: pd.DataFrame, repeats: str) -> tuple[pd.DataFrame, str]:
    """Keep all interactions of a user with an item, or one of them.

    Args:
        interactions: Columns user, item, rating and timestamp.
        repeats: "keep" for all; the "first" or "last" one in time; or "count" for the
            first, with the number of interactions as its rating.

    Returns:
        The interactions in their order, and what was done; "" if no pair repeats.

    >>> rows = {"user": [0, 0], "item": [5, 5], "timestamp": [9, 3], "rating": [1, 2]}
    >>> count_repeats(pd.DataFrame(rows), "last")[0]["rating"].tolist()
    [1]
    """
    pair = interactions["user"] * (interactions["item"].max() + 1)
    pair = pair + interactions["item"]
    n_again = int(pair.duplicated().sum())
    if repeats == "count":
        size = pair.map(pair.value_counts()).astype("float32")
        interactions = interactions.assign(rating=size)
    if not n_again:
        return interactions, ""
    n = f"{n_again:,} interactions repeat a user and an item"
    if repeats == "keep":
        return interactions, f"{n} (REPEATS=keep: chapters count the first in the file)"
    order = interactions["timestamp"].sort_values(kind="stable").index
    again = pair[order].duplicated(keep="last" if repeats == "last" else "first")
    stays = interactions[~again.sort_index()].reset_index(drop=True)
    if repeats == "count":
        return stays, f"{n}: the rating is the number of interactions of a pair"
    return stays, f"{n}: of each pair the {repeats} stays"
