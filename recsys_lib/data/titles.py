"""Describe films as a person would: title, year and genres out of MovieLens' tables."""

import re
from typing import Any

import pandas as pd

GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
_NO_GENRE = {"", "unknown", "(no genres listed)"}
_YEAR = re.compile(r"\s*\((\d{4})(?:[-–]\s*(?:\d{4})?)?\)(?:\s*\(V\))?$")
_ARTICLE = re.compile(
    r"(^|\()([^()]+), (L'|(?:The|An?|Las?|Les?|Los?|El|Il|O|Das|Der|Die|De[nt]|Une?)\b)"
    r"(?=\s*(?:[()]|$))"
)


def describe_items(items: pd.DataFrame) -> pd.DataFrame:
    """Make the columns item_id, title, year, genres and text out of a source's items.

    Args:
        items: Columns item_id and title; genres parted by "|" or as the 19 flags of
            MovieLens 100k, or none; text where the source has one, which stays.

    Returns:
        One row per item: year may be NA, genres is a tuple of str.

    >>> films = pd.DataFrame({"item_id": [7], "title": ["Kid, The (1921)"]})
    >>> describe_items(films.assign(genres="Comedy|Drama")).text[0]
    'The Kid (1921). Comedy, Drama.'
    """
    named = [split_title(title) for title in items["title"]]
    genres = [_tags(listed) for listed in _listed_genres(items)]
    texts = [_text(*pair, tags) for pair, tags in zip(named, genres, strict=True)]
    return pd.DataFrame(
        {
            "item_id": items["item_id"],
            "title": [title for title, _ in named],
            "year": pd.array([year for _, year in named], dtype="Int64"),
            "genres": genres,
            "text": items.get("text", pd.Series(texts, index=items.index)),
        }
    )


def split_title(raw: str) -> tuple[str, int | None]:
    """Part a title from its year, and put the article where it is spoken.

    >>> split_title("Star Maker, The (Uomo delle stelle, L') (1995)")
    ("The Star Maker (L'Uomo delle stelle)", 1995)
    """
    title = raw.strip()
    found = _YEAR.search(title)
    title = title[: found.start()] if found else title
    title = _ARTICLE.sub(r"\1\3 \2", title).replace("L' ", "L'")
    return title, int(found[1]) if found else None


def _text(title: str, year: int | None, genres: tuple[str, ...]) -> str:
    dated = f"{title} ({year})" if year else title
    return f"{dated}. {', '.join(genres)}." if genres else f"{dated}."


def _tags(listed: str) -> tuple[str, ...]:
    parts = (tag.strip() for tag in listed.split("|"))
    return tuple(tag for tag in parts if tag not in _NO_GENRE)


def _listed_genres(items: pd.DataFrame) -> "pd.Series[Any]":
    if not set(GENRES_100K) <= set(items):
        return items.get("genres", pd.Series("", index=items.index))
    names = pd.Series({genre: f"{genre}|" for genre in GENRES_100K}, dtype=object)
    return items[GENRES_100K].astype(bool).dot(names)
