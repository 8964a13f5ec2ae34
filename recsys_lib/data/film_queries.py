"""Queries in English and Chinese for films of MovieLens 100k, written for this book."""

from pathlib import Path

import pandas as pd

from recsys_lib.artifacts import sha256_of
from recsys_lib.data.movielens import load_movielens

FILM_QUERIES = Path(__file__).with_suffix(".csv")
# A chapter's fingerprint follows code: with this hash it follows the list, too.
FILM_QUERIES_SHA256 = "6a342cc91f26a82d4e89b06207f84b51fd5eb8cc88cced0dc7e58e211d4cbb64"


def load_film_queries() -> pd.DataFrame:
    """Load 120 films with what each is about, as a person would ask for it.

    The queries tell the story, not the title: no word of a title with more than three
    letters stands in its English query. The Chinese query says the same. The films are
    well known, of seven decades and all genres but one ("unknown"). Texts of MovieLens
    tell no story: a model finds the film if it knows the film. Whether it finds the
    English query by the Chinese one depends on its languages alone.

    Returns:
        Columns item (code in `load_movielens`), title, english and chinese; one row a
        film, in the order of the codes.

    Raises:
        ValueError: If the list has changed.

    >>> first = load_film_queries().iloc[1]
    >>> first["title"], first["english"], first["chinese"]
    ('Babe', 'a farm pig learns to herd sheep', '农场小猪学会了牧羊')
    """
    found = sha256_of(FILM_QUERIES)
    if found != FILM_QUERIES_SHA256:
        wanted = f"{FILM_QUERIES.name} must have sha256 {FILM_QUERIES_SHA256}"
        raise ValueError(f"{wanted}; got {found}: write it here if you meant to")
    listed = pd.read_csv(FILM_QUERIES)
    codes = pd.Index(load_movielens().items["item_id"]).get_indexer(
        pd.Index(listed.pop("item_id"))
    )
    listed.insert(0, "item", codes)
    return listed
