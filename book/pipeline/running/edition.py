"""A reader's edition: the book run on the reader's data, with notes on what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from book.pipeline.chapters import NEEDS, BookError, Chapter
from recsys_lib.data.dataset import Dataset
from recsys_lib.data.own import LARGEST_ITEMS, LARGEST_USERS, lacks, load_dataset

_LOADERS = {
    "load_movielens": "MovieLens",
    "load_clothing_reviews": "the clothing reviews",
}


def own_data(parameters: Mapping[str, object]) -> Dataset | None:
    """Load the folder that the parameter `dataset` names; None when there is none.

    Raises:
        BookError: If a file is missing or a row of it is wrong, with the line.
    """
    folder = str(parameters.get("dataset") or "")
    return _loaded(folder) if folder else None


@cache
def _loaded(folder: str) -> Dataset:
    try:
        return load_dataset(folder)
    except (OSError, ValueError) as error:
        raise BookError(f"DATASET: {error}") from error


def fitting(chapters: Sequence[Chapter], own: Dataset) -> list[Chapter]:
    """Return the chapters that can run on the reader's data, with what these lack.

    Raises:
        BookError: If none can.
    """
    able = [
        replace(chapter, lacks=lacks(own))
        for chapter in chapters
        if "dataset" in chapter.parameters
    ]
    if not able:
        raise BookError(f"DATASET: {left_out(chapters)}")
    return able


def left_out(chapters: Sequence[Chapter]) -> str:
    """Name the chapters that cannot run on other data, and which data each needs."""
    reasons = []
    for chapter in chapters:
        if "dataset" not in chapter.parameters:
            code = "\n".join(chapter.code)
            needed = [data for loader, data in _LOADERS.items() if loader in code]
            why = f"needs {' and '.join(needed)}" if needed else "takes no other data"
            reasons.append(f"chapter {int(chapter.number)} {why}")
    return f"left out: {'; '.join(reasons)}" if reasons else "no chapter is left out"


def note(own: Dataset, chapters: Sequence[Chapter]) -> str:
    """The box at the top of each page of the edition."""
    missing = [why for need, why in NEEDS.items() if need in lacks(own)]
    if "metadata" in lacks(own):
        missing.append("the control made of tags and years has less to go by")
    if any("load_clothing_reviews" in "".join(c.code) for c in chapters):
        missing.append("parts about clothing reviews still use these, for their labels")
    if own.n_items == LARGEST_ITEMS or own.n_users == LARGEST_USERS:
        missing.append(
            "of a larger set, the most rated items and a random sample of the users"
        )
    lines = "\n".join(f"- {line}" for line in [*missing, left_out(chapters)])
    return f"""\
:::{{admonition}} This edition was run on your data: {own.name}
:class: warning
{own.n_users:,} users, {own.n_items:,} items, {len(own.interactions):,} interactions.
The numbers, figures and tables are of these data. The sentences around them were
written for MovieLens: read "item" for "film", and where a sentence and a number
disagree, trust the number. What your data lack, or what cannot run on them:

{lines}
:::
"""
