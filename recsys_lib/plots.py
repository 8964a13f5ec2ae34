"""The book's figures: small enough for a phone, one message each, safe for any eyes.

Figures are SVG with real text, so that they stay sharp, and carry no date, so that
equal results give equal files. The page inverts them in dark mode.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox
from matplotlib_inline.backend_inline import set_matplotlib_formats

from recsys_lib.metrics.intervals import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE_INCHES = (4.2, 2.9)
_ABOVE: dict[str, Any] = {
    **{"loc": "outside upper center", "ncols": 3, "columnspacing": 1},
    **{"handletextpad": 0.4, "handlelength": 1.2},
}
_NAME_PLACES = [  # right, left, then above and below on either side
    *((6, 0, "left"), (-6, 0, "right"), (4, 8, "left"), (4, -8, "left")),
    *((-4, 8, "right"), (-4, -8, "right"), (0, 10, "center"), (0, -10, "center")),
    *((0, 18, "center"), (0, -18, "center")),
]


def use_style() -> None:
    """Set the book's style; call it once at the top of a chapter."""
    sns.set_theme(
        context="paper",
        style="ticks",
        palette=list(COLOURS),
        rc={
            "figure.figsize": SIZE_INCHES,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.labelsize": 10,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.6,
            "svg.fonttype": "none",
            "svg.hashsalt": "recsys_lib",
            "font.family": "sans-serif",
        },
    )
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata={"Date": None}, bbox_inches=None)


def trade_off(
    table: pd.DataFrame,
    *,
    x: str,
    y: str | Mapping[str, str],
    x_label: str,
    y_label: str = "",
    log_x: bool = True,
) -> Axes:
    """Scatter one point for each row, named by the index: what is paid, what is got.

    Args:
        table: Index: names. Columns `x` and `y`; `{x}_low`, `{x}_high`, `{y}_low`,
            `{y}_high` draw intervals where they are there; `kind` chooses the colour.
        x: Column of the cost.
        y: Column of the gain; or column -> label, for panels one above the other. A
            row without a value stays out of a panel.
        x_label: With its unit.
        y_label: With its unit, of a single column.
        log_x: Whether the cost spans orders of magnitude.

    Returns:
        The axes, of the lowest panel where there are several.
    """
    panels = {y: y_label} if isinstance(y, str) else dict(y)
    size = (SIZE_INCHES[0], 0.2 + 2.9 * len(panels))
    figure, grid = plt.subplots(len(panels), sharex=True, squeeze=False, figsize=size)
    for axes, (column, label) in zip(grid[:, 0], panels.items(), strict=True):
        rows = table[table[column].notna()]
        _scatter_kinds(axes, rows, x, column)
        axes.margins(x=0.2, y=0.1)
        if log_x:
            _log_scale(axes, "x")
        _finish(axes, x_label if axes is grid[-1, 0] else "", label, legend=False)
    if table.get("kind", pd.Series(dtype=object)).nunique() > 1:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), **_ABOVE)
    figure.draw_without_rendering()  # settles where the names can go
    for axes, column in zip(grid[:, 0], panels, strict=True):
        rows = table[table[column].notna()]
        name_points(axes, list(rows.index), rows[x], rows[column])
    lowest: Axes = grid[-1, 0]
    return lowest


def intervals(
    table: pd.DataFrame, *, value: str, label: str, reference: float | None = None
) -> Axes:
    """Draw one dot with its interval for each row, top to bottom.

    Args:
        table: Index: names; rows of one name share a line. Columns `value`,
            `{value}_low` and `{value}_high`; `kind` chooses the colour.
        value: Column to draw.
        label: Of the axis, with the unit.
        reference: Where a dashed line marks chance, or no difference.
    """
    names = list(dict.fromkeys(table.index))
    kinds = table["kind"] if "kind" in table else pd.Series("", index=table.index)
    height = 0.9 + 0.27 * len(names) + 0.25 * (kinds.nunique() > 1)
    _, axes = plt.subplots(figsize=(SIZE_INCHES[0], height))
    for number, kind in enumerate(dict.fromkeys(kinds)):
        rows = table[(kinds == kind).to_numpy()]
        lines = [len(names) - 1 - names.index(name) for name in rows.index]
        errors = {"xerr": _errors(rows, value), "label": kind}
        _dots(axes, rows[value], lines, number, **errors)
    axes.set_yticks(range(len(names))[::-1], [str(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    if reference is not None:
        axes.axvline(reference, color=COLOURS[-1], linestyle="--", linewidth=1)
    if kinds.nunique() > 1:
        axes.figure.legend(*axes.get_legend_handles_labels(), **_ABOVE)
    _finish(axes, label, "", legend=False)
    return axes


def ecdf(
    samples: Mapping[str, npt.ArrayLike], *, x_label: str, marks: Sequence[float] = ()
) -> Axes:
    """Draw the share of samples at or below each value, a step line for each name.

    Args:
        samples: Name -> (n,) values.
        x_label: With its unit.
        marks: Shares, such as .5 and .99, marked by a thin line.
    """
    _, axes = plt.subplots()
    for number, (name, values) in enumerate(samples.items()):
        shares = np.linspace(0, 1, 401)
        steps = np.quantile(np.asarray(values, dtype=float), shares)
        axes.plot(steps, shares, color=COLOURS[number], label=name)
    for mark in marks:
        axes.axhline(mark, color=COLOURS[-1], linestyle=":", linewidth=0.8)
        side = "bottom" if mark == max(marks) else "top"
        at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": side}
        axes.annotate(f"p{100 * mark:g}", (1.01, mark), fontsize=8, **at)
    _log_scale(axes, "x")
    if len(samples) > 1:
        axes.figure.legend(*axes.get_legend_handles_labels(), **_ABOVE)
    _finish(axes, x_label, "share of requests", legend=False)
    return axes


def lines(
    series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    predicted: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    log: str = "",
) -> Axes:
    """Draw measured series as marked lines and predicted ones as dashed lines.

    Args:
        series: Name -> (x, y), measured.
        x_label: With its unit.
        y_label: With its unit.
        predicted: Name -> (x, y); a name found in `series` shares its colour.
        log: Axes on a logarithmic scale: "", "x", "y" or "xy".
    """
    _, axes = plt.subplots()
    names = list(dict.fromkeys([*series, *(predicted or {})]))
    for name, (x, y) in (predicted or {}).items():
        label = f"{name}, predicted" if name in series else name
        colour = COLOURS[names.index(name)]
        axes.plot(x, y, linestyle="--", color=colour, label=label, linewidth=1.2)
    for name, (x, y) in series.items():
        number = names.index(name)
        style: dict[str, Any] = {"linestyle": "" if name in (predicted or {}) else "-"}
        axes.plot(
            x,
            y,
            marker=MARKERS[number],
            color=COLOURS[number],
            label=name,
            ms=4,
            **style,
        )
    for axis in log:
        _log_scale(axes, axis)
    _finish(axes, x_label, y_label, legend=len(names) > 1)
    return axes


def stacked(table: pd.DataFrame, *, label: str) -> Axes:
    """Draw one horizontal bar for each row, parted into its columns.

    Args:
        table: Index: names of the bars. Columns: parts, in the order they happen.
        label: Of the axis, with the unit.
    """
    height = 1.3 + 0.36 * len(table)
    _, axes = plt.subplots(figsize=(SIZE_INCHES[0], height))
    left = np.zeros(len(table))
    names = [str(name) for name in table.index]
    for number, part in enumerate(table.columns):
        width = table[part].to_numpy(dtype=float)
        axes.barh(names, width, left=left, color=COLOURS[number], label=str(part))
        left += width
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    _finish(axes, label, "", legend=False)
    return axes


def _errors(rows: pd.DataFrame, column: str) -> npt.NDArray[np.float64] | None:
    if f"{column}_low" not in rows:
        return None
    low = rows[column] - rows[f"{column}_low"]
    high = rows[f"{column}_high"] - rows[column]
    ends: npt.NDArray[np.float64] = np.nan_to_num(np.array([low, high], dtype=float))
    return ends.clip(min=0)


def _scatter_kinds(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw the points, a colour and a marker for each value of `kind`."""
    kinds = table["kind"] if "kind" in table else pd.Series("", index=table.index)
    for number, kind in enumerate(dict.fromkeys(kinds)):
        rows = table[kinds == kind]
        errors = {"xerr": _errors(rows, x), "yerr": _errors(rows, y)}
        _dots(axes, rows[x], rows[y], number, label=kind, **errors)


def _dots(axes: Axes, x: Any, y: Any, number: int, **options: Any) -> None:
    """Draw the points of one kind, with their intervals."""
    look: dict[str, Any] = {"fmt": MARKERS[number], "color": COLOURS[number], "ms": 4.5}
    axes.errorbar(x, y, **look, capsize=2, elinewidth=1, **options)


def name_points(axes: Axes, names: Sequence[Any], x: Any, y: Any) -> None:
    """Write each name beside its point, where it covers least of what is there."""
    points = axes.transData.transform(np.column_stack([x, y]))
    taken = [Bbox([point - 4, point + 4]) for point in points]
    for name, at in zip(names, zip(x, y, strict=True), strict=True):
        text = axes.annotate(str(name), at, (0, 0), textcoords="offset points")
        text.set(fontsize=8, va="center")
        best = min(_NAME_PLACES, key=lambda place: _covered(text, place, axes, taken))
        _covered(text, best, axes, taken)
        taken.append(text.get_window_extent())


def _covered(text: Any, place: Any, axes: Axes, taken: Sequence[Bbox]) -> float:
    """Put a name in a place; return the area that it covers or that sticks out."""
    text.xyann, side = place[:2], place[2]
    text.set_ha(side)
    box = text.get_window_extent()
    inside = Bbox.intersection(box, axes.bbox)
    shared = [Bbox.intersection(box, other) for other in taken]
    outside = _area(box) - (_area(inside) if inside else 0)
    return 3 * outside + sum(_area(part) for part in shared if part)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)


def _finish(axes: Axes, x_label: str, y_label: str, *, legend: bool) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_axisbelow(True)
    if legend:
        axes.legend()
    sns.despine(ax=axes)


def _log_scale(axes: Axes, side: str) -> None:
    """Make one axis logarithmic; on a short one name also 2 and 5 of each decade."""
    getattr(axes, f"set_{side}scale")("log")
    axis = getattr(axes, f"{side}axis")
    low, high = axis.get_view_interval()
    steps = (1.0, 2.0, 5.0) if high < 60 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(_plain_number))
    axis.set_minor_formatter(NullFormatter())


def _plain_number(value: float, _position: int | None = None) -> str:
    """Tick label without powers of ten: 0.1, 20, 5,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def tabulate(found: Mapping[Any, Interval], column: str) -> pd.DataFrame:
    """Lay out intervals as the table that `intervals` and `trade_off` draw.

    Args:
        found: Name -> its interval; or (name, kind) -> its interval.
        column: Name of the column of values.

    Returns:
        Index: names. Columns `column`, `{column}_low`, `{column}_high`; before them
        `kind` where the keys have one.

    >>> tabulate({"EASE": Interval(0.5, 0.4, 0.6, 9)}, "auc")
          auc  auc_low  auc_high
    EASE  0.5      0.4       0.6
    """
    rows = [[x.value, x.low, x.high] for x in found.values()]
    columns = [column, f"{column}_low", f"{column}_high"]
    table = pd.DataFrame(rows, pd.Index(list(found)), columns)
    if table.index.nlevels == 1:
        return table
    return table.rename_axis(["name", "kind"]).reset_index("kind")
