"""The book's figures: legible on a phone, in colours safe for colour-blind readers.

Figures are SVG with text as text, so that they stay sharp, and without a date, so that
equal results give equal files. `layout` fits each to two widths, and the press
recolours both for the dark page.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_lib.arrays import Float64Array
from recsys_lib.extras import needs
from recsys_lib.layout import (
    SIZE_INCHES,
    TEXT_POINTS,
    lay_out,
    legend_above,
    log_scale,
    name_ends,
    wide_and_narrow,
)
from recsys_lib.metrics.intervals import Interval
from recsys_lib.point_names import name_points

with needs("book"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from IPython import get_ipython
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib_inline.backend_inline import set_matplotlib_formats


# Each has contrast 4.5 or more on white; the press has an equivalent for dark pages.
COLOURS = ("#0072b2", "#bf4e00", "#00785a", "#aa3f86", "#4a3a9e", "#806000", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


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
            "axes.titlesize": 10,
            "legend.title_fontsize": 9,
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
        bundles = get_ipython().display_formatter.mimebundle_formatter
        bundles.for_type(Figure, wide_and_narrow)


def trade_off(
    table: pd.DataFrame,
    *,
    x: str,
    y: str | Mapping[str, str],
    x_label: str,
    y_label: str = "",
    log_x: bool = True,
    log_y: bool = False,
    panel_inches: float = 3.0,
) -> Axes:
    """Draw gain against cost: one point for each row, with its name.

    Args:
        table: Index: names. Columns `x` and `y`; optional columns `{x}_low`,
            `{x}_high`, `{y}_low`, `{y}_high` for intervals, `kind` for the colour, and
            `named` (bool) where only some points get their name.
        x: Column of the cost.
        y: Column of the gain; or column -> label, for one panel each. A panel leaves
            out rows without a value.
        x_label: Label with the unit.
        y_label: Label with the unit, if `y` is one column.
        log_x: Whether the cost has a logarithmic axis.
        log_y: Whether the gain has one.
        panel_inches: Height of a panel.

    Returns:
        The axes; those of the lowest panel if there are several.
    """
    panels = {y: y_label} if isinstance(y, str) else dict(y)
    kinds = list(dict.fromkeys(_kinds(table)))
    size = (SIZE_INCHES[0], 0.4 + panel_inches * len(panels))
    figure, grid = plt.subplots(len(panels), sharex=True, squeeze=False, figsize=size)
    for axes, (column, label) in zip(grid[:, 0], panels.items(), strict=True):
        rows = table[table[column].notna()]
        _scatter_kinds(axes, rows, x, column, kinds)
        axes.margins(x=0.15, y=0.12)
        if log_x:
            log_scale(axes, "x")
        if log_y:
            log_scale(axes, "y")
        _finish(axes, x_label if axes is grid[-1, 0] else "", label, legend=False)
    if len(kinds) > 1:
        legend_above(*grid[:, 0], order=kinds)
    for axes, column in zip(grid[:, 0], panels, strict=True):
        rows = table[table[column].notna()]
        rows = rows[rows["named"]] if "named" in rows else rows
        name_points(axes, list(rows.index), rows[x], rows[column])
    lay_out(figure, SIZE_INCHES[0])
    lowest: Axes = grid[-1, 0]
    return lowest


def intervals(
    table: pd.DataFrame,
    *,
    value: str,
    label: str,
    reference: float | None = None,
    sort: bool = False,
) -> Axes:
    """Draw one dot with its interval for each row, top to bottom.

    Args:
        table: Index: names; rows with the same name share a line. Columns `value`,
            `{value}_low` and `{value}_high`; optional column `kind` for the colour.
        value: Column to draw.
        label: Of the axis, with the unit.
        reference: Position of a dashed line, for chance or no difference.
        sort: Whether the largest values stand at the top, within each kind if each name
            has only one; otherwise the order of the table has a meaning.
    """
    if sort:
        table = _sorted(table, value)
    names = list(dict.fromkeys(table.index))
    kinds = _kinds(table)
    shown = [textwrap.fill(str(name), 26) for name in names]
    n_lines = sum(1 + 0.5 * name.count("\n") for name in shown)
    height = 0.9 + 0.27 * n_lines + 0.25 * (kinds.nunique() > 1)
    _, axes = plt.subplots(figsize=(SIZE_INCHES[0], height))
    for number, kind in enumerate(dict.fromkeys(kinds)):
        rows = table[(kinds == kind).to_numpy()]
        lines = [len(names) - 1 - names.index(name) for name in rows.index]
        _dots(axes, rows[value], lines, number, kind, x_errors=_errors(rows, value))
    axes.set_yticks(range(len(names))[::-1], shown)
    axes.set_ylim(-0.6, len(names) - 0.4)
    if reference is not None:
        axes.axvline(reference, color=COLOURS[-1], linestyle="--", linewidth=1)
    if kinds.nunique() > 1:
        legend_above(axes)
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
            fontsize=TEXT_POINTS,
        )
    log_scale(axes, "x")
    if len(samples) > 1:
        legend_above(axes)
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

    Each has its name at its end, or in a legend above where there is no room.

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
        log_scale(axes, axis)
    _finish(axes, x_label, y_label, legend=len(names) > 1)
    if len(names) > 1:
        name_ends(axes, {**predicted, **series}, sorted({*series} & {*predicted}))
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
    names = [textwrap.fill(str(name), 26) for name in table.index]
    for number, part in enumerate(table.columns):
        width = table[part].to_numpy(dtype=float)
        axes.barh(names, width, left=left, color=COLOURS[number], label=str(part))
        left += width
    axes.invert_yaxis()
    legend_above(axes)
    _finish(axes, label, "", legend=False)
    return axes


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


def printed(table: pd.DataFrame, decimals: int = 3, **of_columns: int) -> pd.DataFrame:
    """Write a table's numbers as a reader expects them.

    Args:
        table: Of numbers and texts.
        decimals: Of a column with fractions; a column of whole numbers has none.
        of_columns: Name of a column -> its decimals, where they differ.

    Returns:
        The same table as text; a missing value is a dash.

    >>> printed(pd.DataFrame({"setting": [7.0, "raw", None], "share": [0.5, 1, 0]}), 1)
      setting share
    0       7   0.5
    1     raw   1.0
    2       –   0.0
    """
    columns = {
        name: _printed(table[name], of_columns.get(str(name), decimals))
        for name in table
    }
    return pd.DataFrame(columns, table.index)


def _printed(column: pd.Series, decimals: int) -> list[str]:
    kinds = (float, int, np.number)
    numbers = [float(x) for x in column.dropna() if isinstance(x, kinds)]
    digits = decimals if any(x % 1 for x in numbers) else 0

    def written(value: Any) -> str:
        if pd.isna(value):
            return "–"
        return f"{value:,.{digits}f}" if isinstance(value, kinds) else str(value)

    return [written(value) for value in column]


def _sorted(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Rows by value, the largest first: within kinds, or by the mean of a name's."""
    if not table.index.is_unique:
        order = table.groupby(level=0)[value].mean()
        names = sorted(dict.fromkeys(table.index), key=lambda name: -order[name])
        return table.loc[names]
    ranks = {kind: n for n, kind in enumerate(dict.fromkeys(_kinds(table)))}
    keys = pd.DataFrame({"kind": _kinds(table).map(ranks), "value": -table[value]})
    return table.loc[keys.sort_values(["kind", "value"], kind="stable").index]


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


def _scatter_kinds(
    axes: Axes, table: pd.DataFrame, x: str, y: str, order: Sequence[str]
) -> None:
    """Draw the points, with a colour and a marker for each kind, by their order."""
    kinds = _kinds(table)
    for kind in dict.fromkeys(kinds):
        rows, number = table[kinds == kind], order.index(kind)
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


def _finish(axes: Axes, x_label: str, y_label: str, *, legend: bool) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_axisbelow(True)
    if legend:
        axes.legend()
    sns.despine(ax=axes)
