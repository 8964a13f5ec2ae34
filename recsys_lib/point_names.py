"""Names of points in the book's figures: each beside its dot, where it covers least.

A name is tried at some places near its dot and, joined to it by a line, further off.
"""

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from recsys_lib.extras import needs
from recsys_lib.layout import GREY, TEXT_POINTS, at_each_width, figure_of

with needs("book"):
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from matplotlib.text import Annotation, Text
    from matplotlib.transforms import Bbox

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
_ACROSS: tuple[_Place, ...] = tuple(  # joined by a line, above or below its dot
    (-side * 30, up, "left" if side > 0 else "right")
    for up in (36, -36)
    for side in (1, -1)
)
_FAR: tuple[_Place, ...] = _ACROSS + tuple(  # joined to its dot by a line
    (side * across, up, "left" if side > 0 else "right")
    for across, rise in (
        (12, 20),
        (22, 14),
        (26, 32),
        (40, 44),
        (60, 20),
        (30, 60),
        (80, 40),
    )
    for up in (rise, -rise)
    for side in (1, -1)
)


def name_points(axes: Axes, names: Sequence[Any], x: Any, y: Any) -> None:
    """Write each name beside its point, or further off at the end of a line."""
    at = list(zip(x, y, strict=True))
    shown = [textwrap.fill(str(name), 24) for name in names]
    made: list[Annotation] = []

    def place() -> None:
        while made:
            made.pop().remove()
        taken = _drawn(axes)
        texts = _labels(figure_of(axes))  # and the names that have their place
        for name, point in zip(shown, at, strict=True):
            text = axes.annotate(name, point, (0, 0), textcoords="offset points")
            text.set(fontsize=TEXT_POINTS, va="center", in_layout=False)
            made.append(text)
            made.extend(_settle(text, axes, taken + 9 * texts))
            texts.append(text.get_window_extent().padded(2))

    figure_of(axes).draw_without_rendering()
    place()
    at_each_width(axes, place)


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


def _labels(figure: Figure) -> list[Bbox]:
    """Boxes of the titles and, for each axis, of all labels together."""
    parts = [
        part
        for axes in figure.axes
        for part in axes.get_children()
        if isinstance(part, Axis | Text) and part not in axes.texts
    ]
    boxes = [part.get_tightbbox() for part in parts]
    finite = (x for x in boxes if x is not None and np.isfinite(x.extents).all())
    return [box.padded(1) for box in finite]


def _settle(text: Annotation, axes: Axes, taken: Sequence[Bbox]) -> list[Annotation]:
    """Move a name to the place that costs least; return its leader, if it needs one."""
    costs = {place: _cost(text, place, axes, taken) for place in (*_NEAR, *_FAR)}
    best = min(costs, key=lambda place: costs[place])
    _cost(text, best, axes, taken)
    if best in _NEAR:
        return []
    line = {"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkB": 3}
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
    """Move a name to a place; return what it costs there.

    The area outside the axes costs thrice, what the figure's edge would cut off a
    hundred times, and what it covers six times: a mark is small, and a name on it
    misleads. `taken` has other texts nine times: a name on a tick's label costs more
    than one among marks.

    A leader costs a quarter of the name's area, and more where it crosses something.
    """
    text.xyann, side = place[:2], place[2]
    text.set(ha=side, multialignment=side)
    box = text.get_window_extent()
    inside = Bbox.intersection(box, axes.bbox)
    shared = [Bbox.intersection(box, other) for other in taken]
    outside = _area(box) - (_area(inside) if inside else 0)
    seen = Bbox.intersection(box, figure_of(axes).bbox)
    cut = _area(box) - (_area(seen) if seen else 0)
    cost = 3 * outside + 100 * cut + 6 * sum(_area(part) for part in shared if part)
    if place in _NEAR:
        return cost + 0.01 * _NEAR.index(place)
    dot = axes.transData.transform(text.xy)
    end = (box.x0 if side == "left" else box.x1, (box.y0 + box.y1) / 2)
    leader = Path([dot + 0.25 * (np.array(end) - dot), end])
    crossed = sum(leader.intersects_bbox(other, filled=True) for other in taken)
    length = float(np.hypot(*(np.array(end) - dot)))
    return cost + 0.2 * _area(box) * crossed + 3 * length


def _area(box: Bbox) -> float:
    return float(box.width * box.height)
