"""This run beside a recorded one: what agrees, what is faster, what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.pipeline import compare as module
from book.pipeline.__main__ import main
from book.pipeline.chapters import BookError
from book.pipeline.compare import (
    compare,
    differences,
    record_run,
    recorded_run,
    recorded_runs,
    summary,
)
from book.pipeline.results import Results

FACTS = {
    **{"cpu": "fast", "cores": 2, "memory_gib": 8, "gpu": "", "system": "Linux"},
    **{"python": "3.11", "profile": "smoke", "device": "cpu"},
    "versions": {"torch": "2.13.0"},
    "fingerprints": {"ch1": "aa"},
}


def one(value: float, low: float | None = None, high: float | None = None, unit=""):
    return {"value": value, "low": low, "high": high, "unit": unit, "n": None}


def run(records: dict, **facts: object) -> Results:
    return Results({"ch1": records}, {**FACTS, **facts})


def verdict(ours: dict, theirs: dict, name: str = "quality") -> tuple[str, float]:
    (found,) = compare(run({name: ours}), run({name: theirs}))
    assert found.name == f"ch1.{name}"
    return found.verdict, round(found.ratio, 6)


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "expected"),
    [
        ("quality", one(2, 1, 3), one(3.5, 3, 4), ("within", 1)),  # they touch
        ("quality", one(2, 1, 3), one(3.5, 3.1, 4), ("outside", 1)),
        ("quality", one(2, 1, 3), one(2.9), ("within", 1)),  # a value in an interval
        ("quality", one(3.1), one(2, 1, 3), ("outside", 1)),
        ("quality", one(0.9), one(1), ("within", 1)),  # a tenth, no more
        ("quality", one(0.89), one(1), ("outside", 1)),
        ("quality", one(0), one(0), ("within", 1)),
        ("rt", one(2, 1.9, 2.1, "ms"), one(8, unit="ms"), ("faster", 4)),
        ("rt", one(8, unit="ms"), one(2, unit="ms"), ("slower", 4)),
        ("rate", one(8, unit="1/s"), one(2, unit="1/s"), ("faster", 4)),
        ("speed", one(8, unit="GFLOPs/s"), one(8, unit="GFLOPs/s"), ("faster", 1)),
        ("x_1_client_per_s", one(2), one(8), ("slower", 4)),  # told by its name
        ("tokenise_us_minilm", one(5), one(5), ("faster", 1)),
        ("items_met", one(5), one(9), ("outside", 1)),  # "ms" inside a word is no unit
        ("rt_ms", one(0, unit="ms"), one(0, unit="ms"), ("within", 1)),
    ],
)
def test_a_record_is_judged(name, ours, theirs, expected) -> None:
    assert verdict(ours, theirs, name) == expected


def test_a_record_of_one_run_only_is_missing() -> None:
    found = compare(run({"a": one(1), "b": one(1)}), run({"b": one(1), "c": one(1)}))
    assert [x.verdict for x in found] == ["missing", "within", "missing"]
    assert [x.here for x in found] == ["1", "1", "–"]
    assert summary(found) == "3 records: 1 within, 2 missing"
    assert summary([]) == "0 records: nothing to compare"


ends = st.lists(st.floats(-9, 9), min_size=3, max_size=3).map(sorted)


@given(ends, ends)
def test_intervals_overlap_as_sets_do(ours: list[float], theirs: list[float]) -> None:
    (a, x, b), (c, y, d) = ours, theirs
    points = sorted([a, b, c, d])
    both = [p for p in points if a <= p <= b and c <= p <= d]
    expected = "within" if both else "outside"
    there_and_back = (
        verdict(one(x, a, b), one(y, c, d)),
        verdict(one(y, c, d), one(x, a, b)),
    )
    assert there_and_back == ((expected, 1), (expected, 1))


def test_differences_of_machine_and_versions_are_named() -> None:
    other = run({}, cores=8, versions={"torch": "2.9", "faiss-gpu": "1"})
    assert differences(run({}), other) == [
        "cores: 2 here, 8 there",
        "torch: 2.13.0 here, 2.9 there",
        "faiss-gpu: none here, 1 there",
    ]
    assert differences(run({}), run({}, fingerprints={"ch1": "bb"})) == [
        "fingerprint ch1: aa here, bb there"
    ]
    assert differences(run({}), run({}, date="2026-01-01")) == []


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run({"rt_ms": one(2, unit="ms")}).save(tmp_path / "_build/results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_recorded_and_compared(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "None was recorded yet" in recorded_runs(run({}), built / "book/results")
    assert main(["record", "--name", "laptop"]) == 0
    facts = json.loads((built / "book/results/laptop/run.json").read_text())
    assert facts["fingerprints"] == {"ch1": "aa"}
    assert len(facts["date"]) == 10
    run({"rt_ms": one(4, unit="ms")}, cores=9).save(built / "_build/results")
    capsys.readouterr()
    assert main(["compare"]) == 0
    out = capsys.readouterr().out
    assert f"beside laptop, recorded on {facts['date']}" in out
    assert "cores: 9 here, 2 there" in out
    assert "slower 2.00x" in out
    assert "1 records: 1 slower" in out
    page = recorded_runs(run({"rt_ms": one(1, unit="ms")}), built / "book/results")
    assert "| laptop | fast, 2 cores, no GPU |" in page
    assert "1 faster" in page


def test_the_newest_recorded_run_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    for name, day in {"b": "2026-01-02", "a": "2026-03-01", "c": "2025-01-01"}.items():
        run({}, date=day).save(tmp_path / name)
    assert recorded_run(tmp_path)[0] == "a"
    assert recorded_run(tmp_path, "c")[1].facts["date"] == "2025-01-01"
    with pytest.raises(BookError, match=r"no recorded run z in .*; there are a, b, c"):
        recorded_run(tmp_path, "z")


def test_what_cannot_be_recorded_or_compared_is_refused(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare"]) == 1
    assert "no recorded run at all in" in capsys.readouterr().err
    for name in ("", "../away", "Big Machine"):
        with pytest.raises(BookError, match="NAME must be lower case"):
            record_run(name, built / "_build/results", built / "kept")
    record_run("x", built / "_build/results", built / "kept")
    with pytest.raises(BookError, match="x is there already"):
        record_run("x", built / "_build/results", built / "kept")
    with pytest.raises(BookError, match=r"no results in .*: make book first"):
        module.print_comparison(built / "nowhere", built / "kept")
