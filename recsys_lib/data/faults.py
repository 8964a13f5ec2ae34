"""Bad rows of a reader's tables: refused together, or left out and counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib.arrays import BoolArray

_SHOWN = 10


class Faults:
    """Collects the bad rows of tables, so that one message has their number.

    Args:
        skip: Whether bad rows are left out. Otherwise `settle` raises an error.

    Attributes:
        n_rows: Number of bad rows, each counted for the first rule that it breaks.

    >>> faults = Faults(skip=True)
    >>> ages = pd.Series(["7", "x"], index=[2, 3], name="age")
    >>> faults.good(Path("a.csv"), ages, ages == "x", "an age").tolist()
    [True, False]
    >>> faults.listed()
    "1 bad row left out: a.csv, line 3: must have an age; got 'x' in column age"
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.n_rows = 0
        self._shown: list[tuple[Path, str]] = []

    def add(self, file: Path, line: int, fault: str) -> None:
        """Note one bad row; only the first ten are listed."""
        self.n_rows += 1
        if len(self._shown) < _SHOWN:
            self._shown.append((file, f", line {line}: {fault}"))

    def take(self, other: "Faults") -> None:
        """Add what another has noted."""
        self.n_rows += other.n_rows
        self._shown = [*self._shown, *other._shown][:_SHOWN]

    def good(
        self, file: Path, values: "pd.Series[Any]", bad: Any, rule: str
    ) -> BoolArray:
        """Note the bad rows of a table from `tables.read_table`.

        Args:
            file: That the table was read from.
            values: One column of it, with its name and the lines as index.
            bad: Where the rule is broken.
            rule: What each row must have.

        Returns:
            (n_rows,) True where the rule holds.
        """
        broken = np.asarray(bad, dtype=bool)
        place, where = values.index.name or "line", np.flatnonzero(broken)
        for row in where[: _SHOWN - len(self._shown)]:
            got = f"{values.iloc[row]!r} in column {values.name}"
            fault = f", {place} {values.index[row]}: must have {rule}; got {got}"
            self._shown.append((file, fault))
        self.n_rows += where.size
        return ~broken

    def settle(self) -> None:
        """Refuse the bad rows, unless they are left out.

        Raises:
            ValueError: With the first bad row, and the number of all.
        """
        if self.n_rows and not self.skip:
            more, option = self.n_rows - 1, "SKIP_BAD_ROWS=1 leaves bad rows out"
            others = f"and {more:,} more bad row{'s' * (more > 1)}; " if more else ""
            raise ValueError(f"{''.join(map(str, self._shown[0]))} ({others}{option})")

    def listed(self) -> str:
        """The number of bad rows that are left out, and the first ten of them."""
        if not self.n_rows:
            return ""
        rows = "row" if self.n_rows == 1 else "rows"
        first = ", the first" if self.n_rows > len(self._shown) else ""
        shown = "; ".join(f"{file.name}{fault}" for file, fault in self._shown)
        return f"{self.n_rows:,} bad {rows} left out{first}: {shown}"
