"""Filters over the metadata of items: category in, in stock, not seen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys_lib.arrays import BoolArray, IntArray

Value = bool | int | str
Filter = Mapping[str, Value | Sequence[Value]]
EXCLUDE = "exclude"  # in a filter: ids of items that are not wanted, such as seen ones


@dataclass(frozen=True, eq=False)
class ItemFields:
    """Fields of the items' metadata, by which a filter chooses among them.

    Attributes:
        n_items: In the catalogue.
        codes: Field -> value -> codes (n,) of the items with that value.

    >>> genres = ["war", "noir"], ["war"]
    >>> fields = item_fields({"genre": genres, "old": [True, False]})
    >>> fields.mask({"genre": ["noir", "comedy"]}).tolist()
    [True, False]
    >>> fields.mask({"genre": "war", "old": False}).tolist()
    [False, True]
    """

    n_items: int = 0
    codes: Mapping[str, Mapping[Value, IntArray]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What a filter may name."""
        return [*self.codes, EXCLUDE]

    def check(self, wanted: Filter) -> None:
        """Check that a filter can be answered.

        Raises:
            ValueError: If a field is unknown, or a value is of another type than the
                field's; the message names the known fields or the type.
        """
        for name, given in wanted.items():
            if name not in self.names:
                known = ", ".join(self.names)
                raise ValueError(f"a filter's field must be one of {known}; got {name}")
            kind = self.kind(name)
            wrong = [x for x in values_of(given) if type(x) is not kind]
            if wrong:
                got = f"got {type(wrong[0]).__name__} {wrong[0]!r}"
                raise ValueError(f"values of {name} must be {kind.__name__}; {got}")

    def kind(self, name: str) -> type:
        """Type of a field's values: bool, int or str; str of one without values."""
        return type(next(iter(self.codes.get(name, ())), ""))

    def mask(self, wanted: Filter) -> BoolArray:
        """Items (n_items,) that have, of each field, one of the values wanted.

        Args:
            wanted: Field -> value or values. A value that no item has chooses none.
                `EXCLUDE` is left to the caller, which knows the ids.

        Raises:
            ValueError: As of `check`.
        """
        self.check(wanted)
        allowed = np.ones(self.n_items, np.bool_)
        for name, given in wanted.items():
            if name != EXCLUDE:
                of_field = np.zeros(self.n_items, np.bool_)
                for value in values_of(given):
                    of_field[self.codes[name].get(value, [])] = True
                allowed &= of_field
        return allowed


def item_fields(
    columns: Mapping[str, Sequence[Value | Collection[Value]]],
) -> ItemFields:
    """Index the items' metadata by value.

    Args:
        columns: Field -> (n_items,) values, each one or, such as of genres, several;
            those of a field are all bool, all int or all str.

    Raises:
        ValueError: If lengths differ, a field is named "exclude", or types are mixed.
        TypeError: If a value is not bool, int or str.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len({*lengths.values()}) > 1 or EXCLUDE in lengths:
        wanted = f'fields must have one length, and none the name "{EXCLUDE}"'
        raise ValueError(f"{wanted}; got {lengths}")
    codes = {name: _by_value(name, column) for name, column in columns.items()}
    return ItemFields(max(lengths.values(), default=0), codes)


def values_of(given: Value | Collection[Value]) -> Collection[Value]:
    """Values of a filter or an item, which may be a single one."""
    if isinstance(given, str) or not isinstance(given, Collection):
        return [given]
    return given


def _by_value(
    name: str, column: Sequence[Value | Collection[Value]]
) -> dict[Value, IntArray]:
    found: dict[Value, list[int]] = {}
    kinds: set[type] = set()
    for code, item in enumerate(column):
        for value in values_of(item):
            kinds.add(type(value))
            if type(value) not in (bool, int, str):
                got = f"got {type(value).__name__} {value!r}"
                raise TypeError(f"values of {name} must be bool, int or str; {got}")
            found.setdefault(value, []).append(code)
    if len(kinds) > 1:
        got = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"values of {name} must be of one type; got {got}")
    return {value: np.array(codes, np.int64) for value, codes in found.items()}
