"""Pages and page feet that the press writes itself, from claims, records and runs."""

from collections import Counter
from collections.abc import Mapping, Sequence

from book.pipeline.chapters import Chapter
from book.pipeline.records.claims import (
    VERDICTS,
    Judgement,
    State,
    again_command,
    tally,
)
from book.pipeline.records.compare import RecordedRun, machine_line
from book.pipeline.results import Results
from book.pipeline.running.execute import Run
from recsys_lib.machine import Machine


def foot(chapter: Chapter, run: Run) -> str:
    """The foot of a chapter: fingerprint, parameters, run time, downloads."""
    settings = ", ".join(
        f"{name.removeprefix('parameter ')} = {value}"
        for name, value in run.parts.items()
        if name.startswith("parameter ")
    )
    return f"""\
:::{{admonition}} How this page was made
:class: provenance
Fingerprint
: `{run.fingerprint}`, over {len(run.parts)} inputs: code cells, parameters, reached
  modules, data, model, locked packages and hardware. [All of them](../provenance.md).

Machine
: {run.parts["hardware"]}

Run
: {run.seconds:.0f} s with {settings}

Take it with you
: {{download}}`this notebook <{chapter.stem}.ipynb>`,
  {{download}}`its results as JSON <../results/{chapter.key}.json>`
:::
"""


def fallen_note(judgement: Judgement) -> str:
    """The note on a chapter's page about a verdict that falls."""
    claim = judgement.claim
    command = again_command([judgement])
    advice = f" `{command}` measures it again." if command else ""
    return f"""\
:::{{admonition}} On this run a verdict falls
:class: warning fallen
{{ref}}`{claim.section} {claim.claim} <claim-{claim.id}>`: the verdict,
*{claim.verdict}*, falls here. Its rule is {judgement.kind} and requires
{judgement.broken}.{advice}
:::
"""


def ledger(
    judgements: Sequence[Judgement],
    results: Results,
    recorded: Mapping[str, RecordedRun],
) -> str:
    """Appendix B: every claim, its verdict, its records, and where the verdict stands.

    Args:
        judgements: Of this run, in the order of the page.
        results: Of this run.
        recorded: The recorded runs to show beside it, by name.
    """
    counts = Counter(j.claim.verdict for j in judgements)
    verdicts = ", ".join(f"{counts[v]} *{v}*" for v in VERDICTS if counts[v])
    rows = "\n".join(_claim(j, recorded) for j in judgements)
    return f"""\
# B. The ledger

What the source document claims, what was measured, and the form that holds:
{verdicts}. Each verdict rests on a source, or on a rule over the recorded results. An
*exact* rule compares qualities, counts or identities, which are the same on every
machine; a *timed* rule compares times, or numbers computed from times. Both are judged
on each run, and a verdict that falls is a finding about that machine or those data.

| run | machine | profile, date | its code | verdicts |
|---|---|---|---|---|
| this run | {machine_line(results)} | {results.facts["profile"]} | as in this book \
| {tally(judgements)} |
{_recorded_rows(recorded)}
{_of_edition(results)}
{rows}
"""


def _recorded_rows(recorded: Mapping[str, RecordedRun]) -> str:
    return "\n".join(
        f"| {name} | {machine_line(run.results)} | {run.results.facts['profile']}, "
        f"{run.results.facts['date']} | {run.age} | {tally(run.judgements)} |"
        for name, run in recorded.items()
    )


def _of_edition(results: Results) -> str:
    named = {"dataset": "data", "models": "models"}
    own = {kind: results.facts[x] for x, kind in named.items() if x in results.facts}
    if not own:
        return ""
    yours = " and ".join(f"your {kind}, {names}" for kind, names in own.items())
    return f"""
:::{{admonition}} The verdicts are about the book's own data and model
:class: warning
They were judged on MovieLens and the clothing reviews, with all-MiniLM-L6-v2. The
numbers below are from {yours}. A rule that does not hold on them is a finding, not a
fault.
:::
"""


def _claim(judgement: Judgement, recorded: Mapping[str, RecordedRun]) -> str:
    claim = judgement.claim
    shown = {
        "Measured": judgement.evidence,
        "Where it stands": _stands(judgement, recorded),
        "Rule": f"`{_one_line(claim.rule)}` ({judgement.kind})" if claim.rule else "",
        "See": f"{{ref}}`{claim.figure}`" if claim.figure else "",
        "Source": claim.source,
    }
    details = "\n\n".join(f"{name}\n: {text}" for name, text in shown.items() if text)
    mark = claim.verdict.replace(" ", "-")
    return f"""\
(claim-{claim.id})=
## {claim.section} {claim.claim}

:::{{div}} verdict {mark}
{claim.verdict.capitalize()}
:::

{claim.correct}

{details}
"""


def _stands(judgement: Judgement, recorded: Mapping[str, RecordedRun]) -> str:
    """The state in this run and in each recorded one; empty without a rule."""
    if judgement.state is State.NO_RULE:
        return ""
    states: dict[str, State] = {"this run": judgement.state}
    for name, run in recorded.items():
        states[name] = run.state(judgement.claim)
    condition = judgement.claim.condition
    shown = "; ".join(f"{name}: {_marked(x, condition)}" for name, x in states.items())
    return f"Judged {condition}. {shown}." if condition else f"{shown}."


def _marked(state: State, condition: str) -> str:
    if state is State.NOT_JUDGED:
        return f"not judged (the rule holds {condition})"
    return f"**{state}**" if state is State.FALLS else str(state)


def provenance(
    runs: Mapping[Chapter, Run], machine: Machine, *, recorded: str = "", note: str = ""
) -> str:
    """Appendix C: the machine, each chapter's status, recorded runs, every hash."""
    chapters = "\n".join(_chapter(chapter, run) for chapter, run in runs.items())
    inputs = "\n\n".join(_inputs(chapter, run) for chapter, run in runs.items())
    return f"""\
# C. Provenance

The press wrote this page from the runs themselves.

{note}

## The machine

| what | value |
|---|---|
{_hardware(machine)}

## The chapters

| chapter | fingerprint | profile | code cells | records | seconds |
|---|---|---|---|---|---|
{chapters}

## Recorded runs

Runs recorded on named machines. `make compare` compares this run with one of them. The
table says how many records agree: their intervals overlap, or their values differ by a
tenth at most. Times are not judged, since they depend on the machine.

{recorded or "Runs on other data are not compared."}

## The inputs

A chapter runs again when one of its inputs changes, and only then.

{inputs}
"""


def _chapter(chapter: Chapter, run: Run) -> str:
    return (
        f"| [](chapters/{chapter.stem}) | `{run.fingerprint}` "
        f"| {run.parts['parameter profile']} | {len(chapter.code)} "
        f"| {len(run.records)} | {run.seconds:.0f} |"
    )


def _hardware(machine: Machine) -> str:
    rows = {
        "processor": machine.cpu,
        "cores": machine.cores,
        "memory": f"{machine.memory_gib} GiB",
        "GPU": machine.gpu or "none",
        "system": machine.system,
        "Python": machine.python,
        **machine.versions,
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _inputs(chapter: Chapter, run: Run) -> str:
    rows = "\n".join(f"| `{name}` | `{value}` |" for name, value in run.parts.items())
    return f"""\
:::{{dropdown}} {chapter.stem}
| input | hash or value |
|---|---|
{rows}
:::"""


def _one_line(rule: str) -> str:
    return " ".join(rule.split())
