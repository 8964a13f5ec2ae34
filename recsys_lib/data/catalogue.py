"""Texts of a reader's items: from their descriptions, or else from their reviews."""

import pandas as pd

_PARTS = ("title", "features", "description")
_REVIEWS = 3  # at most, in the text of an item
_SHARE = 3  # an item's text takes at most one review in three


def described(items: pd.DataFrame) -> pd.DataFrame:
    """Give items a title and a text.

    Args:
        items: Columns item_id and text, or some of title, features and description;
            optional year, which the title gets, and genres.

    Returns:
        With the columns title and text: a text of the source's unchanged, otherwise
        title, features and description one after the other. "" where there is nothing.

    >>> item = {"item_id": ["a"], "title": ["Mug"], "description": ["Holds tea.|Blue."]}
    >>> described(pd.DataFrame(item)).text[0]
    'Mug. Holds tea. Blue.'
    """
    if "text" in items:
        text = items["text"]
    else:
        parts = [items[name] for name in _PARTS if name in items]
        joined = [_joined(fields) for fields in zip(*parts, strict=True)]
        text = pd.Series(joined or "", index=items.index, dtype="str")
    title = items.get("title", text)
    title = title.where(title.str.strip() != "", text)
    if "year" in items:
        year = items["year"].str.extract(r"^(\d{4})(?:\D.*)?$", expand=False)
        dated = title + " (" + year + ")"
        title = dated.where(year.notna() & ~title.str.contains(r"\(\d{4}\)$"), title)
    return items.assign(title=title, text=text)


def _joined(fields: tuple[str, ...]) -> str:
    """Parts of a description as sentences; a single part is unchanged."""
    parts = [x.replace("|", " ").strip() for x in fields if x.strip()]
    if len(parts) < 2:
        return "".join(parts)
    return " ".join(x if x[-1:] in ".!?" else f"{x}." for x in parts)


def described_by_reviews(
    events: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Describe items by their first reviews, which then are no interactions.

    The text of an item is made of its oldest reviews that have a text: at most three,
    and at most a third of its interactions (one, if there are fewer than six). These
    interactions are left out, and with them every interaction of the same user with
    the item, and those before the last of these reviews. So no text of an item holds a
    review of any interaction that stays, nor one that was written after it: however
    the rest is split, at random, by items or in time, no text comes from test data.

    Args:
        events: Columns user_id, item_id, timestamp, rating and text.

    Returns:
        Items (item_id, title, text), the interactions that stay, and what was done.
        Items without a review or without interactions that stay are left out.

    >>> rows = {"user_id": ["a", "b"], "item_id": "x", "timestamp": [2, 1]}
    >>> rows["text"] = ["Nice.", "Too tight."]
    >>> items, rest, _ = described_by_reviews(pd.DataFrame(rows))
    >>> items.text.tolist(), rest.user_id.tolist()
    (['Too tight.'], ['a'])
    """
    n_rows = events.groupby("item_id")["item_id"].transform("size")
    written = events[["user_id", "item_id", "timestamp"]]
    written = written[events["text"].str.strip() != ""]
    written = written.sort_values("timestamp", kind="stable")
    place = written.groupby("item_id").cumcount()
    used = written[place < (n_rows[written.index] // _SHARE).clip(1, _REVIEWS)]
    used = used.assign(text=events["text"][used.index])
    by_item = used.groupby("item_id", sort=False)
    text = by_item["text"].agg(" ".join)
    pair = pd.MultiIndex.from_frame(events[["user_id", "item_id"]])
    of_users = pair.isin(pd.MultiIndex.from_frame(used[["user_id", "item_id"]]))
    since = events["item_id"].map(by_item["timestamp"].max())
    stays = events["timestamp"].ge(since) & ~of_users  # False where there is no text
    rest = events[stays].reset_index(drop=True)
    text = text[text.index.isin(rest["item_id"])]
    items = pd.DataFrame(
        {"item_id": text.index, "title": text.index, "text": text.array}
    )
    n_items = events["item_id"].nunique()
    said = (
        f"without descriptions, the text of an item is its first reviews, at most "
        f"{_REVIEWS}; {len(events) - len(rest):,} interactions, with these reviews or "
        f"before them, and {n_items - len(items):,} items with nothing else are left "
        f"out"
    )
    return items, rest, said
