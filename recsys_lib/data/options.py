"""What a reader says about their own data, in the environment of the process."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys_lib.data.columns import parse_columns

PREFIX = "RECSYS_"  # of the variables in the environment
NAMES = ("COLUMNS", "LIKED", "REPEATS", "NOUN", "SKIP_BAD_ROWS")
REPEATS = ("keep", "first", "last", "count")
_THRESHOLD = re.compile(r"rating\s*>=\s*(-?\d+(?:\.\d+)?)")
_EVENTS = re.compile(r"event\s*=\s*([^=<>]+)")
_NOUN = re.compile(r"[^\W\d_]+(?:[ -][^\W\d_]+)*(?:/[^\W\d_]+(?:[ -][^\W\d_]+)*)?")


@dataclass(frozen=True)
class Options:
    """How a reader's data are read.

    Attributes:
        columns: Role -> column, where names are not the usual ones (COLUMNS).
        threshold: Lowest rating that counts as liked; None for the median (LIKED).
        events: Events that count as liked, rating 1; others get rating 0 (LIKED).
        repeats: What becomes of several interactions of a user with an item: all stay
            ("keep"), the "first" or "last" one stays, or one whose rating is their
            number ("count").
        noun: What an item is called, in the singular.
        nouns: The plural.
        skip_bad_rows: Whether bad rows are left out, counted and listed.
        given: Option -> its text, for those that are set.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None
    events: tuple[str, ...] = ()
    repeats: str = "keep"
    noun: str = "item"
    nouns: str = "items"
    skip_bad_rows: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> dict[str, str]:
        """Hash of each option that is set: data read in another way are other data."""
        texts = dict(self.given)
        if self.columns:
            pairs = (f"{role}={name}" for role, name in sorted(self.columns.items()))
            texts["COLUMNS"] = " ".join(pairs)
        return {k: hashlib.sha256(v.encode()).hexdigest() for k, v in texts.items()}


def read_options(environment: Mapping[str, str] | None = None) -> Options:
    """Read the options from RECSYS_COLUMNS, RECSYS_LIKED, ... of the environment.

    Args:
        environment: By default that of the process.

    Raises:
        ValueError: If an option cannot be read; it names the option.

    >>> read_options({"RECSYS_LIKED": "rating>=4"}).threshold
    4.0
    """
    given = os.environ if environment is None else environment
    texts = {name: given.get(PREFIX + name, "").strip() for name in NAMES}
    threshold, events = _liked(texts["LIKED"])
    repeats = texts["REPEATS"] or "keep"
    if repeats not in REPEATS:
        wanted = f"one of {', '.join(REPEATS)}"
        raise ValueError(f"REPEATS must be {wanted}; got {repeats!r}")
    skip = texts["SKIP_BAD_ROWS"] or "0"
    if skip not in ("0", "1"):
        raise ValueError(f"SKIP_BAD_ROWS must be 0 or 1; got {skip!r}")
    noun, nouns = _nouns(texts["NOUN"] or "item")
    return Options(
        columns=parse_columns(texts["COLUMNS"]),
        threshold=threshold,
        events=events,
        repeats=repeats,
        noun=noun,
        nouns=nouns,
        skip_bad_rows=skip == "1",
        given={
            k: v for k, v in texts.items() if v and (k, v) != ("SKIP_BAD_ROWS", "0")
        },
    )


def _liked(text: str) -> tuple[float | None, tuple[str, ...]]:
    if not text:
        return None, ()
    if found := _THRESHOLD.fullmatch(text):
        return float(found[1]), ()
    if found := _EVENTS.fullmatch(text):
        events = tuple(x.strip() for x in found[1].split("|"))
        if all(events):
            return None, events
    wanted = "rating>=<number> or event=<name>|<name>"
    raise ValueError(f"LIKED must read {wanted}; got {text!r}")


def _nouns(text: str) -> tuple[str, str]:
    """A noun and its plural: "box" or, where the usual rule is wrong, "child/children".

    >>> _nouns("box"), _nouns("story"), _nouns("child/children")
    (('box', 'boxes'), ('story', 'stories'), ('child', 'children'))
    """
    if len(text) > 40 or not _NOUN.fullmatch(text):
        wanted = "a word such as garment, or child/children"
        raise ValueError(f"NOUN must be {wanted}; got {text!r}")
    noun, _, plural = text.partition("/")
    if plural:
        return noun, plural
    if re.search(r"[^aeiou]y$", noun):
        return noun, f"{noun[:-1]}ies"
    return noun, f"{noun}es" if re.search(r"(s|x|z|ch|sh)$", noun) else f"{noun}s"
