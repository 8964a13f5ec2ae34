"""Describe items in words: title, year and genres from raw titles and genre lists."""

import re

import pandas as pd

_NO_GENRE = {"", "unknown", "(no genres listed)"}
_YEAR = re.compile(r"\s*\((\d{4})(?:[-–]\s*(?:\d{4})?)?\)(?:\s*\(V\))?$")
_ARTICLE = re.compile(
    r"(^|\()([^()]+), (L'|(?:The|An?|Las?|Les?|Los?|El|Il|O|Das|Der|Die|De[nt]|Une?)\b)"
    r"(?=\s*(?:[()]|$))"
)


def describe_items(items: pd.DataFrame) -> pd.DataFrame:
    """Make the columns of `Dataset.items` from the items of a source.

    Args:
        items: Columns item_id, title (perhaps with a year) and, optionally, genres
            (separated by "|") and text (used unchanged).

    Returns:
        Columns item_id, title, year (missing: NA), genres (tuple of str) and text.

    >>> films = pd.DataFrame({"item_id": [7], "title": ["Kid, The (1921)"]})
    >>> describe_items(films.assign(genres="Comedy|Drama")).text[0]
    'The Kid (1921). Comedy, Drama.'
    """
    named = [split_title(title) for title in items["title"]]
    listed = items.get("genres", pd.Series("", index=items.index))
    genres = [_split_genres(names) for names in listed]
    texts = [item_text(*pair, tags) for pair, tags in zip(named, genres, strict=True)]
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
    """Separate a title from its year, and move the article to the front.

    >>> split_title("Star Maker, The (Uomo delle stelle, L') (1995)")
    ("The Star Maker (L'Uomo delle stelle)", 1995)
    """
    title = raw.strip()
    found = _YEAR.search(title)
    title = title[: found.start()] if found else title
    title = _ARTICLE.sub(r"\1\3 \2", title).replace("L' ", "L'")
    return title, int(found[1]) if found else None


def item_text(title: str, year: int | None, genres: tuple[str, ...]) -> str:
    """Write title, year and genres as short sentences.

    >>> item_text("Heat", 1995, ("Action", "Crime"))
    'Heat (1995). Action, Crime.'
    """
    dated = f"{title} ({year})" if year else title
    return f"{dated}. {', '.join(genres)}." if genres else f"{dated}."


def _split_genres(listed: str) -> tuple[str, ...]:
    names = dict.fromkeys(name.strip() for name in listed.split("|"))
    return tuple(name for name in names if name not in _NO_GENRE)
