"""What the press adds to a chapter's page: its foot, and notes on fallen verdicts."""

from book.pipeline.chapters import Chapter
from book.pipeline.records.claims import Judgement, again_command
from book.pipeline.running.execute import Run


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
: {{download}}`its results as JSON <../results/{chapter.key}.json>`
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
