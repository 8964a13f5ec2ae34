"""Pages and page feet that the press writes itself, from claims, records and runs."""

from collections import Counter
from collections.abc import Mapping, Sequence

from book.pipeline.chapters import BookError, Chapter
from book.pipeline.claims import VERDICTS, Claim, evidence, judge
from book.pipeline.execute import Run
from book.pipeline.results import Results
from recsys_lib.provenance import Machine


def foot(chapter: Chapter, run: Run) -> str:
    """What this page was made of: fingerprint, parameters, run time, downloads."""
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


def ledger(claims: Sequence[Claim], results: Results) -> str:
    """Appendix B: every claim with its verdict, the records behind it, the correction.

    On a reader's data, or a GPU, the verdicts are shown beside what was found there.

    Raises:
        BookError: Listing each claim whose verdict its own data no longer bear.
    """
    elsewhere = _elsewhere(results)
    fallen = [claim for claim in claims if judge(claim, results) is False]
    if fallen and not elsewhere:
        raise BookError(
            "\n".join(
                f"claim {c.id} (section {c.section}): the verdict {c.verdict!r} no "
                f"longer follows; {c.rule} is false with {evidence(c, results)}"
                for c in fallen
            )
        )
    counts = Counter(claim.verdict for claim in claims)
    tally = ", ".join(f"{counts[v]} *{v}*" for v in VERDICTS if counts[v])
    rows = "\n".join(_claim(claim, results) for claim in claims)
    return f"""\
# B. The ledger

What the source document claims, what was measured, and the form that holds. Each
verdict is carried by a rule over the recorded results or by a source; the book does
not build when a rule stops being true. So far: {tally}.
{elsewhere}
{rows}
"""


_OF_OTHER_DATA = """
:::{{admonition}} The verdicts are of the book's own data
:class: warning
They were judged on MovieLens and the clothing reviews, and stay. The numbers below
are of your data, {}; beside each verdict stands whether its rule holds on them. Where
it does not, that is a finding about your data, and no fault.
:::
"""
_OF_A_CPU = """
:::{{admonition}} The verdicts are of a processor
:class: warning
They were judged on a machine without a GPU, and stay. The numbers below are of one
with a GPU ({}), where a model may cost so little that a rule does not hold; beside
each verdict stands whether it does. One about quality that does not is worth a look.
:::
"""
_HERE = {True: "the rule holds", False: "the rule does not hold", None: ""}


def _elsewhere(results: Results) -> str:
    """What to say where the verdicts were not judged on the like; else nothing."""
    if own := results.facts.get("dataset"):
        return _OF_OTHER_DATA.format(own)
    on_gpu = results.facts.get("device", "cpu") != "cpu"
    return _OF_A_CPU.format(results.facts["gpu"] or "unnamed") if on_gpu else ""


def _claim(claim: Claim, results: Results) -> str:
    here = judge(claim, results) if _elsewhere(results) else None
    where = "On your data" if "dataset" in results.facts else "On this GPU"
    shown = {
        "Measured": evidence(claim, results),
        where: _HERE[here],
        "Rule": f"`{claim.rule}`" if claim.rule else "",
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


def provenance(
    runs: Mapping[Chapter, Run], machine: Machine, *, recorded: str = "", note: str = ""
) -> str:
    """Appendix C: the machine, each chapter's status, recorded runs, every hash."""
    status = "\n".join(
        f"| [](chapters/{c.stem}) | `{r.fingerprint}` | {r.parts['parameter profile']} "
        f"| {len(c.code)} | {len(r.records)} | {r.seconds:.0f} |"
        for c, r in runs.items()
    )
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
{status}

## Recorded runs

Runs that were kept on purpose, on named machines. `make compare` prints this run beside
one of them, record by record; here stands how many records agree (intervals overlap, or
values differ by a tenth at most) and how many times were shorter or longer here.

{recorded or "Runs on other data are not compared."}

## The inputs

A chapter runs again when one of its lines changes, and only then.

{inputs}
"""


def _hardware(machine: Machine) -> str:
    rows = {
        "processor": machine.cpu,
        "cores": machine.cores,
        "memory": f"{machine.memory_gib} GiB",
        "GPU": machine.gpu or "none: nothing in this book was run on one",
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
