import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from recsys_lib import layout, plots
from recsys_lib.metrics.intervals import Interval
from recsys_lib.point_names import name_points

mpl.use("agg")


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


TABLE = pd.DataFrame(
    {
        "ms": [0.1, 10.0, 2000.0],
        "quality": [0.2, 0.4, 0.3],
        "quality_low": [0.1, 0.35, 0.3],
        "quality_high": [0.3, 0.45, np.nan],
        "kind": ["plain", "model", "model"],
    },
    index=["popularity", "EASE", "text"],
)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_trade_off_names_every_point():
    axes = plots.trade_off(TABLE, x="ms", y="quality", x_label="ms", y_label="nDCG")
    assert texts(axes) == ["popularity", "EASE", "text"]
    assert axes.get_xscale() == "log"
    assert axes.get_legend_handles_labels()[1] == ["plain", "model"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ms", "nDCG")


def test_trade_off_draws_a_panel_for_each_gain():
    table = TABLE.assign(auc=[0.5, np.nan, 0.8])
    gains = {"quality": "nDCG", "auc": "AUC"}
    lowest = plots.trade_off(table, x="ms", y=gains, x_label="ms")
    upper = lowest.figure.axes[0]
    assert [axes.get_ylabel() for axes in (upper, lowest)] == ["nDCG", "AUC"]
    assert (upper.get_xlabel(), lowest.get_xlabel()) == ("", "ms")
    assert texts(lowest) == ["popularity", "text"], "a row without a value stays out"


def test_trade_off_colours_a_kind_alike_in_each_panel_and_names_the_chosen():
    table = TABLE.assign(auc=[np.nan, np.nan, 0.8], named=[True, False, True])
    gains = {"quality": "nDCG", "auc": "AUC"}
    lowest = plots.trade_off(table, x="ms", y=gains, x_label="ms", panel_inches=1.5)
    upper = lowest.figure.axes[0]
    assert texts(upper) == ["popularity", "text"]
    colours = [
        dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))["model"]
        .lines[0]
        .get_color()
        for axes in (upper, lowest)
    ]
    assert colours == [plots.COLOURS[1]] * 2
    assert lowest.figure.get_figheight() == pytest.approx(3.4)


def test_names_of_points_do_not_cover_each_other():
    table = TABLE.assign(ms=[1.0, 1.1, 1.2], quality=[0.3, 0.31, 0.3])
    axes = plots.trade_off(table, x="ms", y="quality", x_label="ms", y_label="nDCG")
    boxes = [text.get_window_extent() for text in axes.texts]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert not any(a.overlaps(b) for a, b in pairs)


@pytest.mark.parametrize("width", [plots.SIZE_INCHES[0], layout.NARROW_INCHES])
@pytest.mark.parametrize("point", [(0, 0.4), (0.4, 0)])
def test_a_name_rather_covers_marks_than_labels_of_an_axis(point, width):
    _, axes = plt.subplots()
    axes.set(xlabel="milliseconds", ylabel="nDCG", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("all users", loc="left")
    step_x, step_y = 8 / axes.bbox.size
    marks = np.mgrid[step_x / 2 : 1 : step_x, step_y / 2 : 1 : step_y]
    axes.plot(*marks.reshape(2, -1), "o", ms=1)  # all room but that of the labels
    name_points(axes, ["stored vectors"], [point[0]], [point[1]])
    layout.lay_out(axes.figure, width)
    name = axes.texts[0].get_window_extent()
    labels = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels()]
    labels += axes.get_yticklabels()
    assert not any(name.overlaps(label.get_window_extent()) for label in labels)
    assert name.overlaps(axes.bbox), "it is among the marks"


def test_intervals_of_one_name_share_a_line():
    table = TABLE.set_axis(["EASE", "text", "text"]).assign(
        kind=["-", "raw", "centred"]
    )
    axes = plots.intervals(table, value="quality", label="nDCG")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["EASE", "text"]
    heights = [line.get_ydata()[0] for line in axes.lines if line.get_marker() in "os^"]
    assert heights == [1, 0, 0]


def test_intervals_keep_the_order_of_the_table():
    axes = plots.intervals(TABLE, value="quality", label="nDCG", reference=0.25)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["popularity", "EASE", "text"]
    assert axes.get_yticks()[0] > axes.get_yticks()[-1]


def test_ecdf_rises_from_nothing_to_all():
    samples = {"one": np.arange(1, 101), "two": [5.0]}
    axes = plots.ecdf(samples, x_label="ms", marks=(0.5, 0.99))
    x, y = axes.lines[0].get_data()
    assert (y[0], y[-1]) == (0, 1)
    assert x[200] == pytest.approx(50.5)
    assert texts(axes) == ["p50", "p99"]


def test_a_short_logarithmic_axis_still_has_numbers():
    axes = plots.lines({"a": ([2, 9], [1, 2])}, x_label="ms", y_label="y", log="x")
    axes.figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = [at for at in axes.get_xticks() if low <= at <= high]
    assert ticks == [2, 5]
    assert axes.xaxis.get_major_formatter()(5) == "5"


def test_lines_pair_measured_and_predicted_by_colour():
    series = {"hits": ([1, 10], [0.1, 0.5])}
    predicted = {"hits": ([1, 10], [0.2, 0.4]), "bound": ([1, 10], [1, 1])}
    axes = plots.lines(
        series, predicted=predicted, x_label="size", y_label="ratio", log="x"
    )
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["hits, predicted", "bound", "hits"]
    colours = [line.get_color() for line in axes.lines]
    assert colours[0] == colours[2] != colours[1]


def test_stacked_bars_end_at_the_sum():
    parts = pd.DataFrame(
        {"tokenise": [1.0, 2.0], "forward": [3.0, 4.0]}, index=["a", "b"]
    )
    axes = plots.stacked(parts, label="ms")
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert ends == [1, 2, 4, 6]


def test_equal_data_give_equal_files(tmp_path):
    files = []
    for name in ("a.svg", "b.svg"):
        axes = plots.lines({"x": ([1, 2], [3, 4])}, x_label="a", y_label="b")
        axes.figure.savefig(tmp_path / name, metadata={"Date": None})
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert b"<text" in files[0], "text stays text"


def test_a_printed_table_has_no_floats_for_counts_and_no_nan():
    table = pd.DataFrame(
        {"n": [1000.0, np.nan], "share": [0.25, 1], "setting": [7, "raw"]}, ["a", "b"]
    )
    shown = plots.printed(table, 3, share=1)
    assert shown.n.tolist() == ["1,000", "–"]
    assert shown.share.tolist() == ["0.2", "1.0"]
    assert shown.setting.tolist() == ["7", "raw"]


def test_gain_against_cost_may_have_two_logarithmic_axes():
    table = pd.DataFrame({"ms": [1, 10, 100], "n": [1, 100, 10_000]}, list("abc"))
    axes = plots.trade_off(table, x="ms", y="n", x_label="ms", y_label="n", log_y=True)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_tabulated_intervals_are_drawn_as_they_are():
    found = {
        ("EASE", "histories"): Interval(0.5, 0.4, 0.6, 9),
        ("text", "raw"): Interval(0.3, 0.2, 0.35, 9),
    }
    table = plots.tabulate(found, "auc")
    assert table.index.tolist() == ["EASE", "text"]
    assert table.columns.tolist() == ["kind", "auc", "auc_low", "auc_high"]
    assert table.loc["text"].tolist() == ["raw", 0.3, 0.2, 0.35]
    plots.intervals(table, value="auc", label="AUC")


def fits(text, figure):
    box = text.get_window_extent()
    return box.x0 >= -1 and box.x1 <= figure.bbox.width + 1


@pytest.mark.parametrize("width", [plots.SIZE_INCHES[0], layout.NARROW_INCHES])
def test_lines_have_their_names_at_their_ends(width):
    x = [1, 10, 100]
    series = {f"model {n}": (x, [0, 1, 2 + n / 50]) for n in range(5)}
    axes = plots.lines(series, x_label="size", y_label="ratio", log="x")
    layout.lay_out(axes.figure, width)
    named = [text for text in axes.texts if text.get_text()]
    assert [text.get_text() for text in named] == list(series)
    assert not axes.get_legend().get_visible()
    boxes = [mpl.text.Text.get_window_extent(text) for text in named]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(fits(text, axes.figure) for text in named)


def test_lines_that_end_early_are_named_in_a_legend_above():
    series = {"all": ([1, 2, 3], [1, 2, 3]), "first": ([1], [2])}
    axes = plots.lines(series, x_label="size", y_label="ratio")
    for width in (plots.SIZE_INCHES[0], layout.NARROW_INCHES):
        layout.lay_out(axes.figure, width)
        assert len(axes.figure.legends) == 1
        names = [text.get_text() for text in axes.figure.legends[0].get_texts()]
        assert names == ["all", "first"]


def test_a_legend_has_as_many_columns_as_there_is_room_for():
    table = TABLE.assign(kind=["counted words and genres", "histories", "language"])
    axes = plots.trade_off(table, x="ms", y="quality", x_label="ms", y_label="nDCG")
    heights = []
    for width in (plots.SIZE_INCHES[0], layout.NARROW_INCHES / 1.5):
        layout.lay_out(axes.figure, width)
        [legend] = axes.figure.legends
        assert legend.get_window_extent().width < axes.figure.bbox.width
        heights.append(legend.get_window_extent().height)
    assert heights[0] < heights[1]


def test_sorted_intervals_fall_within_each_kind():
    axes = plots.intervals(TABLE, value="quality", label="nDCG", sort=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["popularity", "EASE", "text"]
    one_kind = TABLE.drop(columns="kind")
    axes = plots.intervals(one_kind, value="quality", label="nDCG", sort=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["EASE", "text", "popularity"]


@pytest.mark.parametrize("high", [4.7, 9, 100, 3000, 1e6])
def test_logarithmic_ticks_are_few_and_differ(high):
    axes = plots.lines({"a": ([4, high], [1, 2])}, x_label="ms", y_label="y", log="x")
    layout.lay_out(axes.figure, layout.NARROW_INCHES)
    low, high = axes.get_xlim()
    ticks = [at for at in axes.get_xticks() if low <= at <= high]
    shown = [axes.xaxis.get_major_formatter()(at) for at in ticks]
    assert len(set(shown)) == len(shown) >= 2
    assert len(shown) <= 9
