"""The ledger: a rule in words, its margin, and files equal to the page."""

import csv
import io
import json

import pytest

from book.pipeline.printing.ledger import as_csv, as_json, entries, ledger
from book.pipeline.records.claims import Claim, judge_all
from book.pipeline.records.explain import distance, sentence
from book.pipeline.records.names import readable
from book.pipeline.results import Results


def number(value: float, low: float, high: float) -> dict[str, object]:
    return {
        "value": value,
        "low": low,
        "high": high,
        "n": 9,
        "unit": "",
        "timed": False,
    }


RUN = Results(
    {"ch1": {"ndcg_text": number(0.1, 0.08, 0.12), "ndcg_ease": number(0.4, 0.3, 0.5)}},
    {"profile": "smoke", "cpu": "a", "cores": 2, "gpu": "", "device": "cpu"}
    | {"memory_gib": 4},
)


def test_a_rule_in_words_names_records_and_their_values() -> None:
    said = sentence("ch1.ndcg_text.high < 0.5 * ch1.ndcg_ease.low", RUN)
    assert said == (
        "nDCG, text (upper end 0.12) is below 0.5 times nDCG, EASE (lower end 0.3)"
    )


def test_a_number_in_a_rule_has_its_unit_once() -> None:
    made = {"cache_mean_ms": number(2.648, 2, 3) | {"unit": "ms"}}
    run = Results({"ch3": made | {"flops": number(2e7, 1, 3e7)}}, {"recorded": "old"})
    said = sentence("min(ch3.cache_mean_ms, ch3.p95_ms) < ch3.flops and 1 < 2", run)
    assert said == (
        "the smallest of (cache mean (2.648 ms); p95 (not recorded)) is below FLOPs "
        "(20,000,000); and 1 is below 2"
    )


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("rt_every_item_p50_ms", "ms", "response time, every item, p50"),
        ("recall_gain_9_10_zeros", "", "recall gain, 9/10 zeros"),
        ("precision_at_10", "", "precision@10"),
        ("step_the_document_s_ms", "ms", "step the document's"),
        ("read_reviews_per_s", "", "read reviews per s"),
        ("device_8_per_s", "1/s", "device, 8"),
        ("parameters_gpt_2_xl", "", "parameters, GPT-2 XL"),
        ("mb_int8_model", "MB", "size, int8 model"),
        ("ndcg_after_1_hour", "", "nDCG after 1 hour"),
    ],
)
def test_a_name_is_written_as_a_reader_would(
    name: str, unit: str, expected: str
) -> None:
    assert readable(name, unit) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ch1.ndcg_text.high < ch1.ndcg_ease.low", 0.6),
        ("ch1.ndcg_text.high < ch1.ndcg_ease.low and ch1.ndcg_ease > 0.3", 0.25),
        ("ch1.ndcg_text > 0.2 or ch1.ndcg_ease > 0.3", 0.25),
        ("ch1.ndcg_text > 0.2", -0.5),
        ("0 < ch1.ndcg_text < 0.2", 0.5),
        ("ch1.ndcg_text == 0.1", None),
        ("", None),
    ],
)
def test_the_margin_is_that_of_the_tightest_comparison(
    rule: str, expected: float | None
) -> None:
    assert distance(rule, RUN) == (expected and pytest.approx(expected))


def test_csv_and_json_say_what_the_page_says() -> None:
    rule = "ch1.ndcg_text.high < ch1.ndcg_ease.low"
    claims = [
        Claim("one", "1.1", "A, claim", "holds rarely", "The form.", rule, zh="说法"),
        Claim("two", "A.1", "Another", "not checkable", "No source."),
    ]
    judged = judge_all(claims, RUN)
    rows, page = entries(judged, RUN, {}), ledger(judged, RUN, {})
    assert json.loads(as_json(rows)) == rows
    assert list(csv.DictReader(io.StringIO(as_csv(rows)))) == rows
    assert page.count('<tr class="claim"') == len(rows)
    shown = (
        "claim",
        "claim_zh",
        "verdict",
        "margin",
        "correct",
        "rule_in_words",
        "rule",
    )
    for row in rows:
        assert f"(claim-{row['id']})=" in page
        assert all(row[field] in page for field in shown)
