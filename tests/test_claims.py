"""Every claim's verdict follows from the records of the smoke book."""

import re
from pathlib import Path

import pytest
from sklearn.utils import all_estimators

from book.pipeline.claims import evidence, judge, load_claims
from book.pipeline.results import Results

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = load_claims(ROOT / "book/claims.yml")


@pytest.mark.book
@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.rule], ids=lambda c: c.id)
def test_the_records_bear_the_verdict(claim, smoke_book: Path) -> None:
    results = Results.load(smoke_book / "results")
    assert judge(claim, results), f"{claim.rule} with {evidence(claim, results)}"


def test_scikit_learn_has_no_collaborative_filtering() -> None:
    (claim,) = [c for c in CLAIMS if c.id == "sklearn-collaborative"]
    names = " ".join(name for name, _ in all_estimators())
    found = re.findall(r"(?i)\w*(?:recommend|collab)\w*", names)
    assert claim.verdict == "does not hold"
    assert not found
    assert {"NMF", "TruncatedSVD", "NearestNeighbors"} <= set(names.split())


def test_most_claims_are_measured() -> None:
    measured = sum(bool(claim.rule) for claim in CLAIMS)
    assert measured >= len(CLAIMS) / 2


def test_each_rule_of_the_practice_guide_names_a_figure() -> None:
    text = (ROOT / "book/appendix_a.md").read_text()
    guide = text[text.index("## A.2") : text.index("(sec-a-3)")]
    rules = re.findall(r"^\d+\. .*(?:\n {3,}.*)*", guide, re.MULTILINE)
    assert len(rules) > 20
    assert [rule for rule in rules if "{numref}`fig-" not in rule] == []
