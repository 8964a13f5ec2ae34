"""What the first page takes from the records: the decision table and the machines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from book.pipeline.chapters import BookError, Chapter, code_cells
from book.pipeline.language.catalogues import say
from book.pipeline.printing.prose import citations
from book.pipeline.records.claims import holds
from book.pipeline.records.compare import machine_line
from book.pipeline.results import Results
from book.pipeline.running.execute import Run
from recsys_lib.metrics.significance import holm

_SVG = "image/svg+xml"
_CONFIRMED = re.compile(r"\{confirmed\}`([^`]+)`")
_ERROR = 0.05  # probability of one or more false confirmations
_MARK = "†"


@dataclass(frozen=True)
class Option:
    """What to build in a case, and what supports it.

    Attributes:
        build: The advice.
        gain: What it gains, with citations of records; {confirmed}`ch1.p_name` after a
            gain marks it if that p-value is confirmed.
        time: What it costs in a request, with citations.
        where: Link to the section.
        when: Rule over records, as of a claim; empty for the advice that remains.
        rest: Further measurements, shown below the table.
    """

    build: str
    gain: str
    time: str
    where: str
    when: str = ""
    rest: str = ""

    @property
    def text(self) -> str:
        """All that cites records."""
        return "\n".join((self.build, self.gain, self.time, self.rest))

    def is_measured(self, results: Results) -> bool:
        """Whether the run holds each record that it cites."""
        cited = [citation.partition(":")[0] for _, _, citation in citations(self.text)]
        for name in _CONFIRMED.findall(self.text):
            results.get(name)  # raises if no chapter makes it
        return all(results.get(name) is not None for name in cited)

    def applies(self, results: Results) -> bool:
        """Whether the records support it, and the run holds what it cites."""
        of = f"decisions.yml: {self.build}"
        return (
            not self.when or holds(self.when, results, of=of) is True
        ) and self.is_measured(results)


@dataclass(frozen=True)
class Case:
    """A reader's case and its options; the first that applies is shown.

    Attributes:
        case: In a few words.
        options: In the order of preference.
        measured_on: Data that are not replaced by the reader's; "" if they are.
    """

    case: str
    options: Sequence[Option]
    measured_on: str = ""


def load_cases(path: Path) -> tuple[list[Case], dict[str, str]]:
    """Read `decisions.yml`: the cases, and what the machines are compared in.

    Returns:
        The cases, and for each row of the table of machines its citation.

    Raises:
        BookError: For an unknown or missing field.
    """
    content = yaml.safe_load(path.read_text())
    try:
        cases = [
            Case(**{**one, "options": [Option(**x) for x in one["options"]]})
            for one in content["cases"]
        ]
        return cases, dict(content["machines"])
    except (TypeError, KeyError) as error:
        raise BookError(f"{path.name}: {error}") from error


@dataclass(frozen=True)
class Drawn:
    """A figure as a chapter drew it: SVG, its alt text and its caption."""

    svg: str
    alt: str
    caption: str


def find_figure(runs: Mapping[Chapter, Run], name: str) -> Drawn | None:
    """The figure of that name, if a chapter of the build drew it."""
    for chapter, run in runs.items():
        pairs = map(code_cells, (chapter.notebook, run.notebook))
        for cell, executed in zip(*pairs, strict=True):
            settings = cell.metadata.get("mystnb", {})
            if settings.get("figure", {}).get("name") != name:
                continue
            pictures = [x.data.get(_SVG) for x in executed.outputs if "data" in x]
            alt = " ".join(settings["image"]["alt"].split())
            svg = next(filter(None, pictures), "")
            return Drawn(svg, alt, settings["figure"]["caption"])
    return None


def headline(runs: Mapping[Chapter, Run], name: str) -> dict[str, str]:
    """The figure of that name for the first page, if a chapter of the build drew it.

    Returns:
        Files to stage: the page to include, and the picture that it shows.
    """
    if (drawn := find_figure(runs, name)) is None:
        missing = say("The chapter with the headline figure is not in this build.")
        return {"headline": f"*{missing}*\n"}
    again = say("The figure is {figure} in its section.", figure=f"{{numref}}`{name}`")
    page = f"""\
```{{figure}} headline.svg
:alt: {drawn.alt}
:name: fig-headline

{drawn.caption} {again}
```
"""
    return {"headline": page, "headline.svg": drawn.svg}


def decision_table(cases: Sequence[Case], results: Results) -> str:
    """Markdown table: case, what to build, gain, milliseconds, section.

    A gain that Holm's method confirms is marked, and a note below the table says so. A
    case that this run did not measure is named there. Further measurements fold away.
    """
    sure = confirmed(results)
    rows, rest, missing = [], [], []
    for case in cases:
        chosen = next((x for x in case.options if x.applies(results)), None)
        if chosen is None:
            missing.append(_unanswered(case, results))
            continue
        gain = chosen.gain
        if case.measured_on and results.facts.get("dataset"):
            gain += say(" (on {data}, not on your data)", data=case.measured_on)
        cells = (case.case, chosen.build, gain, chosen.time, chosen.where)
        rows.append(f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |")
        if chosen.rest:
            words = " ".join(chosen.rest.split())
            rest.append(f"- **{case.case}**{say(': ')}{words}{say('.')}")
    names = say("; ").join(missing)
    left = say("Not measured in this run: {cases}.", cases=names) if missing else ""
    more = "\n".join(rest)
    folded = (
        f":::{{dropdown}} {say('More measurements of these cases')}\n\n{more}\n\n:::\n"
    )
    head = (
        say("Your case"),
        say("Build this"),
        say("Gain"),
        say("Time of a request"),
        say("Section"),
    )
    lines = "\n".join(rows)
    page = f"""\
:::{{div}} decisions

| {" | ".join(head)} |
|---|---|---|---|---|
{lines}

:::
{folded if rest else ""}"""
    shown = _CONFIRMED.sub(lambda x: _MARK * (x[1] in sure), page)
    note = _note(results, marked=_MARK in shown) if _CONFIRMED.search(page) else ""
    return f"{shown}\n{note}\n\n{left}\n"


def _note(results: Results, *, marked: bool) -> str:
    """What the mark means; with a link where the chapter with all comparisons is."""
    absent = "ch7" in results.facts.get("absent", ())
    where = "" if absent else say(" ([7.1](sec-7-1))")
    if marked:
        return say(
            "† Confirmed by Holm's method for all confirmatory comparisons of this "
            "run{where}. Gains without it are exploratory.",
            where=where,
        )
    return say(
        "No gain in this table is confirmed by Holm's method for all confirmatory "
        "comparisons of this run{where}.",
        where=where,
    )


def _unanswered(case: Case, results: Results) -> str:
    """A case that no option answers, with the chapters that it lacks."""
    texts = "".join(x.text for x in case.options)
    keys = {citation.partition(".")[0] for _, _, citation in citations(texts)}
    lacked = sorted(key[2:] for key in keys if not results.records.get(key))
    if not lacked:
        return case.case
    chapters = say(" and ").join(lacked)
    return say("{case} (needs chapter {chapters})", case=case.case, chapters=chapters)


def confirmed(results: Results) -> frozenset[str]:
    """Names of the run's p-values that stand after Holm's correction for all of them.

    They are the confirmatory family, the records whose names begin with `p_`.
    """
    p_values = {
        f"{key}.{name}": found["value"]
        for key, records in results.records.items()
        for name, found in records.items()
        if name.startswith("p_")
    }
    return frozenset(name for name, p in holm(p_values).items() if p <= _ERROR)


def machine_table(
    rows: Mapping[str, str], here: Results, recorded: Mapping[str, Results]
) -> str:
    """Markdown table: the same measurements on this run and on each recorded machine.

    Each has its interval, if its record has one.

    Args:
        rows: What is measured -> citation of its record.
        here: This run.
        recorded: The recorded runs by name.
    """
    runs = {say("this run"): here, **recorded}
    head = " | ".join(f"{name}{say(': ')}{_dated(run)}" for name, run in runs.items())
    lines = [
        f"| {what} | {' | '.join(_shown(run, cited) for run in runs.values())} |"
        for what, cited in rows.items()
    ]
    rule = "---|" * (len(runs) + 1)
    median = say("Median in ms")
    return "\n".join([f"| {median} | {head} |", f"|{rule}", *lines, ""])


def _shown(run: Results, citation: str) -> str:
    name = citation.partition(":")[0]
    try:
        whole = run.has_interval(name)
        return run.interval(citation) if whole else run.text(citation)
    except BookError:
        if "recorded" in run.facts or run.facts.get("absent"):
            return "–"
        raise


def _dated(run: Results) -> str:
    date = f"{say(', ')}{run.facts['date']}" if "date" in run.facts else ""
    return machine_line(run) + date
