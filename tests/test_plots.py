import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from recsys_lib import plots

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
