"""Whether a reader's data can answer the book's questions, before anything runs."""

import numpy as np

from recsys_lib.data.dataset import Dataset

_DIFFERENT = "users with over 10 different items, but not all"
SMALLEST = {
    _DIFFERENT: 50,
    "items with interactions": 200,
    "different pairs of user and item": 2000,
    "different texts of items": 50,
}


def check_structure(dataset: Dataset) -> None:
    """Refuse data too small, or too uniform, for the chapters' splits and measures.

    Repeated interactions of a user with an item count once.

    Args:
        dataset: Of which all users have an interaction.

    Raises:
        ValueError: With what must be there, and what is.
    """
    once = dataset.interactions.drop_duplicates(["user", "item"], ignore_index=True)
    n_items = once["item"].nunique()
    different = once["user"].value_counts()
    texts = dataset.items["text"]
    sizes = (
        int(((different > 10) & (different < n_items)).sum()),
        n_items,
        len(once),
        texts[np.unique(once["item"])].nunique(),
    )
    if any(n < least for n, least in zip(sizes, SMALLEST.values(), strict=True)):
        wanted = ", ".join(f"{least:,} {what}" for what, least in SMALLEST.items())
        pairs = zip(sizes, SMALLEST, strict=True)
        got = ", ".join(f"{n:,} {what}" for n, what in pairs)
        raise ValueError(f"{dataset.name} must have at least {wanted}; got {got}")
