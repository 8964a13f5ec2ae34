"""The clothing reviews: texts with ratings, without users."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data import carried
from recsys_lib.data.carried import _REVIEWS, SHA256, data_folder

_REVIEW_COLUMNS = [
    *("clothing_id", "age", "title", "text", "rating", "recommended"),
    *("positive_feedback", "division", "department", "class_name"),
]


@dataclass(frozen=True, eq=False)
class ClothingReviews:
    """Reviews of garments: one text per row.

    Attributes:
        reviews: Columns item (code), clothing_id, age, title ("" if none), text,
            rating (1-5), recommended (bool), positive_feedback, division,
            department, class_name ("" if unknown). The rating gives ``recommended``
            away: never a feature for predicting it.
        sha256: Hash of the file read, by file name.
    """

    reviews: pd.DataFrame
    sha256: Mapping[str, str]

    @property
    def n_items(self) -> int:
        """Number of garments that have a review."""
        return int(self.reviews["item"].max()) + 1


def load_clothing_reviews(path: str | Path | None = None) -> ClothingReviews:
    """Load the Women's E-Commerce Clothing Reviews, rows without a text left out.

    Args:
        path: Folder of the carried file; None for `data_folder`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it has another hash.

    >>> len(load_clothing_reviews().reviews)
    22641
    """
    folder = data_folder() if path is None else Path(path)
    file = carried.checked_file(folder / _REVIEWS, SHA256[_REVIEWS])
    raw = pd.read_parquet(file).set_axis(_REVIEW_COLUMNS, axis="columns")
    raw = raw[raw["text"].notna()].reset_index(drop=True)
    raw["recommended"] = raw["recommended"].astype(bool)
    named = ["title", "division", "department", "class_name"]
    raw[named] = raw[named].fillna("")
    raw.insert(0, "item", np.unique(raw["clothing_id"], return_inverse=True)[1])
    return ClothingReviews(raw, {_REVIEWS: SHA256[_REVIEWS]})
