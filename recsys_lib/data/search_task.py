"""Find the item that a text describes: queries, and what is known of each item."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_lib.arrays import IntArray
from recsys_lib.data.dataset import Dataset

QUERY_WORDS = 30  # of a review that plays a query, at most
_OWN_QUERY_WORDS = 10  # of the second half of an item's text, at most


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Texts of some items, and queries that each describe one of them.

    Attributes:
        ids: (n_items,) identifiers of the items, ascending.
        documents: Columns item (position in `ids`), text and nth (of its item, from 0),
            and those of the source.
        queries: Columns item and text, and those of the source.
        known: (n_items,) how often each item was reviewed or interacted with, without
            the queries.
    """

    ids: IntArray
    documents: pd.DataFrame
    queries: pd.DataFrame
    known: IntArray


def first_words(texts: "pd.Series[str]", n: int = QUERY_WORDS) -> "pd.Series[str]":
    """The first words of each text.

    >>> first_words(pd.Series(["a b c"]), 2).tolist()
    ['a b']
    """
    return texts.str.split().str[:n].str.join(" ")


def search_reviews(
    reviews: pd.DataFrame, *, n_items: int, n_queries: int, most: int, seed: int = 0
) -> SearchTask:
    """Let some reviews play queries for the items with the most reviews.

    Args:
        reviews: Columns item and text, a review a row.
        n_items: Items with the most reviews.
        n_queries: Reviews drawn at random; their first words are the queries.
        most: Documents of an item: its reviews that are not drawn, at most as many.
        seed: Of the draw.

    Returns:
        The task; `documents` has a column row: the position in `reviews`.

    Raises:
        ValueError: If no review is left for the documents.
    """
    drawn = reviews.assign(row=range(len(reviews)))
    drawn = drawn.sample(frac=1, random_state=seed)
    often = drawn["item"].value_counts(sort=False).nlargest(n_items)
    ids = np.sort(often.index)
    drawn = drawn[drawn["item"].isin(ids)]
    if n_queries >= len(drawn):
        raise ValueError(
            f"n_queries must be below the number of reviews of the {len(ids)} items; "
            f"got {n_queries} of {len(drawn)}"
        )
    queries, rest = drawn[:n_queries], drawn[n_queries:]
    queries = queries.assign(text=first_words(queries["text"]))
    known = np.bincount(np.searchsorted(ids, rest["item"]), minlength=len(ids))
    documents = rest.assign(nth=rest.groupby("item").cumcount())
    documents = documents[documents["nth"] < most]
    return SearchTask(ids, _numbered(documents, ids), _numbered(queries, ids), known)


def search_catalogue(
    dataset: Dataset, *, n_items: int, n_queries: int, most: int, seed: int = 0
) -> SearchTask:
    """Ask for items by one half of their own text, and describe them by the other.

    The items asked for are those of the last quarter of the interactions, so that the
    queries follow the demand. The query takes up to ten words in a row, at a random
    place of the second half of the item's text. A text of one word is both halves.

    Args:
        dataset: Items with texts.
        n_items: Drawn at random from those of the last quarter, at most as many.
        n_queries: Interactions drawn at random from the last quarter, at most as many.
        most: Documents of an item: passages of 30 words of the first half of its text,
            at most as many.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    log = dataset.interactions.sort_values("timestamp", kind="stable")["item"]
    early, late = np.split(log.to_numpy(), [len(log) * 3 // 4])
    asked = np.unique(late)
    ids = np.sort(rng.permutation(asked)[:n_items])
    wanted = rng.permutation(late[np.isin(late, ids)])[:n_queries]
    halves = {item: _halves(dataset.items["text"][item].split()) for item in ids}
    texts = []
    for item in wanted:
        words = halves[item][1]
        at = rng.integers(max(len(words) - _OWN_QUERY_WORDS, 0) + 1)
        texts.append(" ".join(words[at : at + _OWN_QUERY_WORDS]))
    rows = [
        (item, nth, " ".join(first[at : at + QUERY_WORDS]))
        for item, (first, _) in halves.items()
        for nth, at in enumerate(range(0, len(first), QUERY_WORDS)[:most])
    ]
    documents = pd.DataFrame(rows, columns=["item", "nth", "text"])
    queries = pd.DataFrame({"item": wanted, "text": texts})
    known = np.bincount(early, minlength=dataset.n_items)[ids]
    return SearchTask(ids, _numbered(documents, ids), _numbered(queries, ids), known)


def _halves(words: list[str]) -> tuple[list[str], list[str]]:
    middle = (len(words) + 1) // 2
    return words[:middle], words[middle:] or words


def _numbered(rows: pd.DataFrame, ids: IntArray) -> pd.DataFrame:
    return rows.assign(item=np.searchsorted(ids, rows["item"]))
