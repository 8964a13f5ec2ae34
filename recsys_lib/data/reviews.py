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
