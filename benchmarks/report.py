"""Report of the benches: rows with intervals and targets, a table, a figure, a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from recsys_lib import machine, plots
from recsys_lib.metrics.intervals import Interval

HEADER = ("bench", "figure", "measured", "95% interval", "n", "target", "reached", "")
WIDE_INCHES = 8.0


@dataclass(frozen=True)
class Row:
    """One figure of a bench, or the reason why there is none.

    Attributes:
        bench: Its name.
        name: Of the figure.
        value: With its interval; None if it was not measured.
        unit: "x" for a ratio.
        target: Value to reach, if there is one.
        at_most: Whether the target is a ceiling.
        note: Such as its nearest bound, or why it was not run.
    """

    bench: str
    name: str
    value: Interval | None
    unit: str = "x"
    target: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def margin(self) -> float | None:
        """Factor by which the target is passed: 1 just reaches it; None without one.

        >>> Row("b", "n", Interval(2.0, 2.0, 2.0, 1), target=4.0, at_most=True).margin
        2.0
        """
        if self.target is None or self.value is None:
            return None
        ratio = self.value.value / self.target
        return 1 / ratio if self.at_most else ratio

    @property
    def reached(self) -> str:
        """Whether the target is reached: yes, no, or empty without target or figure."""
        if self.margin is None:
            return ""
        return "yes" if self.margin >= 1 else "no"


def not_run(bench: str, name: str, reason: object) -> Row:
    """Make the row of a figure that could not be measured."""
    return Row(bench, name, None, note=f"not run: {reason}")


def exact(value: float, n: int = 1) -> Interval:
    """Make an interval without width, such as of a size or a count."""
    return Interval(float(value), float(value), float(value), n)


def cells(row: Row) -> tuple[str, ...]:
    """Lay one row out under `HEADER`.

    >>> cells(Row("request", "p50", Interval(3.6, 3.5, 3.7, 30), target=3.5))
    ('request', 'p50', '3.60 x', '3.50-3.70', '30', 'at least 3.5 x', 'yes', '')
    """
    measured = spread = n = target = ""
    if row.value is not None:
        measured, n = f"{_short(row.value.value)} {row.unit}".strip(), str(row.value.n)
        if row.value.low < row.value.high:
            spread = f"{_short(row.value.low)}-{_short(row.value.high)}"
    if row.target is not None:
        side = "at most" if row.at_most else "at least"
        target = f"{side} {row.target:,g} {row.unit}".strip()
    return row.bench, row.name, measured, spread, n, target, row.reached, row.note


def line(row: Row) -> str:
    """Lay one row out without a table.

    >>> line(Row("request", "p50", Interval(3.6, 3.5, 3.7, 30), target=3.5))
    'p50: 3.60 x; 3.50-3.70; at least 3.5 x: yes'
    """
    _, name, measured, spread, _, target, reached, note = cells(row)
    parts = measured, spread, target and f"{target}: {reached}", note
    return f"{name}: {'; '.join(filter(None, parts))}"


def markdown(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table that is aligned in a terminal, too."""
    lines = [HEADER, *(cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded) + "\n"


def write(rows: Sequence[Row], folder: Path, **run: Any) -> None:
    """Write results.json, table.md and, if any row has a target, targets.svg.

    Args:
        rows: In the order of the table.
        folder: Made if needed.
        **run: More facts about the run to save.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = asdict(machine.describe_machine())
    found = [asdict(row) | {"reached": row.reached} for row in rows]
    results = {**run, "machine": described, "rows": found}
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    (folder / "table.md").write_text(markdown(rows))
    if any(row.margin for row in rows):
        draw(rows, folder / "targets.svg")


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw each figure as a multiple of its target, which is reached right of 1."""
    plots.use_style()
    aimed = [row for row in rows if row.margin is not None]
    table = pd.DataFrame(
        [_margins(row) for row in aimed],
        index=[f"{row.bench}: {row.name}" for row in aimed],
        columns=["margin", "margin_low", "margin_high"],
    )
    label = "measured / required (right of the line: reached)"
    axes = plots.intervals(table, value="margin", label=label, reference=1)
    axes.set_xscale("log")
    plt.gcf().set_size_inches(WIDE_INCHES, 1 + 0.3 * len(aimed))  # the names are long
    plt.gcf().savefig(file, metadata={"Date": None})
    plt.close("all")


def _margins(row: Row) -> list[float]:
    assert row.value is not None
    assert row.target is not None
    ends = [row.value.value, row.value.low, row.value.high]
    if not row.at_most:
        return [end / row.target for end in ends]
    middle, low, high = (row.target / end for end in ends)
    return [middle, high, low]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
