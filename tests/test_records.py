import dataclasses

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import Interval
from recsys_lib.records import RECORD_MIME, Record, record, slug


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Mean", "value": 1.0}, "snake_case; got 'Mean'"),
        ({"name": "a", "value": float("nan")}, "value must be finite; got nan"),
        ({"name": "a", "value": 1.0, "low": 0.0}, "both low and high, or none"),
        (
            {"name": "a", "value": 1.0, "low": 0.0, "high": float("inf")},
            "high must be finite",
        ),
        (
            {"name": "a", "value": 1.0, "low": 2.0, "high": 0.0},
            r"low must not exceed high; got \[2.0, 0.0\]",
        ),
    ],
)
def test_a_record_says_what_is_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Record(**fields)


def test_a_record_carries_the_interval_to_the_notebook() -> None:
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            record("search_ms", Interval(1.0, 0.5, 2.0, 7), unit="ms")
        with capture_output() as plain:
            record("count", 3, n=3)
    finally:
        shell.clear_instance()
    made = captured.outputs[0].data[RECORD_MIME]
    assert made == dataclasses.asdict(Record("search_ms", 1.0, "ms", 0.5, 2.0, 7, True))
    assert (
        captured.outputs[0].data["text/plain"].startswith("search_ms = 1 ms [0.5, 2]")
    )
    assert plain.outputs[0].data[RECORD_MIME]["value"] == 3.0


def test_outside_a_notebook_a_record_is_only_checked() -> None:
    record("fine", 1.0)
    with pytest.raises(ValueError, match="finite"):
        record("broken", float("inf"))


@pytest.mark.parametrize(
    ("value", "options", "timed"),
    [
        (2.0, {"unit": "ms"}, True),
        (2.0, {"unit": "GB/s"}, True),
        (2.0, {"unit": "MB"}, False),
        (2.0, {}, False),
        (2.0, {"timed": True}, True),
        (Interval(2.0, 1.0, 3.0, 5), {}, False),
        (ratio([4.0], [2.0]), {}, True),
        (ratio([4.0], [2.0]), {"timed": False}, False),
    ],
)
def test_a_record_is_timed_by_its_unit_or_its_interval(value, options, timed) -> None:
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            record("name", value, **options)
    finally:
        shell.clear_instance()
    assert captured.outputs[0].data[RECORD_MIME]["timed"] is timed


def test_a_label_becomes_the_name_of_a_record() -> None:
    short = {"language model": "text", "-": ""}
    assert slug("Language model + TF-IDF", short=short) == "text_tfidf"
    assert slug("the document's") == "the_document_s"
    Record(f"ms_{slug('2/3 of the layers')}", 1.0)
    with pytest.raises(ValueError, match=r"a letter or a digit; got '\+'"):
        slug("+")
