"""What the press adds to a chapter's page: its foot, and notes on fallen verdicts."""

from book.pipeline.chapters import Chapter
from book.pipeline.language.catalogues import PRESS, said, say
from book.pipeline.records.claims import Judgement, again_command
from book.pipeline.running.execute import Run


def foot(chapter: Chapter, run: Run) -> str:
    """The foot of a chapter: fingerprint, parameters, run time, downloads."""
    used = ", ".join(
        f"{name.removeprefix('parameter ')} = {value}"
        for name, value in run.parts.items()
        if name.startswith("parameter ")
    )
    inputs = say(
        "over {n} inputs: code cells, parameters, reached modules, data, model, locked "
        "packages and hardware. [All of them](../provenance.md).",
        n=len(run.parts),
    )
    return f"""\
:::{{admonition}} {say("How this page was made")}
:class: provenance
{say("Fingerprint")}
: `{run.fingerprint}`{say(", ")}{inputs}

{say("Machine")}
: {run.parts["hardware"]}

{say("Run")}
: {say("{seconds} s with {used}", seconds=f"{run.seconds:.0f}", used=used)}

{say("Take it with you")}
: {{download}}`{say("its results as JSON")} <../results/{chapter.key}.json>`
:::
"""


def fallen_note(judgement: Judgement) -> str:
    """The note on a chapter's page about a verdict that falls."""
    claim = judgement.claim
    command = again_command([judgement])
    advice = say(" `{command}` measures it again.", command=command) if command else ""
    found = say(
        "{link}: the verdict, *{verdict}*, falls here. Its rule is {kind} and requires "
        "{broken}.",
        link=f"{{ref}}`{claim.section} {claim.claim} <claim-{claim.id}>`",
        verdict=said(claim.verdict, PRESS),
        kind=say("timed") if judgement.timed else say("exact"),
        broken=judgement.broken,
    )
    return f"""\
:::{{admonition}} {say("On this run a verdict falls")}
:class: warning fallen
{found}{advice}
:::
"""
