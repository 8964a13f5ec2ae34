"""Appendix B, the ledger: one table of claims, and the same as CSV and JSON."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from book.pipeline.language.catalogues import ENGLISH, PRESS, language, said, say
from book.pipeline.records.claims import VERDICTS, Judgement, State, tally
from book.pipeline.records.compare import RecordedRun, machine_line
from book.pipeline.records.explain import distance, sentence
from book.pipeline.results import Results

_DASH = "–"
_MARKS = {
    State.STANDS: "✓",
    State.FALLS: "✗",
    State.NOT_JUDGED: _DASH,
    State.NOT_RECORDED: "?",
}


def ledger(
    judgements: Sequence[Judgement],
    results: Results,
    recorded: Mapping[str, RecordedRun],
) -> str:
    """Every claim, its verdict, its margin, and where the verdict stands.

    Args:
        judgements: Of this run, in the order of the page.
        results: Of this run.
        recorded: The recorded runs to show beside it, by name.
    """
    counts = Counter(j.claim.verdict for j in judgements)
    verdicts = say(", ").join(
        say("{n} *{verdict}*", n=counts[v], verdict=said(v, PRESS))
        for v in VERDICTS
        if counts[v]
    )
    rows = "\n".join(_row(j, results, recorded) for j in judgements)
    runs = escape("|".join((say("this run"), *recorded)))
    introduction = say(
        "What the source document claims and what was measured: {verdicts}. *Holds "
        "mostly* means in the common case, with the exceptions named; *holds rarely* "
        "means only under a special condition. An *exact* rule compares qualities, "
        "counts or identities; a *timed* rule compares times, or numbers computed from "
        "times. The margin is the distance between the two sides of the rule's "
        "tightest comparison, as a part of the larger side. Download the table: "
        "{download}`CSV <ledger.csv>`, {download}`JSON <ledger.json>`.",
        verdicts=verdicts,
    )
    head = (say("run"), say("machine"), say("profile, date"), say("its code"))
    profile = said(results.facts["profile"], PRESS)
    return f"""\
# {say("B. The ledger")}

{introduction}

| {" | ".join(head)} | {say("verdicts")} |
|---|---|---|---|---|
| {say("this run")} | {machine_line(results)} | {profile} | {say("as in this book")} \
| {tally(judgements)} |
{_recorded_rows(recorded)}
{_of_edition(results)}
<div id="ledger-controls"></div>
<table class="ledger" id="ledger-table" data-runs="{runs}">
<thead><tr>{"".join(f'<th scope="col">{x}</th>' for x in _columns())}</tr></thead>
<tbody>

{rows}
</tbody></table>
"""


def _columns() -> tuple[str, ...]:
    return (
        say("Section"),
        say("Claim"),
        say("Verdict"),
        say("Where it holds"),
        say("Margin"),
        say("Where it stands"),
    )


def entries(
    judgements: Sequence[Judgement],
    results: Results,
    recorded: Mapping[str, RecordedRun],
) -> list[dict[str, str]]:
    """The rows of the ledger as text, for the files offered beside the page."""
    return [
        _entry(j, results, _states(j, recorded), list(recorded)) for j in judgements
    ]


def _entry(
    judgement: Judgement,
    results: Results,
    states: Mapping[str, State],
    recorded: Sequence[str],
) -> dict[str, str]:
    claim = judgement.claim
    return {
        "id": claim.id,
        "section": claim.section,
        "claim": claim.claim,
        "claim_zh": claim.zh,
        "verdict": claim.verdict,
        "where_it_holds": _where(judgement),
        "margin": margin_text(judgement, results),
        **{
            f"state: {name}": str(states.get(name, State.NO_RULE))
            for name in ("this run", *recorded)
        },
        "kind": judgement.kind if claim.rule else "",
        "correct": claim.correct,
        "rule_in_words": sentence(claim.rule, results),
        "rule": _one_line(claim.rule),
        "figure": claim.figure,
        "source": claim.source,
    }


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as CSV, with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_json(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as a JSON list."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def margin_text(judgement: Judgement, results: Results) -> str:
    """The margin as a percentage; a dash where there is none."""
    if judgement.state not in (State.STANDS, State.FALLS):
        return _DASH
    margin = distance(judgement.claim.rule, results)
    return _DASH if margin is None else f"{100 * margin:.1f}%"


def _recorded_rows(recorded: Mapping[str, RecordedRun]) -> str:
    return "\n".join(
        f"| {name} | {machine_line(run.results)} "
        f"| {said(run.results.facts['profile'], PRESS)}{say(', ')}"
        f"{run.results.facts['date']} | {run.age} | {tally(run.judgements)} |"
        for name, run in recorded.items()
    )


def _of_edition(results: Results) -> str:
    data, models = (results.facts.get(x) for x in ("dataset", "models"))
    yours = [say("your data, {names}", names=data)] * bool(data)
    yours += [say("your models, {names}", names=models)] * bool(models)
    if not yours:
        return ""
    title = say("The verdicts are about the book's own data and model")
    warning = say(
        "They were judged on MovieLens and the clothing reviews, with "
        "all-MiniLM-L6-v2. The numbers below are from {yours}. A rule that does not "
        "hold on them is a finding, not a fault.",
        yours=say(" and ").join(yours),
    )
    return f"""
:::{{admonition}} {title}
:class: warning
{warning}
:::
"""


def _row(
    judgement: Judgement, results: Results, recorded: Mapping[str, RecordedRun]
) -> str:
    claim = judgement.claim
    states = _states(judgement, recorded)
    falls = "|".join(_run(name) for name, x in states.items() if x is State.FALLS)
    mark = claim.verdict.replace(" ", "-")
    other = claim.zh if language() == ENGLISH else ""  # the Chinese page has it above
    chinese = f'\n<p lang="zh">{escape(other)}</p>\n' if other else ""
    section, verdict = claim.section, said(claim.verdict, PRESS)
    kind = say("timed") if judgement.timed else say("exact")
    rule = say("`{rule}` ({kind})", rule=_one_line(claim.rule), kind=kind)
    stands = "\n".join(_stand(name, x) for name, x in states.items()) or _DASH
    shown = {
        say("Rule in words"): sentence(claim.rule, results),
        say("Rule"): rule if claim.rule else "",
        say("Judged"): claim.condition,
        say("See"): f"{{numref}}`{claim.figure}`" if claim.figure else "",
        say("Source"): claim.source,
    }
    details = "\n\n".join(f"{name}\n: {text}" for name, text in shown.items() if text)
    of = _columns()
    return f"""\
<tr class="claim" data-verdict="{mark}" data-section="{section}"
data-falls="{escape(falls)}"><td data-label="{of[0]}">{section}</td>
<td data-label="{of[1]}">

(claim-{claim.id})=
{claim.claim}
{chinese}
<details><summary>{say("What holds, and the rule")}</summary>

{claim.correct}

{details}

</details></td>
<td data-label="{of[2]}"><span class="verdict {mark}">{verdict}</span></td>
<td data-label="{of[3]}">{escape(_where(judgement) or _DASH)}</td>
<td data-label="{of[4]}">{margin_text(judgement, results)}</td>
<td data-label="{of[5]}">{stands}</td></tr>
"""


def _where(judgement: Judgement) -> str:
    return judgement.claim.short or judgement.claim.condition


def _states(
    judgement: Judgement, recorded: Mapping[str, RecordedRun]
) -> dict[str, State]:
    """The state in this run and in each recorded one; empty without a rule."""
    if judgement.state is State.NO_RULE:
        return {}
    others = {name: run.state(judgement.claim) for name, run in recorded.items()}
    return {"this run": judgement.state, **others}


def _stand(name: str, state: State) -> str:
    word = state.name.lower().replace("_", "-")
    shown = f'<span class="state {word}">{_MARKS[state]} {said(state, PRESS)}</span>'
    return f"<div>{escape(_run(name))}{say(': ')}{shown}</div>"


def _run(name: str) -> str:
    return say("this run") if name == "this run" else name


def _one_line(rule: str) -> str:
    return " ".join(rule.split())
