"""The first page: its table of decisions and its table of machines."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from book.pipeline.build import DECISIONS
from book.pipeline.chapters import BookError
from book.pipeline.printing.first_page import (
    Case,
    Option,
    decision_table,
    headline,
    load_cases,
    machine_table,
)
from book.pipeline.records.claims import cited
from book.pipeline.records.compare import load_recorded
from book.pipeline.results import Results

DRAWN = {
    "image": {"alt": "A line\n rises."},
    "figure": {"name": "fig-a", "caption": "It rises."},
}
PICTURE = new_output("display_data", {"image/svg+xml": "<svg/>"})


class Hashable(SimpleNamespace):
    """A stand-in for a chapter, the key of its run."""

    __hash__ = object.__hash__


ROOT = Path(__file__).resolve().parents[1]
RECORD = {"value": 2.0, "low": 1.5, "high": 2.5, "n": 9, "unit": "ms", "timed": True}
MACHINE = {"cpu": "A", "cores": 2, "gpu": ""}
HERE = Results({"ch1": {"a": RECORD, "b": {**RECORD, "value": 3.0}}}, MACHINE)
WITHOUT_7 = {**MACHINE, "absent": ["ch2", "ch7"]}
WITH = Option("model", "{interval}`ch1.a:.1f`", "{record}`ch1.a` ms", "[1](x)")


def test_the_first_option_that_the_records_support_is_shown() -> None:
    no = Option("nothing", "none", "0", "[1](x)", when="ch1.a.low > ch1.b.low")
    table = decision_table([Case("New items", [no, WITH])], HERE)
    row = "| New items | model | {interval}`ch1.a:.1f` | {record}`ch1.a` ms | [1](x) |"
    assert row in table.splitlines()
    assert "nothing" not in table
    assert "Not measured" not in table


def test_what_does_not_decide_folds_away_below_the_table() -> None:
    rest = "also {interval}`ch1.b:.1f`{confirmed}`ch1.p_b`"
    more = Option("model", "much", "0", "[1](x)", rest=rest)
    records = {"ch1": {**HERE.records["ch1"], "p_b": p_of(0.01)}}
    table = decision_table([Case("New items", [more])], Results(records, MACHINE))
    assert "- **New items**: also {interval}`ch1.b:.1f`†." in table
    assert table.index(":::{dropdown}") > table.index("| New items | model | much |")
    assert "dropdown" not in decision_table([Case("New items", [WITH])], HERE)


def test_the_tight_budget_is_decided_by_whole_intervals() -> None:
    cases, _ = load_cases(ROOT / DECISIONS)
    (case,) = [x for x in cases if "tight budget" in x.case]
    run = load_recorded(ROOT / "book/results")["amd-epyc-2-cores"]

    def advice(low: float, high: float) -> str:
        text = run.records["ch5"]["p99_low_text_ms"] | {"low": low, "high": high}
        records = {"ch5": run.records["ch5"] | {"p99_low_text_ms": text}}
        return decision_table([case], Results(records, run.facts))

    assert "language model is in the budget" in advice(8, 9)
    assert "the language model is out" in advice(11, 12)
    assert "does not decide" in advice(9, 11)


def test_new_users_get_what_adds_most_and_a_control_before_the_model() -> None:
    cases, _ = load_cases(ROOT / DECISIONS)
    (case,) = [x for x in cases if x.case == "New users"]
    run = load_recorded(ROOT / "book/results")["amd-epyc-2-cores"]

    def advice(**gains: float) -> str:
        records = dict(run.records["ch3"])
        records["user_gain_text_1"] = records["user_gain_text_1"] | {"low": 0.01}
        for name, gain in gains.items():
            ends = {"value": gain, "low": gain - 0.01, "high": gain + 0.01}
            records[f"user_gain_{name}_10"] = records[f"user_gain_{name}_10"] | ends
        return decision_table(
            [case], Results({**run.records, "ch3": records}, run.facts)
        )

    alike = advice(text=0.1, tfidf=0.1, genre_year=0.1, ease=0.07)
    assert "by metadata or by counted words" in alike
    assert "language model's similarity" in advice(
        text=0.1, tfidf=0.05, genre_year=0.05, ease=0.07
    )
    assert "the histories favour" in advice(
        text=0.07, tfidf=0.07, genre_year=0.07, ease=0.07
    )


def test_a_case_without_its_records_is_named_below_the_table() -> None:
    readers = Results({"ch1": {}}, {**MACHINE, "dataset": "shop"})
    table = decision_table([Case("New items", [WITH])], readers)
    assert "Not measured in this run: New items (needs chapter 1)." in table
    assert "model" not in table


def test_a_record_that_the_book_lacks_is_an_error() -> None:
    wrong = Option("model", "{record}`ch1.c`", "", "")
    with pytest.raises(BookError, match=r"no record 'ch1\.c'"):
        decision_table([Case("New items", [wrong])], HERE)


def test_machines_stand_side_by_side() -> None:
    there = Results({"ch1": {}}, {**MACHINE, "gpu": "G", "date": "1", "recorded": "r"})
    table = machine_table({"one text": "ch1.a:.2f"}, HERE, {"r": there})
    assert (
        "| Median in ms | this run: A, 2 cores, no GPU | r: A, 2 cores, G, 1 |" in table
    )
    assert "| one text | 2.00 [1.50, 2.50] | – |" in table
    single = Results({"ch1": {"a": {**RECORD, "low": None, "high": None}}}, MACHINE)
    assert "| one text | 2.00 |" in machine_table({"one text": "ch1.a:.2f"}, single, {})
    with pytest.raises(BookError, match=r"no record 'ch1\.c'"):
        machine_table({"one text": "ch1.c"}, HERE, {})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cases: []", "machines"),
        ("cases: [{case: a, options: [{build: b}]}]\nmachines: {}", "missing"),
        ("cases: [{case: a, options: [{size: 1}]}]\nmachines: {}", "size"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "decisions.yml").write_text(text)
    with pytest.raises(BookError, match=f"decisions.yml: .*{fault}"):
        load_cases(tmp_path / "decisions.yml")


def test_the_book_s_table_answers_every_case_on_the_recorded_run() -> None:
    cases, compared = load_cases(ROOT / DECISIONS)
    run = load_recorded(ROOT / "book/results")["amd-epyc-2-cores"]
    assert "Not measured" not in decision_table(cases, run)
    assert len(cases) >= 8
    for case in cases:
        assert case.options[-1].when == "" or len(case.options) > 1
    assert all("–" not in line for line in machine_table(compared, run, {}).split("\n"))


def test_no_rule_of_the_table_is_empty_of_records() -> None:
    cases, _ = load_cases(ROOT / DECISIONS)
    rules = [option.when for case in cases for option in case.options if option.when]
    assert rules
    assert all(cited(rule) for rule in rules)


def test_the_headline_is_the_figure_of_its_chapter(tmp_path: Path) -> None:
    cell = new_code_cell("draw()", metadata={"mystnb": DRAWN})
    executed = new_code_cell("draw()", outputs=[PICTURE])
    chapter = Hashable(notebook=new_notebook(cells=[new_markdown_cell(), cell]))
    run = SimpleNamespace(notebook=new_notebook(cells=[executed]))
    files = headline({chapter: run}, "fig-a")  # type: ignore[dict-item]
    assert files["headline.svg"] == "<svg/>"
    assert ":alt: A line rises.\n" in files["headline"]
    assert (
        "It rises. The figure is {numref}`fig-a` in its section." in files["headline"]
    )
    assert headline({}, "fig-a").keys() == {"headline"}


def p_of(value: float) -> dict[str, object]:
    return {"value": value, "low": None, "high": None, "n": None, "unit": ""}


def test_a_gain_is_marked_if_it_is_confirmed_among_all_comparisons() -> None:
    gain = "{record}`ch1.a`{confirmed}`ch1.p_a`, {record}`ch1.b`{confirmed}`ch2.p_b`"
    case = Case("New items", [Option("model", gain, "0", "[1](x)")])

    def table(p_a: float, p_b: float) -> str:
        records = {"ch1": {**HERE.records["ch1"], "p_a": p_of(p_a)}}
        return decision_table(
            [case], Results({**records, "ch2": {"p_b": p_of(p_b)}}, MACHINE)
        )

    marked = table(0.01, 0.2)
    assert "| {record}`ch1.a`†, {record}`ch1.b` |" in marked
    assert "† Confirmed by Holm's method" in marked
    assert "of this run ([7.1](sec-7-1))." in marked
    assert "†" not in table(0.03, 0.2)  # twice .03 is above .05
    assert "No gain in this table is confirmed" in table(0.03, 0.2)
    absent = Results({"ch1": {**HERE.records["ch1"], "p_a": p_of(0.01)}}, WITHOUT_7)
    assert "of this run. Gains" in decision_table([case], absent)
    with pytest.raises(BookError, match=r"no record 'ch1\.p_a'"):
        decision_table([case], HERE)


def test_a_case_of_other_data_says_so_on_a_reader_s() -> None:
    case = Case("Few labels", [WITH], measured_on="reviews")
    readers = Results(HERE.records, {**MACHINE, "dataset": "shop"})
    assert "(on reviews, not on your data)" in decision_table([case], readers)
    assert "reviews" not in decision_table([case], HERE)


def test_no_gpu_is_answered_by_the_machine_at_hand() -> None:
    (case,) = [x for x in load_cases(ROOT / DECISIONS)[0] if x.case == "No GPU"]
    names = ("rt_text_p50_ms", "rt_one_text_p50_ms", "rt_every_item_p50_ms")
    records = {"ch1": dict.fromkeys(names, RECORD)}
    facts = {**MACHINE, "dataset": "shop", "absent": ["ch5"]}
    for device, said in {"cpu": "with stored vectors", "cuda": "this run has"}.items():
        run = Results(records, {**facts, "device": device})
        assert said in decision_table([case], run)
