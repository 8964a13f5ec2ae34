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
from matplotlib.ticker import FuncFormatter
from matplotlib_inline.backend_inline import set_matplotlib_formats

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE_INCHES = (4.8, 3.1)


def use_style() -> None:
    """Set the book's style; call it once at the top of a chapter."""
    sns.set_theme(
        context="paper",
        style="ticks",
        palette=list(COLOURS),
        rc={
            "figure.figsize": SIZE_INCHES,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.labelsize": 9,
            "legend.fontsize": 8,
            "legend.frameon": False,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
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
        set_matplotlib_formats("svg", metadata={"Date": None})


def trade_off(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    x_label: str,
    y_label: str,
    log_x: bool = True,
) -> Axes:
    """Scatter one point for each row, named by the index: what is paid, what is got.

    Args:
        table: Index: names. Columns `x` and `y`; `{x}_low`, `{x}_high`, `{y}_low`,
            `{y}_high` draw intervals where they are there; `kind` chooses the colour.
        x: Column of the cost.
        y: Column of the gain.
        x_label: With its unit.
        y_label: With its unit.
        log_x: Whether the cost spans orders of magnitude.
    """
    _, axes = plt.subplots()
    kinds = table["kind"] if "kind" in table else pd.Series("", index=table.index)
    for number, kind in enumerate(dict.fromkeys(kinds)):
        rows = table[kinds == kind]
        axes.errorbar(
            rows[x],
            rows[y],
            xerr=_errors(rows, x),
            yerr=_errors(rows, y),
            fmt=MARKERS[number],
            color=COLOURS[number],
            label=kind,
            capsize=2,
            elinewidth=1,
        )
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    _name_points(axes, list(table.index), table[x], table[y])
    _finish(axes, x_label, y_label, legend=kinds.nunique() > 1)
    return axes


def intervals(
    table: pd.DataFrame, *, value: str, label: str, reference: float | None = None
) -> Axes:
    """Draw one dot with its interval for each row, top to bottom.

    Args:
        table: Index: names. Columns `value`, `{value}_low` and `{value}_high`.
        value: Column to draw.
        label: Of the axis, with the unit.
        reference: Where a dashed line marks chance, or no difference.
    """
    height = 0.9 + 0.27 * len(table)
    _, axes = plt.subplots(figsize=(SIZE_INCHES[0], height))
    rows = np.arange(len(table))[::-1]
    errors = _errors(table, value)
    axes.errorbar(table[value], rows, xerr=errors, fmt="o", color=COLOURS[0], capsize=2)
    axes.set_yticks(rows, [str(name) for name in table.index])
    axes.set_ylim(-0.6, len(table) - 0.4)
    if reference is not None:
        axes.axvline(reference, color=COLOURS[-1], linestyle="--", linewidth=1)
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
        axes.annotate(
            f"p{100 * mark:g}", (1.0, mark), xycoords=("axes fraction", "data")
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    _finish(axes, x_label, "share of requests", legend=len(samples) > 1)
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
        getattr(axes, f"set_{axis}scale")("log")
        getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(_plain_number))
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


def _name_points(axes: Axes, names: Sequence[Any], x: Any, y: Any) -> None:
    """Write each name beside its point, towards the middle of the axes."""
    middle = np.exp(np.log(x).mean()) if axes.get_xscale() == "log" else np.mean(x)
    for name, at_x, at_y in zip(names, x, y, strict=True):
        right = at_x <= middle
        axes.annotate(
            str(name),
            (at_x, at_y),
            xytext=(5 if right else -5, 4),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=7.5,
        )


def _finish(axes: Axes, x_label: str, y_label: str, *, legend: bool) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_axisbelow(True)
    if legend:
        axes.legend()
    sns.despine(ax=axes)


def _plain_number(value: float, _position: int | None = None) -> str:
    """Tick label without powers of ten: 0.1, 20, 5,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
