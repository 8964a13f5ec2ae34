"""The texts that users wrote themselves, such as reviews of items."""

import numpy as np
import pandas as pd

from recsys_lib.arrays import IntArray

FEWEST_WRITERS = 20  # for an interval over users


def writers(interactions: pd.DataFrame) -> IntArray:
    """Users who wrote at least one text, ascending.

    Args:
        interactions: Column user, and text ("" where the user wrote none) if the data
            have texts of users.

    >>> writers(pd.DataFrame({"user": [4, 4, 2], "text": ["Warm.", "Soft.", " "]}))
    array([4])
    """
    if "text" not in interactions:
        return np.empty(0, dtype=np.int64)
    written = interactions["text"].str.strip() != ""
    users: IntArray = np.unique(interactions["user"][written])
    return users


def has_writers(interactions: pd.DataFrame) -> bool:
    """Whether enough users wrote texts to measure anything.

    >>> has_writers(pd.DataFrame({"user": range(20), "text": "Warm."}))
    True
    """
    return len(writers(interactions)) >= FEWEST_WRITERS


def latest_texts(
    interactions: pd.DataFrame, users: IntArray, *, n_texts: int, n_words: int
) -> pd.DataFrame:
    """The last texts of each of these users.

    Args:
        interactions: Columns user, timestamp and text.
        users: (n,) each once.
        n_texts: Most texts of a user.
        n_words: Most words of a text; the rest is cut off.

    Returns:
        Columns text and writer: the user's place in `users`.

    Raises:
        ValueError: If a user wrote no text.

    >>> frame = pd.DataFrame({"user": 0, "timestamp": [2, 1], "text": ["Soft.", "Old"]})
    >>> latest_texts(frame, np.array([0]), n_texts=1, n_words=9)
        text  writer
    0  Soft.       0
    """
    wrote = np.isin(users, writers(interactions))
    if not wrote.all():
        raise ValueError(f"users must have written a text; got {users[~wrote][0]}")
    written = interactions["text"].str.strip() != ""
    own = interactions[written & interactions["user"].isin(users)]
    own = own.sort_values("timestamp", kind="stable").groupby("user").tail(n_texts)
    place = pd.Series(np.arange(len(users)), index=users)
    short = own["text"].str.split().str[:n_words].str.join(" ")
    return pd.DataFrame({"text": short, "writer": place[own["user"]].to_numpy()})
