"""Pages and page feet that the press writes itself, from claims, records and runs."""

from collections.abc import Mapping

from book.pipeline.chapters import Chapter
from book.pipeline.records.claims import Judgement, again_command
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
