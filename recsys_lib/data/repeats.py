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
    pair = ["user", "item"]
    ordered = interactions.sort_values("timestamp", kind="stable")
    again = ordered.duplicated(pair, keep="last" if repeats == "last" else "first")
    n = f"{again.sum():,} interactions repeat a user and an item"
    if repeats == "count":
        size = interactions.groupby(pair)["item"].transform("size")
        interactions = interactions.assign(rating=size.astype("float32"))
    elif not again.any():
        return interactions, ""
    if repeats == "keep":
        return interactions, f"{n} (REPEATS=keep: chapters count the first in the file)"
    stays = interactions[~again.sort_index()].reset_index(drop=True)
    if repeats == "count":
        return stays, f"{n}: the rating is the number of interactions of a pair"
    return stays, f"{n}: of each pair the {repeats} stays"
