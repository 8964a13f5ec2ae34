"""The book's figures: legible on a phone, in colours safe for colour-blind readers.

Figures are SVG with text as text, so that they stay sharp, and without a date, so that
equal results give equal files. A notebook draws each figure twice, for the column of a
desktop and for a phone: a file scales its text with its width, and no size of text is
right at both. The press recolours both for the dark page.
"""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_lib.arrays import Float64Array
from recsys_lib.extras import needs
from recsys_lib.metrics.intervals import Interval
from recsys_lib.records import NARROW_MIME

with needs("book"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from IPython import get_ipython
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.path import Path
    from matplotlib.text import Annotation
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
    from matplotlib.transforms import Bbox
    from matplotlib_inline.backend_inline import set_matplotlib_formats


# Each has contrast 4.5 or more on white; the press has an equivalent for dark pages.
COLOURS = ("#0072b2", "#bf4e00", "#00785a", "#aa3f86", "#4a3a9e", "#806000", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZE_INCHES = (8.2, 3.4)  # 9 points are 12 px in a column of 784 px
NARROW_INCHES = 4.2  # 9 points are 9.7 px in a column of 328 px
_CLOSE: dict[str, Any] = {"columnspacing": 1, "handletextpad": 0.4, "handlelength": 1.4}
_TEXT_POINTS = 9
_LINE_POINTS = 12  # from one line of text to the next
_Place = tuple[float, float, Literal["left", "center", "right"]]
_NEAR: tuple[_Place, ...] = (  # of a name: points from its dot, alignment
    (6, 0, "left"),
    (-6, 0, "right"),
    (4, 9, "left"),
    (4, -9, "left"),
    (-4, 9, "right"),
    (-4, -9, "right"),
    (0, 11, "center"),
    (0, -11, "center"),
)
_FAR: tuple[_Place, ...] = tuple(  # joined to its dot by a line
    (side * across, up, "left" if side > 0 else "right")
    for across, rise in ((12, 20), (22, 14), (26, 32), (40, 44), (60, 20))
    for up in (rise, -rise)
    for side in (1, -1)
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
        bundles.for_type(Figure, _wide_and_narrow)


def lay_out(figure: Figure, width_inches: float) -> None:
    """Give a figure a width; fit its legends, names and labels to it."""
    figure.set_size_inches(width_inches, figure.get_size_inches()[1])
    steps = _steps(figure)
    for before, _ in steps:
        before()
    _fit_legends(figure)
    figure.draw_without_rendering()  # fixes the layout, which places the names
    for _, after in steps:
        after()


def _wide_and_narrow(figure: Figure) -> dict[str, str]:
    """Both drawings of a figure, by the type under which a notebook keeps them."""
    drawn = {}
    widths = {NARROW_MIME: NARROW_INCHES, "image/svg+xml": SIZE_INCHES[0]}
    for kind, width in widths.items():
        lay_out(figure, width)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        drawn[kind] = file.getvalue()
    return drawn


def _steps(figure: Figure) -> list[tuple[Callable[[], None], Callable[[], None]]]:
    """What a figure repeats for each width: before and after its axes are placed."""
    steps: list[Any] = vars(figure).setdefault("_book_steps", [])
    return steps


def _nothing() -> None:
    """A step that a figure does not need."""


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
    size = (SIZE_INCHES[0], 0.4 + 3.0 * len(panels))
    figure, grid = plt.subplots(len(panels), sharex=True, squeeze=False, figsize=size)
    for axes, (column, label) in zip(grid[:, 0], panels.items(), strict=True):
        rows = table[table[column].notna()]
        _scatter_kinds(axes, rows, x, column)
        axes.margins(x=0.15, y=0.12)
        if log_x:
            _log_scale(axes, "x")
        _finish(axes, x_label if axes is grid[-1, 0] else "", label, legend=False)
    if _kinds(table).nunique() > 1:
        _legend_above(grid[0, 0])
    for axes, column in zip(grid[:, 0], panels, strict=True):
        rows = table[table[column].notna()]
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
            fontsize=_TEXT_POINTS,
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
        _log_scale(axes, axis)
    _finish(axes, x_label, y_label, legend=len(names) > 1)
    if len(names) > 1:
        _name_ends(axes, {**predicted, **series}, sorted({*series} & {*predicted}))
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
    _legend_above(axes)
    _finish(axes, label, "", legend=False)
    return axes


def name_points(axes: Axes, names: Sequence[Any], x: Any, y: Any) -> None:
    """Write each name beside its point, or further off at the end of a line."""
    at = list(zip(x, y, strict=True))
    shown = [textwrap.fill(str(name), 24) for name in names]
    made: list[Annotation] = []

    def place() -> None:
        while made:
            made.pop().remove()
        taken = _drawn(axes)
        texts: list[Bbox] = []
        for name, point in zip(shown, at, strict=True):
            text = axes.annotate(name, point, (0, 0), textcoords="offset points")
            text.set(fontsize=_TEXT_POINTS, va="center", in_layout=False)
            made.append(text)
            made.extend(_settle(text, axes, taken + 9 * texts))
            texts.append(text.get_window_extent().padded(1))

    _figure(axes).draw_without_rendering()
    place()
    _steps(_figure(axes)).append((_nothing, place))


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


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _drawn(axes: Axes) -> list[Bbox]:
    """Boxes of what names should not cover: markers, lines and intervals."""
    taken = []
    for line in axes.lines:
        points = axes.transData.transform(np.column_stack(line.get_data(orig=False)))
        if line.get_transform() is not axes.transData or not len(points):
            continue  # a line of reference
        if line.get_linestyle() not in ("None", ""):
            steps = [np.linspace(a, b, 12) for a, b in pairwise(points)]
            points = np.concatenate([points, *steps])
        taken += [Bbox([point - 4, point + 4]) for point in points]
    for collection in axes.collections:
        for path in collection.get_paths():
            ends = collection.get_transform().transform(path.vertices)
            taken.append(Bbox([ends.min(axis=0) - 2, ends.max(axis=0) + 2]))
    return taken


def _settle(text: Annotation, axes: Axes, taken: Sequence[Bbox]) -> list[Annotation]:
    """Move a name to the place that costs least; return its leader, if it needs one."""
    costs = {place: _cost(text, place, axes, taken) for place in (*_NEAR, *_FAR)}
    best = min(costs, key=lambda place: costs[place])
    _cost(text, best, axes, taken)
    if best in _NEAR:
        return []
    line = {"arrowstyle": "-", "color": COLOURS[-1], "lw": 0.6, "shrinkB": 3}
    leader = axes.annotate(
        "",
        text.xy,
        (best[0], best[1]),
        textcoords="offset points",
        arrowprops={**line, "shrinkA": 0},
    )
    leader.set_in_layout(False)
    return [leader]


def _cost(text: Annotation, place: _Place, axes: Axes, taken: Sequence[Bbox]) -> float:
    """Move a name to a place; return the area it covers, and thrice that outside.

    A leader costs a quarter of the name's area, and more where it crosses something.
    """
    text.xyann, side = place[:2], place[2]
    text.set(ha=side)
    box = text.get_window_extent()
    inside = Bbox.intersection(box, axes.bbox)
    shared = [Bbox.intersection(box, other) for other in taken]
    outside = _area(box) - (_area(inside) if inside else 0)
    cost = 3 * outside + sum(_area(part) for part in shared if part)
    if place in _NEAR:
        return cost + 0.01 * _NEAR.index(place)
    dot = axes.transData.transform(text.xy)
    end = (box.x0 if side == "left" else box.x1, (box.y0 + box.y1) / 2)
    leader = Path([dot + 0.25 * (np.array(end) - dot), end])
    crossed = sum(leader.intersects_bbox(other, filled=True) for other in taken)
    length = float(np.hypot(*(np.array(end) - dot)))
    return cost + 0.2 * _area(box) * crossed + 3 * length


def _name_ends(
    axes: Axes,
    ends: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    both: Sequence[str],
) -> None:
    """Name lines where they end, as long as `axes` keeps the legend that it has now.

    Args:
        axes: With its legend.
        ends: Name -> (x, y) of its line.
        both: Names that have measured points and a dashed prediction.
    """
    legend, figure = axes.get_legend(), _figure(axes)
    drawn = dict[str, Any]()
    for line in axes.lines:
        drawn.setdefault(str(line.get_label()).removesuffix(", predicted"), line)
    made: list[Annotation] = []

    def write() -> None:
        while made:
            made.pop().remove()
        if axes.get_legend() is not legend or legend is None:
            return
        for old in [x for x in figure.legends if vars(x).get("_book_made")]:
            old.remove()
        for name, (x, y) in ends.items():
            xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
            at = float(ys[np.argmax(xs)])
            text = axes.annotate(
                textwrap.fill(name, 20),
                (1, at),
                (14, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                annotation_clip=False,
            )
            text.set(fontsize=_TEXT_POINTS, va="center")
            text.set_color(drawn[name].get_color())
            made.append(text)
        width = max(t.get_window_extent().width for t in made)
        fits = width < 0.3 * figure.bbox.width and _reach(axes, ends) > 0.8
        if not fits:
            while made:
                made.pop().remove()
        legend.set_visible(False)
        legend.set_in_layout(False)
        if not fits:
            _legend_above(axes)
            vars(figure.legends[-1])["_book_made"] = True
        elif both:
            grey = COLOURS[-1]
            marks = [Line2D([], [], ls="", marker="o", ms=4, color=grey)]
            marks += [Line2D([], [], ls="--", lw=1.2, color=grey)]
            words = ["measured", "predicted"]
            figure.legend(marks, words, loc="outside upper center", ncols=2)
            vars(figure.legends[-1])["_book_made"] = True

    def spread() -> None:
        _spread(axes, made)

    _steps(figure).append((write, spread))


def _reach(
    axes: Axes, ends: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]
) -> float:
    """How far right the line reaches that ends first, as a share of the axes."""
    at = [
        (float(np.max(np.asarray(x, dtype=float))), axes.get_ylim()[0])
        for x, _ in ends.values()
    ]
    reached = axes.transAxes.inverted().transform(axes.transData.transform(at))
    return float(reached[:, 0].min())


def _spread(axes: Axes, texts: list[Annotation]) -> None:
    """Shift texts at the right apart, and join each that moves to its line's end."""
    figure = _figure(axes)
    points = 72 / figure.dpi
    natural = {
        text: axes.transData.transform((axes.get_xlim()[1], text.xy[1]))[1] * points
        for text in texts
    }
    order = sorted(texts, key=lambda text: natural[text])
    half = [text.get_window_extent().height * points / 2 + 1 for text in order]
    low, high = axes.bbox.y0 * points, axes.bbox.y1 * points
    places: list[float] = []
    for n, text in enumerate(order):
        above = places[-1] + half[n - 1] + half[n] if places else low
        places.append(max(natural[text], above))
    ceiling = high + _LINE_POINTS / 2
    for n in reversed(range(len(order))):
        places[n] = min(places[n], ceiling - half[n])
        ceiling = places[n] - half[n]
    for text, place in zip(order, places, strict=True):
        shift = place - natural[text]
        moved = abs(shift) > 3
        text.xyann = (14 if moved else 6, shift)
        if moved:
            colour, where = text.get_color(), text.xy
            leader = axes.annotate(
                "",
                where,
                (13, shift),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": colour,
                    "lw": 0.6,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
            leader.set_in_layout(False)
            texts.append(leader)


def _sorted(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Rows by value, the largest first: within kinds, or by the mean of a name's."""
    if not table.index.is_unique:
        order = table.groupby(level=0)[value].mean()
        names = sorted(dict.fromkeys(table.index), key=lambda name: -order[name])
        return table.loc[names]
    ranks = {kind: n for n, kind in enumerate(dict.fromkeys(_kinds(table)))}
    keys = pd.DataFrame({"kind": _kinds(table).map(ranks), "value": -table[value]})
    return table.loc[keys.sort_values(["kind", "value"], kind="stable").index]


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
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper center", **_CLOSE)


def _fit_legends(figure: Figure) -> None:
    """Give legends above a figure as many columns as its width has room for.

    The legend of a figure's only axes, which may cover data, moves above, too.
    """
    known = dict[str, Any]()
    for axes in figure.axes:
        known |= {y: x for x, y in zip(*axes.get_legend_handles_labels(), strict=True)}
    only = figure.axes[0].get_legend() if len(figure.axes) == 1 else None
    inside = [only] if only is not None and only.get_visible() else []
    for legend in [*figure.legends, *inside]:
        labels = [text.get_text() for text in legend.get_texts()]
        old = zip(labels, legend.legend_handles, strict=True)
        handles: list[Any] = [known.get(label, handle) for label, handle in old]
        made = vars(legend).get("_book_made", False)
        title = legend.get_title().get_text() or None
        legend.remove()
        for n_columns in range(len(labels), 0, -1):
            options: dict[str, Any] = {"ncols": n_columns, "title": title, **_CLOSE}
            fitted = figure.legend(
                handles, labels, loc="outside upper center", **options
            )
            vars(fitted)["_book_made"] = made
            if n_columns == 1 or _width(fitted) < 0.97 * figure.bbox.width:
                break
            fitted.remove()


def _width(legend: Any) -> float:
    return float(legend.get_window_extent().width)


def _finish(axes: Axes, x_label: str, y_label: str, *, legend: bool) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_axisbelow(True)
    if legend:
        axes.legend()
    sns.despine(ax=axes)


def _log_scale(axes: Axes, side: str) -> None:
    """Make one axis logarithmic, with as many plain numbers as there is room for."""
    getattr(axes, f"set_{side}scale")("log")
    axis = getattr(axes, f"{side}axis")
    axis.set_major_locator(_PlainLog())
    axis.set_major_formatter(FuncFormatter(_plain_number))
    axis.set_minor_locator(NullLocator())


class _PlainLog(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, at 1 and 3, or at 1, as there is room."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Ticks from `vmin` to `vmax`; even steps where that holds under two."""
        for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            self.set_params(subs=steps, numticks=50)
            ticks = _within(super().tick_values(vmin, vmax), vmin, vmax)
            if len(ticks) < 2:
                even = MaxNLocator(4, steps=[1, 2, 5, 10])
                return _within(even.tick_values(vmin, vmax), vmin, vmax)
            if self._fits(ticks):
                break
        return ticks

    def _fits(self, ticks: Float64Array) -> bool:
        axis: Any = self.axis
        axes = axis.axes
        box = axes.bbox.transformed(axes.figure.dpi_scale_trans.inverted())
        if axis.axis_name == "y":
            return bool(len(ticks) * 1.6 * _LINE_POINTS < 72 * box.height)
        low, high = axis.get_view_interval()
        place = 72 * box.width * np.log(ticks / low) / np.log(high / low)
        half = np.array([3 + 3 * len(_plain_number(tick)) for tick in ticks])
        return bool(np.all(np.diff(place) > half[1:] + half[:-1]))


def _within(ticks: npt.ArrayLike, low: float, high: float) -> Float64Array:
    at = np.asarray(ticks, dtype=float)
    return at[(at >= low) & (at <= high)]


def _plain_number(value: float, _position: int | None = None) -> str:
    """Tick label without powers of ten: 0.1, 2.5, 5,000."""
    return f"{value:,.10g}" if value >= 1 else f"{value:.6g}"
