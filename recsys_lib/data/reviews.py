"""The clothing reviews: texts with ratings, without users."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_lib.data.carried import REVIEWS, checked_file, data_folder

_COLUMNS = [
    *("clothing_id", "age", "title", "text", "rating", "recommended"),
    *("positive_feedback", "division", "department", "class_name"),
]


@dataclass(frozen=True, eq=False)
class ClothingReviews:
    """Reviews of garments: one text per row.

    Attributes:
        reviews: Columns item (code), clothing_id, age, title ("" if none), text,
            rating (1-5), recommended (bool), positive_feedback, division,
            department, class_name ("" if unknown). Never predict ``recommended``
            from the rating: one follows from the other.
    """

    reviews: pd.DataFrame

    @property
    def n_items(self) -> int:
        """Number of garments with a review."""
        return int(self.reviews["item"].max()) + 1


def load_clothing_reviews() -> ClothingReviews:
    """Load the Women's E-Commerce Clothing Reviews that have a text.

    Raises:
        FileNotFoundError: If the file is not in `data_folder`.
        ValueError: If its content has changed.

    >>> len(load_clothing_reviews().reviews)
    22641
    """
    raw = pd.read_parquet(checked_file(data_folder() / REVIEWS))
    raw = raw.set_axis(_COLUMNS, axis="columns")
    raw = raw[raw["text"].notna()].reset_index(drop=True)
    raw["recommended"] = raw["recommended"].astype(bool)
    named = ["title", "division", "department", "class_name"]
    raw[named] = raw[named].fillna("")
    raw.insert(0, "item", np.unique(raw["clothing_id"], return_inverse=True)[1])
    return ClothingReviews(raw)


def draw_garments(
    reviews: pd.DataFrame, n_garments: int, *, least: int = 9, seed: int = 0
) -> pd.DataFrame:
    """Draw garments, and put the reviews of each in random order.

    The draw of fewer garments is a part of the draw of more with the same seed.

    Args:
        reviews: Of `ClothingReviews`.
        n_garments: Number of garments, or all that have enough reviews if these are
            fewer.
        least: Smallest number of reviews of a garment.
        seed: Of the draw and of the order.

    Returns:
        All reviews of these garments, by item and then by the new column nth, which
        counts the reviews of a garment from 0.

    Raises:
        ValueError: If no garment has that many reviews.

    >>> reviews = load_clothing_reviews().reviews
    >>> draw_garments(reviews, 3).item.nunique()
    3
    """
    mixed = reviews.sample(frac=1, random_state=seed)
    of_garment = mixed.groupby("item")["item"]
    mixed = mixed.assign(nth=of_garment.cumcount())
    enough = mixed[of_garment.transform("size") >= least]
    if enough.empty:
        raise ValueError(f"a garment must have {least} reviews; got none that has")
    drawn = mixed[mixed["item"].isin(enough["item"].unique()[:n_garments])]
    return drawn.sort_values(["item", "nth"])
