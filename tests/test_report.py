"""The first page alone: its table with numbers, what is missing, the figure."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from book.pipeline import build
from book.pipeline.build import REPORTED, Order, report
from book.pipeline.chapters import find_chapters
from book.pipeline.printing.first_page import Case, Drawn, Option
from book.pipeline.printing.report import Report, write_report
from book.pipeline.results import Results

ROOT = Path(__file__).resolve().parents[1]
RECORD = {"value": 2.0, "low": 1.5, "high": 2.5, "n": 9, "unit": "ms", "timed": True}
RUN = {"cpu": "A", "cores": 2, "gpu": "", "profile": "smoke", "dataset": "shop"}
HERE = Results({"ch1": {"a": RECORD}}, {**RUN, "absent": ["ch5"]})
CASES = [
    Case(
        "Rated <items>",
        [Option("EASE", "{interval}`ch1.a:.1f`", "9 ms", "[1.1](sec-1-1)")],
    ),
    Case("Search", [Option("words", "{record}`ch5.b`", "{record}`ch5.b`", "[5.1](x)")]),
]
INTRO = (
    "# Title\n\n**How to read the gains.** *AUC* is\na share.\n\n**Scope.** Films.\n"
)


def page(figure: Drawn | None = None) -> str:
    said = Report("What to build: a <b>", "Read: 3 rows.", figure)
    return write_report(said, CASES, HERE, INTRO)


def test_the_table_has_numbers_in_place_and_names_what_is_missing() -> None:
    made = page()
    assert "<td>2.0 [1.5, 2.5]</td>" in made
    assert "<td>1.1</td>" in made
    assert "Not measured in this run: Search (needs chapter 5)." in made
    assert "How to read the gains" in made
    assert "Scope" not in made
    assert "<title>What to build: a &lt;b&gt;</title>" in made
    assert "Rated &lt;items&gt;" in made
    assert "{" not in made.split("</style>")[1]
    assert "<figure" not in made


def test_the_figure_is_in_the_page_with_its_text() -> None:
    svg = "<?xml version='1.0'?><svg id='s'></svg>"
    made = page(Drawn(svg, "A line, {record}`ch1.a:.0f`", "It rises."))
    assert '<figure role="img" aria-label="A line, 2"><svg id=\'s\'></svg>' in made
    assert "<?xml" not in made
    assert "Each point is a model" in made


def test_a_report_runs_its_chapters_and_writes_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = []

    def measure(_root: Path, _order: Order, chapters: list, _claims: list) -> object:  # type: ignore[type-arg]
        numbers.extend(c.number for c in chapters)
        run = SimpleNamespace(seconds=60.0)
        keys = {f"ch{n}" for n in range(1, 8)}
        left = Results({}, {**RUN, "absent": sorted(keys)})
        return SimpleNamespace(runs={chapters[0]: run}, results=left, judgements=[])

    monkeypatch.setattr(build, "_measure", measure)
    monkeypatch.setattr(build, "find_figure", lambda *_: None)
    made = report(ROOT, tmp_path, Order({"profile": "smoke", "device": "cpu"}))
    assert made == tmp_path / "report.html"
    assert set(numbers) == REPORTED
    text = made.read_text()
    assert "What to build: the book and its data" in text
    assert "A, 2 cores, no GPU" in text
    assert "A million items (needs chapter 3)" in text


def test_the_chapters_of_a_report_take_the_reader_s_data_and_models() -> None:
    chosen = [c for c in find_chapters(ROOT / "chapters") if c.number in REPORTED]
    assert len(chosen) == len(REPORTED)
    assert all({"dataset", "models"} <= set(c.parameters) for c in chosen)
