"""Layout of the book's figures: two widths, names at the ends of lines, few ticks.

A notebook keeps each figure twice, for the column of a desktop and for a phone: a file
scales its text with its width, and no size of text is right at both. What depends on
the width is repeated for each: names of points and lines, columns of legends.
"""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.arrays import Float64Array
from recsys_lib.extras import needs
from recsys_lib.records import NARROW_MIME

with needs("book"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

SIZE_INCHES = (8.2, 3.4)  # 9 points are 12 px in a column of 784 px
NARROW_INCHES = 4.2  # 9 points are 9.3 px in a figure of 312 px
TEXT_POINTS = 9
GREY = "#666666"
_CLOSE: dict[str, Any] = {"columnspacing": 1, "handletextpad": 0.4, "handlelength": 1.4}
_LINE_POINTS = 12  # from one line of text to the next


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


def wide_and_narrow(figure: Figure) -> dict[str, str]:
    """Both drawings of a figure, by the type under which a notebook keeps them."""
    drawn = {}
    widths = {NARROW_MIME: NARROW_INCHES, "image/svg+xml": SIZE_INCHES[0]}
    for kind, width in widths.items():
        lay_out(figure, width)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        drawn[kind] = file.getvalue()
    return drawn


def name_ends(
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
    names = _EndNames(axes, ends, both)
    _steps(figure_of(axes)).append((names.write, names.spread))


class _EndNames:
    """Names at the ends of lines, or a legend above where there is no room for them."""

    def __init__(
        self,
        axes: Axes,
        ends: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
        both: Sequence[str],
    ) -> None:
        self.axes, self.ends, self.both = axes, ends, both
        self.legend, self.figure = axes.get_legend(), figure_of(axes)
        self.lines = dict[str, Any]()
        for line in axes.lines:
            name = str(line.get_label()).removesuffix(", predicted")
            self.lines.setdefault(name, line)
        self.made: list[Annotation] = []

    def write(self) -> None:
        """Write the names, or the legend, for the width that the figure has now."""
        _remove(self.made)
        if self.axes.get_legend() is not self.legend or self.legend is None:
            return
        for old in [x for x in self.figure.legends if vars(x).get("_book_made")]:
            old.remove()
        for name, (x, y) in self.ends.items():
            self.made.append(self._name(name, x, y))
        fits = self._fit()
        if not fits:
            _remove(self.made)
        self.legend.set_visible(False)
        self.legend.set_in_layout(False)
        if not fits:
            legend_above(self.axes)
            vars(self.figure.legends[-1])["_book_made"] = True
        elif self.both:
            self._explain_marks()

    def spread(self) -> None:
        """Shift names apart that would cover each other."""
        _spread(self.axes, self.made)

    def _name(self, name: str, x: npt.ArrayLike, y: npt.ArrayLike) -> Annotation:
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        text = self.axes.annotate(
            textwrap.fill(name, 20),
            (1, float(ys[np.argmax(xs)])),
            (14, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            annotation_clip=False,
        )
        text.set(fontsize=TEXT_POINTS, va="center")
        text.set_color(self.lines[name].get_color())
        return text

    def _fit(self) -> bool:
        """Whether names leave room, and lines end near enough to them."""
        width = max(text.get_window_extent().width for text in self.made)
        narrow = width < 0.3 * self.figure.bbox.width
        return narrow and _reach(self.axes, self.ends) > 0.8

    def _explain_marks(self) -> None:
        """A legend of two marks: measured points and dashed predictions."""
        marks = [Line2D([], [], ls="", marker="o", ms=4, color=GREY)]
        marks += [Line2D([], [], ls="--", lw=1.2, color=GREY)]
        words = ["measured", "predicted"]
        self.figure.legend(marks, words, loc="outside upper center", ncols=2)
        vars(self.figure.legends[-1])["_book_made"] = True


def _remove(made: list[Annotation]) -> None:
    """Take annotations off their axes, and out of the list."""
    while made:
        made.pop().remove()


def at_each_width(axes: Axes, step: Callable[[], None]) -> None:
    """Repeat a step for each width of a figure, once its axes are placed."""
    _steps(figure_of(axes)).append((lambda: None, step))


def figure_of(axes: Axes) -> Figure:
    """The whole figure that axes are part of."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def legend_above(*panels: Axes, order: Sequence[str] = ()) -> None:
    """Name the kinds of some panels in a legend above the whole figure.

    Args:
        panels: Of one figure; a kind in several of them is named once.
        order: Of the names; by default that of the first appearance.
    """
    known = dict[str, Any]()
    for axes in panels:
        pairs = zip(*axes.get_legend_handles_labels(), strict=True)
        known = {label: handle for handle, label in pairs} | known
    labels = list(order) or list(known)
    handles = [known[label] for label in labels]
    panels[0].figure.legend(handles, labels, loc="outside upper center", **_CLOSE)


def log_scale(axes: Axes, side: str) -> None:
    """Make one axis logarithmic, with as many plain numbers as there is room for."""
    getattr(axes, f"set_{side}scale")("log")
    axis = getattr(axes, f"{side}axis")
    axis.set_major_locator(_PlainLog())
    axis.set_major_formatter(FuncFormatter(_plain_number))
    axis.set_minor_locator(NullLocator())


def _steps(figure: Figure) -> list[tuple[Callable[[], None], Callable[[], None]]]:
    """What a figure repeats for each width: before and after its axes are placed."""
    steps: list[Any] = vars(figure).setdefault("_book_steps", [])
    return steps


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
    points = 72 / figure_of(axes).dpi
    edge = axes.get_xlim()[1]
    natural = {
        text: float(axes.transData.transform((edge, text.xy[1]))[1]) * points
        for text in texts
    }
    order = sorted(texts, key=lambda text: natural[text])
    half = [text.get_window_extent().height * points / 2 + 1 for text in order]
    low, high = axes.bbox.y0 * points, axes.bbox.y1 * points
    places = _apart([natural[x] for x in order], half, low, high + _LINE_POINTS / 2)
    for text, place in zip(order, places, strict=True):
        shift = place - natural[text]
        moved = abs(shift) > 3
        text.xyann = (14 if moved else 6, shift)
        if moved:
            texts.append(_leader(axes, text, shift))


def _apart(
    natural: Sequence[float], half: Sequence[float], low: float, ceiling: float
) -> list[float]:
    """Heights near the natural ones, ascending, at which texts do not overlap.

    >>> _apart([0, 1, 9], [2, 2, 2], 0, 12)
    [0, 4, 9]
    """
    places: list[float] = []
    for n, wanted in enumerate(natural):
        above = places[-1] + half[n - 1] + half[n] if places else low
        places.append(max(wanted, above))
    for n in reversed(range(len(places))):
        places[n] = min(places[n], ceiling - half[n])
        ceiling = places[n] - half[n]
    return places


def _leader(axes: Axes, text: Annotation, shift: float) -> Annotation:
    """A line from a text that was shifted to the end of its curve."""
    line = {"arrowstyle": "-", "color": text.get_color(), "lw": 0.6}
    leader = axes.annotate(
        "",
        text.xy,
        (13, shift),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        annotation_clip=False,
        arrowprops={**line, "shrinkA": 0, "shrinkB": 0},
    )
    leader.set_in_layout(False)
    return leader


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
