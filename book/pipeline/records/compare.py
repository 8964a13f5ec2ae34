"""Compare this run with recorded ones, `make compare`; record it, `make record`."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import say
from book.pipeline.records.claims import (
    Claim,
    Judgement,
    State,
    judge,
    judge_all,
    load_claims,
)
from book.pipeline.records.servers import measured_servers
from book.pipeline.results import Results
from book.pipeline.running.fingerprint import enumerate_inputs

TOLERANCE = 0.1  # of the larger value, where a record has no interval
ROUNDING = 1e-5  # below it, a value without an interval is a rounding error
_TIMES = ("ns", "us", "ms", "s")
_FACTS = ("cpu", "cores", "memory_gib", "gpu", "system", "python", "profile", "device")
_MACHINE = ("gpu", "device", "cpu", "cores", "profile")  # the first counts most
# Inputs that are neither code nor data; the last are records of the same run.
_NOT_CODE = ("hardware", "parameter ", "data ch")


@dataclass(frozen=True)
class RecordedRun:
    """A run of `book/results`, judged by the claims as they are now.

    Attributes:
        results: Its records and facts.
        judgements: Of the claims on it.
        changed: chapter key -> inputs that have changed since, machine and parameters
            left out; None if the run does not list its inputs.
    """

    results: Results
    judgements: Sequence[Judgement]
    changed: Mapping[str, Sequence[str]] | None

    @property
    def age(self) -> str:
        """Whether the code of this book made it, in a few words."""
        if self.changed is None:
            return say("older (its inputs were not recorded)")
        older = [key.removeprefix("ch") for key, names in self.changed.items() if names]
        if not older:
            return say("as in this book")
        return say("older in {chapters}", chapters=say(", ").join(older))

    def is_older(self, key: str) -> bool:
        """Whether other inputs made a chapter of it, or it does not list them."""
        return self.changed is None or bool(self.changed.get(key))

    def state(self, claim: Claim) -> State:
        """State of the verdict of a claim in it."""
        return next(j.state for j in self.judgements if j.claim == claim)


@dataclass(frozen=True)
class Compared:
    """One record in two runs.

    `verdict` is "within", "outside", "timed" or, in one run only, "missing"; `factor`
    is the value here over the value there, None if either is missing or that is 0.
    """

    name: str
    here: str
    there: str
    verdict: str
    factor: float | None = None
    unit: str = ""

    @property
    def chapter(self) -> str:
        """Key of its chapter."""
        return self.name.split(".")[0]


def record_run(name: str, results: Path, folder: Path) -> Path:
    """Save the results of the last build under a name; return their folder.

    The servers of the last `make bench` are saved with them.

    Args:
        name: Such as that of the machine: lower case, digits, hyphens.
        results: `_build/results`, which a build of the whole book wrote.
        folder: `book/results`, one folder for each recorded run.

    Raises:
        BookError: If the name is wrong or taken, or there are no results.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise BookError(f"NAME must be lower case, digits and hyphens; got {name!r}")
    if (folder / name).exists():
        raise BookError(f"{folder / name} exists already; delete it first")
    made = _load(results)
    facts = {**made.facts, "date": date.today().isoformat()}
    bench = results.parent / "bench/results.json"
    if servers := measured_servers(bench, made.facts):
        facts["servers"] = servers
    Results(made.records, facts).save(folder / name)
    return folder / name


def load_recorded(folder: Path) -> dict[str, Results]:
    """Load every recorded run, by name."""
    found = {p.parent.name: Results.load(p.parent) for p in folder.glob("*/run.json")}
    return {
        name: Results(found[name].records, {**found[name].facts, "recorded": name})
        for name in sorted(found)
    }


def judge_recorded(
    folder: Path, claims: Sequence[Claim], here: Results
) -> dict[str, RecordedRun]:
    """Load every recorded run, judge the claims on it, and find what has changed since.

    Args:
        folder: `book/results`.
        claims: As they are now.
        here: The run at hand, made by the code of the book.
    """
    return {
        name: RecordedRun(there, judge_all(claims, there), changed_inputs(here, there))
        for name, there in load_recorded(folder).items()
    }


def changed_inputs(here: Results, there: Results) -> dict[str, list[str]] | None:
    """Inputs that differ between two runs, by chapter: code, data, models, versions.

    The machine and the parameters are left out. None if a run does not list them.
    """
    ours, theirs = (run.facts.get("inputs") for run in (here, there))
    if not (ours and theirs):
        return None
    return {
        key: [
            name
            for name in sorted({*ours[key], *theirs.get(key, {})})
            if not name.startswith(_NOT_CODE)
            and ours[key].get(name) != theirs.get(key, {}).get(name)
        ]
        for key in ours
    }


def choose_recorded(here: Results, folder: Path, name: str = "") -> tuple[str, Results]:
    """Load the recorded run of that name, or else that of the most similar machine.

    Of equally similar ones, the newest.

    Raises:
        BookError: If there is none.
    """
    runs = load_recorded(folder)
    if not runs:
        raise BookError(f"no recorded run in {folder}; `make record` saves one")
    if name and name not in runs:
        raise BookError(f"no recorded run {name} in {folder}; got {', '.join(runs)}")

    def similarity(one: str) -> tuple[list[bool], str]:
        facts = runs[one].facts
        same = [here.facts.get(k) == facts.get(k) for k in _MACHINE]
        return same, str(facts.get("date", ""))

    chosen = name or max(runs, key=similarity)
    return chosen, runs[chosen]


def compare(here: Results, there: Results) -> list[Compared]:
    """Compare each record of two runs, chapter by chapter.

    Timed records are not judged. Others agree if their intervals overlap or, if neither
    has one, if they differ by at most `TOLERANCE` of the larger or are both below
    `ROUNDING`.
    """
    found = []
    for key in sorted({*here.records, *there.records}):
        ours, theirs = here.records.get(key, {}), there.records.get(key, {})
        for name in dict.fromkeys([*ours, *theirs]):
            pair = ours.get(name, {}), theirs.get(name, {})
            found.append(_compared(f"{key}.{name}", *pair))
    return found


def differences(here: Results, there: Results) -> list[str]:
    """Hardware, versions, settings and inputs in which two runs differ, a line each."""
    ours, theirs = (
        {k: run.facts.get(k, "") for k in _FACTS} | run.facts.get("versions", {})
        for run in (here, there)
    )
    found = [
        f"{key}: {ours.get(key) or 'none'} here, {theirs.get(key) or 'none'} there"
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]
    changed = changed_inputs(here, there)
    if changed is None:
        return [*found, "code: the recorded run does not list its inputs"]
    return found + [
        f"{key} has other inputs: {enumerate_inputs(names)}"
        for key, names in changed.items()
        if names
    ]


def differing_verdicts(
    claims: Iterable[Claim], here: Results, there: Results
) -> list[str]:
    """Claims whose verdicts differ between two runs, a line each."""
    pairs = [(c, judge(c, here), judge(c, there)) for c in claims]
    return [
        f"{c.section} {c.id}: {ours} here, {theirs} there"
        for c, ours, theirs in pairs
        if ours is not theirs and State.NOT_RECORDED not in (ours, theirs)
    ]


def time_factors(found: Iterable[Compared]) -> dict[str, float]:
    """How many times as long each time is here as there; counts and rates left out."""
    return {
        one.name: one.factor
        for one in found
        if one.verdict == "timed" and one.unit in _TIMES and one.factor
    }


def report(found: Sequence[Compared], *, every: bool = False) -> list[str]:
    """Lines of a comparison: by chapter its times and the records outside; a summary.

    Args:
        found: From `compare`.
        every: Whether to list every record, not only those outside.
    """
    lines = []
    for chapter in dict.fromkeys(one.chapter for one in found):
        of_it = [one for one in found if one.chapter == chapter]
        outside = [one for one in of_it if one.verdict == "outside"]
        lines += [f"{chapter}: {_times(of_it)}"] if _times(of_it) else []
        lines += [f"{chapter}: {len(outside)} outside"] if outside else []
        lines += [_line(one) for one in (of_it if every else outside)]
    lines.append(f"{summary(found)}. Within: intervals overlap, or at most a tenth.")
    return lines


def summary(found: Iterable[Compared]) -> str:
    """Count the verdicts in a sentence."""
    counts = Counter(one.verdict for one in found)
    order = ("within", "outside", "timed", "missing")
    shown = ", ".join(f"{counts[v]} {v}" for v in order if counts[v])
    return f"{sum(counts.values())} records: {shown or 'nothing to compare'}"


def print_comparison(
    results: Path, folder: Path, claims: Path, *, name: str = "", every: bool = False
) -> None:
    """Print this run compared with a recorded one: verdicts first, then records.

    Args:
        results: Folder of this run's results.
        folder: Of the recorded runs.
        claims: `claims.yml`.
        name: Of a recorded run; by default that of the most similar machine.
        every: Whether to print a line for each record.

    Raises:
        BookError: If this run or the recorded one does not exist.
    """
    here = _load(results)
    chosen, there = choose_recorded(here, folder, name)
    date_there = there.facts.get("date", "no date")
    print(f"This run compared with {chosen}, recorded on {date_there}.")
    if own := _own(here, there):
        print(f"  {own}")
    for line in differences(here, there) or ["the same machine, versions and code"]:
        print(f"  {line}")
    apart = differing_verdicts(load_claims(claims), here, there)
    print(f"Verdicts that differ: {len(apart) or 'none'}")
    for line in [
        *(f"  {x}" for x in apart),
        *report(compare(here, there), every=every),
    ]:
        print(line)


def _own(here: Results, there: Results) -> str:
    """Which data and models differ, and what this means; empty if none does."""
    names = {"dataset": "the book's data", "models": "the book's model"}
    pairs = [
        f"{here.facts.get(key) or own} here, {there.facts.get(key) or own} there"
        for key, own in names.items()
        if (here.facts.get(key) or "") != (there.facts.get(key) or "")
    ]
    if not pairs:
        return ""
    return f"{'; '.join(pairs)}: a quality outside is another result, not a fault"


def machine_line(run: Results) -> str:
    """Processor, cores and GPU of a run, for a table."""
    facts = run.facts
    cores = say("{n} cores", n=facts["cores"])
    return say(", ").join([facts["cpu"], cores, facts["gpu"] or say("no GPU")])


def _load(results: Path) -> Results:
    if not (results / "run.json").exists():
        raise BookError(f"no results in {results}: make book first, with all chapters")
    return Results.load(results)


def _compared(
    name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Compared:
    """Compare one record; it is empty where a run does not have it."""
    here, there = _shown(ours), _shown(theirs)
    if not (ours and theirs):
        return Compared(name, here, there, "missing")
    a, b = ours["value"], theirs["value"]
    factor = a / b if b else None
    if ours.get("timed") or theirs.get("timed"):
        return Compared(name, here, there, "timed", factor, ours["unit"])
    verdict = "within" if _agree(ours, theirs) else "outside"
    return Compared(name, here, there, verdict, factor, ours["unit"])


def _times(found: Iterable[Compared]) -> str:
    """A line on the ratios of a chapter's times; empty if it has none."""
    factors = time_factors(found)
    if not factors:
        return ""
    low, high = (end(factors, key=factors.__getitem__) for end in (min, max))
    middle = median(factors.values())
    return (
        f"times ({len(factors)}): at the median {middle:.2f} times as long here, "
        f"from {factors[low]:.2f} ({low}) to {factors[high]:.2f} ({high})"
    )


def _line(one: Compared) -> str:
    factor = "" if one.factor is None else f" {one.factor:.2f}x"
    return f"  {one.name:44} {one.here:>28} {one.there:>28}  {one.verdict}{factor}"


def _agree(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if ours["low"] is None and theirs["low"] is None:
        a, b = ours["value"], theirs["value"]
        larger = max(abs(a), abs(b))
        return bool(larger < ROUNDING or abs(a - b) <= TOLERANCE * larger)
    (low, high), (least, most) = _ends(ours), _ends(theirs)
    return low <= most and least <= high


def _ends(one: Mapping[str, Any]) -> tuple[float, float]:
    """The interval, or twice the value if there is none."""
    ends = (one["value"] if one[end] is None else one[end] for end in ("low", "high"))
    low, high = ends
    return low, high


def _shown(one: Mapping[str, Any]) -> str:
    if not one:
        return "–"
    interval = "" if one["low"] is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
    return f"{one['value']:.4g}{interval} {one['unit']}".strip()
