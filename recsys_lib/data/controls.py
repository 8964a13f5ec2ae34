"""Texts with the title masked or swapped: how much of the gain is a known name?

A language model may know a film's name, and what people think of it, from pre-training.
With these texts it sees the same year and genres without the name, or with another's.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from recsys_lib.data.dataset import Dataset
from recsys_lib.data.titles import item_text

MASK = "Untitled"


def masked_titles(dataset: Dataset) -> Dataset:
    """Replace the title in each text by "Untitled"; year and genres stay.

    Args:
        dataset: Its texts consist of title, year and genres, as MovieLens' do.

    Returns:
        The same data; of the items' columns only text differs.

    Raises:
        ValueError: If a text consists of something else.

    >>> from recsys_lib.data.movielens import load_movielens
    >>> masked_titles(load_movielens()).items.text[0]
    "Untitled (1995). Animation, Children's, Comedy."
    """
    return _with_titles(dataset, pd.Series(MASK, index=dataset.items.index))


def swapped_titles(dataset: Dataset, *, rng: np.random.Generator) -> Dataset:
    """Give each text the title of another item with its first genre and its decade.

    The different titles of a group are permuted in one random cycle, so that none stays
    where it was. A group is the items with the same first genre (genres keep the order
    of their source: alphabetical in MovieLens) and the same decade of release; items
    without a genre or a year are groups, too. The only title of a group stays. Year and
    genres stay.

    Args:
        dataset: As for `masked_titles`.
        rng: Draws the permutations.

    Returns:
        The same data; of the items' columns only text differs.

    Raises:
        ValueError: If a text consists of something else than title, year and genres.

    >>> from recsys_lib.data.movielens import load_movielens
    >>> films = load_movielens()
    >>> swapped = swapped_titles(films, rng=np.random.default_rng(0))
    >>> float((swapped.items.text != films.items.text).mean()) > 0.97
    True
    """
    items = dataset.items
    titles = items["title"].copy()
    decades = items["year"] // 10 * 10
    groups = items.groupby([items["genres"].str[0], decades], dropna=False, sort=True)
    for rows in groups.groups.values():
        order = rng.permutation(titles[rows].unique())
        following = dict(zip(order, np.roll(order, -1), strict=True))
        titles[rows] = titles[rows].map(following)
    return _with_titles(dataset, titles)


def _with_titles(dataset: Dataset, titles: "pd.Series[str]") -> Dataset:
    """Write the texts anew, with these titles."""
    items = dataset.items
    usual = _texts(items, items["title"])
    if other := [
        text for text, own in zip(items["text"], usual, strict=True) if text != own
    ]:
        wanted = "texts must consist of title, year and genres"
        raise ValueError(f"{wanted}; got {other[0]!r} and {len(other) - 1} others")
    return replace(dataset, items=items.assign(text=_texts(items, titles)))


def _texts(items: pd.DataFrame, titles: "pd.Series[str]") -> list[str]:
    years = [None if pd.isna(year) else int(year) for year in items["year"]]
    rows = zip(titles, years, items["genres"], strict=True)
    return [item_text(*row) for row in rows]
