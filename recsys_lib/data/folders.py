"""Which files of a reader's folder hold its items and its interactions."""

from collections.abc import Sequence
from pathlib import Path

from recsys_lib.data.files import PACKED

_ITEMS = ("items", "item", "products", "catalog", "catalogue", "articles", "meta")
_EVENTS = ("interactions", "inter", "events", "ratings", "reviews", "clicks")
_OTHERS = ("users", "user", "customers", "readme", "license")
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".txt")
_RECBOLE = {".inter": "events", ".item": "items", ".user": "other"}


def find_tables(folder: Path) -> list[Path]:
    """Find the table of items and that of interactions by their names.

    Args:
        folder: Its files are called like `items.csv` and `interactions.csv` (products,
            catalog, ..., events, ratings, ...), `meta_X` and X as Amazon's reviews are,
            or `X.item` and `X.inter` as RecBole's. Where one of the two is found and
            one other table is there, this is the other one.

    Returns:
        The tables of items and of interactions, or the only table; [] if there is none.

    Raises:
        ValueError: If several files could be one of them.
    """
    files = (
        sorted(x for x in folder.iterdir() if x.is_file()) if folder.is_dir() else []
    )
    kinds = {file: _kind(file) for file in files}
    items, events, rest = (
        [file for file in files if kinds[file] == kind]
        for kind in ("items", "events", "table")
    )
    for found, usual in ((items, "items.csv"), (events, "interactions.csv")):
        if len(found) > 1:
            _refuse(folder, usual, found)
    if not (items and events) and rest:
        if len(rest) > 1:
            _refuse(folder, "interactions.csv" if items else "items.csv", rest)
        items, events = (rest, events) if events else (items, rest)
    return [*items, *events]


def usual_names() -> str:
    """The names of tables, for a message."""
    both = f"{', '.join(_ITEMS)}; {', '.join(_EVENTS)}"
    endings = ", ".join([*_TABLES, *list(_RECBOLE)[:2]])
    return f"{both}; {endings}, also {' or '.join(PACKED)}"


def is_amazon(items: Path) -> bool:
    """Whether a table of items is the metadata of Amazon's reviews, by its name."""
    return items.name.lower().startswith("meta_")


def _kind(file: Path) -> str:
    """Kind of a file by its name: "items", "events", "table" (of either), "other"."""
    stem, *suffixes = file.name.lower().split(".")
    endings = [f".{x}" for x in suffixes]
    if recbole := next((_RECBOLE[x] for x in endings if x in _RECBOLE), ""):
        return recbole
    if stem in _OTHERS or not any(x in _TABLES for x in endings):
        return "other"
    if stem in _ITEMS or is_amazon(file):
        return "items"
    if stem in _EVENTS or stem.startswith("reviews_"):
        return "events"
    return "other" if ".txt" in endings else "table"


def _refuse(folder: Path, usual: str, found: Sequence[Path]) -> None:
    got = ", ".join(file.name for file in found[:8])
    raise ValueError(f"{folder} must hold one table like {usual}; got {got}")
