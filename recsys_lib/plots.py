"""The book's figures: legible on a phone, in colours safe for colour-blind readers.

Figures are SVG with text as text, so that they stay sharp, and without a date, so that
equal results give equal files. The page inverts them in dark mode.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_lib.arrays import Float64Array
from recsys_lib.extras import needs
from recsys_lib.metrics.intervals import Interval

with needs("book"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from IPython import get_ipython
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    from matplotlib.transforms import Bbox
    from matplotlib_inline.backend_inline import set_matplotlib_formats


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE_INCHES = (4.2, 2.9)
_Place = tuple[int, int, Literal["left", "center", "right"]]
_NAME_PLACES: tuple[_Place, ...] = (  # of a name: points from its dot, alignment
    (6, 0, "left"),
    (-6, 0, "right"),
    (4, 8, "left"),
    (4, -8, "left"),
    (-4, 8, "right"),
    (-4, -8, "right"),
    (0, 10, "center"),
    (0, -10, "center"),
    (0, 18, "center"),
    (0, -18, "center"),
)


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
    """Draw gain against cost: one point for each row, with its name.

    Args:
        table: Index: names. Columns `x` and `y`; optional columns `{x}_low`,
            `{x}_high`, `{y}_low`, `{y}_high` for intervals and `kind` for the colour.
        x: Column of the cost.
        y: Column of the gain; or column -> label, for one panel each. A panel leaves
            out rows without a value.
        x_label: Label with the unit.
        y_label: Label with the unit, if `y` is one column.
        log_x: Whether the cost has a logarithmic axis.

    Returns:
        The axes; those of the lowest panel if there are several.
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
    if _kinds(table).nunique() > 1:
        _legend_above(grid[0, 0])
    figure.draw_without_rendering()  # fixes the layout, which places the names
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
        table: Index: names; rows with the same name share a line. Columns `value`,
            `{value}_low` and `{value}_high`; optional column `kind` for the colour.
        value: Column to draw.
        label: Of the axis, with the unit.
        reference: Position of a dashed line, for chance or no difference.
    """
    names = list(dict.fromkeys(table.index))
    kinds = _kinds(table)
    height = 0.9 + 0.27 * len(names) + 0.25 * (kinds.nunique() > 1)
    _, axes = plt.subplots(figsize=(SIZE_INCHES[0], height))
    for number, kind in enumerate(dict.fromkeys(kinds)):
        rows = table[(kinds == kind).to_numpy()]
        lines = [len(names) - 1 - names.index(name) for name in rows.index]
        _dots(axes, rows[value], lines, number, kind, x_errors=_errors(rows, value))
    axes.set_yticks(range(len(names))[::-1], [str(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    if reference is not None:
        axes.axvline(reference, color=COLOURS[-1], linestyle="--", linewidth=1)
    if kinds.nunique() > 1:
        _legend_above(axes)
    _finish(axes, label, "", legend=False)
    return axes


def ecdf(
    samples: Mapping[str, npt.ArrayLike], *, x_label: str, marks: Sequence[float] = ()
) -> Axes:
    """Draw the share of samples at or below each value, one line for each name.

    Args:
        samples: Name -> (n,) values.
        x_label: Label with the unit.
        marks: Shares, such as .5 and .99, to mark by a thin line.
    """
    _, axes = plt.subplots()
    for number, (name, values) in enumerate(samples.items()):
        shares = np.linspace(0, 1, 401)
        steps = np.quantile(np.asarray(values, dtype=float), shares)
        axes.plot(steps, shares, color=COLOURS[number], label=name)
    for mark in marks:
        axes.axhline(mark, color=COLOURS[-1], linestyle=":", linewidth=0.8)
        side = "bottom" if mark == max(marks) else "top"
        axes.annotate(
            f"p{100 * mark:g}",
            (1.01, mark),
            xycoords=("axes fraction", "data"),
            va=side,
            fontsize=8,
        )
    _log_scale(axes, "x")
    if len(samples) > 1:
        _legend_above(axes)
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
        x_label: Label with the unit.
        y_label: Label with the unit.
        predicted: Name -> (x, y); a name of `series` gets the same colour.
        log: Axes on a logarithmic scale: "", "x", "y" or "xy".
    """
    _, axes = plt.subplots()
    predicted = predicted or {}
    names = list(dict.fromkeys([*series, *predicted]))
    for name, (x, y) in predicted.items():
        label = f"{name}, predicted" if name in series else name
        colour = COLOURS[names.index(name)]
        axes.plot(x, y, linestyle="--", color=colour, label=label, linewidth=1.2)
    for name, (x, y) in series.items():
        number = names.index(name)
        axes.plot(
            x,
            y,
            linestyle="" if name in predicted else "-",
            marker=MARKERS[number],
            color=COLOURS[number],
            label=name,
            ms=4,
        )
    for axis in log:
        _log_scale(axes, axis)
    _finish(axes, x_label, y_label, legend=len(names) > 1)
    return axes


def stacked(table: pd.DataFrame, *, label: str) -> Axes:
    """Draw one horizontal bar for each row, made of its columns.

    Args:
        table: Index: names of the bars. Columns: parts in order.
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


def name_points(axes: Axes, names: Sequence[Any], x: Any, y: Any) -> None:
    """Write each name beside its point, in the place that covers least."""
    points = axes.transData.transform(np.column_stack([x, y]))
    taken = [Bbox([point - 4, point + 4]) for point in points]
    for name, at in zip(names, zip(x, y, strict=True), strict=True):
        text = axes.annotate(str(name), at, (0, 0), textcoords="offset points")
        text.set(fontsize=8, va="center")
        best = min(_NAME_PLACES, key=lambda place: _covered(text, place, axes, taken))
        _covered(text, best, axes, taken)
        taken.append(text.get_window_extent())


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


def _covered(
    text: Annotation, place: _Place, axes: Axes, taken: Sequence[Bbox]
) -> float:
    """Move a name to a place; return the area it covers plus thrice that outside."""
    text.xyann, side = place[:2], place[2]
    text.set(ha=side)
    box = text.get_window_extent()
    inside = Bbox.intersection(box, axes.bbox)
    shared = [Bbox.intersection(box, other) for other in taken]
    outside = _area(box) - (_area(inside) if inside else 0)
    return 3 * outside + sum(_area(part) for part in shared if part)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)


def _kinds(table: pd.DataFrame) -> pd.Series:
    """The kind of each row; the same for all in a table without kinds."""
    return table["kind"] if "kind" in table else pd.Series("", index=table.index)


def _errors(rows: pd.DataFrame, column: str) -> Float64Array | None:
    """Distances (2, n) from the values to both ends; None without intervals."""
    if f"{column}_low" not in rows:
        return None
    low = rows[column] - rows[f"{column}_low"]
    high = rows[f"{column}_high"] - rows[column]
    ends: Float64Array = np.nan_to_num(np.array([low, high], dtype=float))
    return ends.clip(min=0)


def _scatter_kinds(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw the points, with a colour and a marker for each kind."""
    kinds = _kinds(table)
    for number, kind in enumerate(dict.fromkeys(kinds)):
        rows = table[kinds == kind]
        errors = _errors(rows, x), _errors(rows, y)
        _dots(axes, rows[x], rows[y], number, kind, *errors)


def _dots(
    axes: Axes,
    x: Any,
    y: Any,
    number: int,
    kind: str,
    x_errors: Float64Array | None = None,
    y_errors: Float64Array | None = None,
) -> None:
    """Draw the points of one kind, with their intervals."""
    axes.errorbar(
        x,
        y,
        xerr=x_errors,
        yerr=y_errors,
        fmt=MARKERS[number],
        color=COLOURS[number],
        label=kind,
        ms=4.5,
        capsize=2,
        elinewidth=1,
    )


def _legend_above(axes: Axes) -> None:
    """Name the kinds of one panel in a legend above the whole figure."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        columnspacing=1,
        handletextpad=0.4,
        handlelength=1.2,
    )


def _finish(axes: Axes, x_label: str, y_label: str, *, legend: bool) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_axisbelow(True)
    if legend:
        axes.legend()
    sns.despine(ax=axes)


def _log_scale(axes: Axes, side: str) -> None:
    """Make one axis logarithmic; label 2 and 5 of each decade, too, if it is short."""
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
