"""Numeric features of items from their metadata: genres and years."""

import numpy as np
import pandas as pd
from sklearn.preprocessing import MultiLabelBinarizer

from recsys_lib.arrays import FloatArray

_DECAY_YEARS = 3


def genre_features(items: pd.DataFrame) -> FloatArray:
    """One column for each genre, in alphabetical order: 1 where the item has it.

    Args:
        items: Column genres (tuples of str), as in `Dataset.items`.

    Returns:
        (n_items, n_genres) of 0 and 1.

    >>> genre_features(pd.DataFrame({"genres": [("War", "Drama"), ()]})).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    table = MultiLabelBinarizer().fit_transform(items["genres"])
    return np.asarray(table, dtype=np.float64)


def release_years(items: pd.DataFrame) -> FloatArray:
    """Year of each item; a missing one becomes the median, or 0 if all are missing.

    Args:
        items: Column year, as in `Dataset.items`.

    Returns:
        (n_items,) years.

    >>> release_years(pd.DataFrame({"year": [1990, None, 2000]})).tolist()
    [1990.0, 1995.0, 2000.0]
    """
    years = items["year"].astype(float)
    return years.fillna(years.median()).fillna(0).to_numpy(np.float64)


def year_features(items: pd.DataFrame) -> FloatArray:
    """One column for each year from the first to the last: how near the item's year is.

    Args:
        items: Column year, as in `Dataset.items`.

    Returns:
        (n_items, n_years) in (0, 1]: exp(-difference in years / 3).

    >>> year_features(pd.DataFrame({"year": [1990, 1993]})).round(2).tolist()
    [[1.0, 0.72, 0.51, 0.37], [0.37, 0.51, 0.72, 1.0]]
    """
    years = release_years(items)[:, None]
    columns = np.arange(years.min(), years.max() + 1)
    return np.asarray(np.exp(-abs(years - columns) / _DECAY_YEARS))
