"""Every verdict follows from records: exact ones from fresh, timed from recorded ones.

A time that was measured while the tests run says nothing about a verdict: other work
shares the machine. So rules over times are held against the runs in `book/results`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.utils import all_estimators

from book.pipeline.records.claims import (
    Claim,
    State,
    cited,
    comparisons,
    judge,
    judge_all,
    load_claims,
)
from book.pipeline.records.compare import load_recorded
from book.pipeline.results import Results

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = load_claims(ROOT / "book/claims.yml")
RULED = [c for c in CLAIMS if c.rule]
RECORDED = load_recorded(ROOT / "book/results")
each_rule = pytest.mark.parametrize("claim", RULED, ids=lambda c: c.id)


@pytest.mark.book
@each_rule
def test_the_fresh_book_judges_every_rule_and_supports_the_exact_ones(
    claim: Claim, smoke_book: Path
) -> None:
    results = Results.load(smoke_book / "results")
    (found,) = judge_all([claim], results)
    judged = {State.STANDS, State.NOT_JUDGED}
    assert found.state in (judged | {State.FALLS} if found.timed else judged), found


@each_rule
def test_no_recorded_run_refutes_a_verdict_and_one_supports_it(claim: Claim) -> None:
    found = {n: judge_all([claim], run)[0] for n, run in RECORDED.items()}
    fell = [f"{n}: {x}" for n, x in found.items() if x.state is State.FALLS]
    assert not fell
    assert State.STANDS in {x.state for x in found.values()}


def supporting(claim: Claim) -> Results:
    """A recorded run that supports a verdict."""
    runs = RECORDED.values()
    return next(r for r in runs if judge(claim, r) is State.STANDS)


def moved(results: Results, reference: str) -> Iterator[Results]:
    """The run with one number moved: by a factor of up to 20, or within [0, 1]."""
    key, name, field = (*reference.split("."), "value")[:3]
    record = results.records[key][name]
    value = record[field]
    steps = [value * 1.05**i for i in range(-62, 63)]
    steps += [-x for x in steps] if record["low"] is not None else []
    steps += [i / 200 for i in range(201)] if 0 <= value <= 1 else []
    for step in sorted(steps, key=lambda x: abs(x - value)):
        changed = {**results.records[key], name: {**record, field: step}}
        yield Results({**results.records, key: changed}, results.facts)


BREAKABLE = [(c, part) for c in RULED for part in comparisons(c.rule)]


@pytest.mark.parametrize(
    ("claim", "part"), BREAKABLE, ids=[f"{c.id}: {part}" for c, part in BREAKABLE]
)
def test_each_comparison_of_a_rule_can_break_it(claim: Claim, part: str) -> None:
    """One record that it names, moved across its margin, makes the verdict fall."""
    run = supporting(claim)
    names = cited(part)
    assert names, f"{part} names no record"
    alone = Claim(**{**vars(claim), "rule": part})
    falls = [
        name
        for name in names
        if any(judge(alone, x) is State.FALLS for x in moved(run, name))
    ]
    assert falls, f"no record of {part} can break it within its range"


@each_rule
def test_a_rule_states_a_margin(claim: Claim) -> None:
    """No comparison sets two bare numbers of a run against each other."""
    for part in comparisons(claim.rule):
        node = ast.parse(part, mode="eval").body
        assert isinstance(node, ast.Compare), part
        sides = [node.left, *node.comparators]
        bare = [isinstance(x, ast.Attribute) for x in sides]
        pairs = zip(sides, sides[1:], bare, bare[1:], strict=False)
        for left, right, one, other in pairs:
            ends = {ast.unparse(x).rsplit(".", 1)[-1] for x in (left, right)}
            intervals = bool(ends & {"low", "high"})
            exact = isinstance(node.ops[0], ast.Eq)
            assert intervals or exact or not (one and other), f"{part} has no margin"


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


def test_each_rule_of_the_practice_guide_names_a_figure_or_a_table() -> None:
    text = (ROOT / "book/appendix_a.md").read_text()
    guide = text[text.index("## A.2") : text.index("(sec-a-3)")]
    rules = re.findall(r"^\d+\. .*(?:\n {3,}.*)*", guide, re.MULTILINE)
    assert len(rules) > 20
    shown = re.compile(r"\{numref\}`fig-|\btable of \[[\d.]+\]\(sec-")
    assert [rule for rule in rules if not shown.search(rule)] == []
