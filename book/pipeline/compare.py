"""This run beside a recorded one: `make compare`, and `make record` to write one."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from book.pipeline.chapters import BookError
from book.pipeline.results import Results

TOLERANCE = 0.1  # of the larger value, where a record has no interval
_TIMED = re.compile(
    r"(?:_|\.)(ns|us|ms|s|gb)(_|$)"
)  # in a name whose record has no unit
_UNITS = ("ns", "us", "µs", "ms", "s")  # and rates, which end in /s
_FACTS = ("cpu", "cores", "memory_gib", "gpu", "system", "python", "profile", "device")


@dataclass(frozen=True)
class Compared:
    """One record in two runs, and what the two say of each other.

    `verdict` is "within", "outside", "faster", "slower" or, in one run only, "missing".
    """

    name: str
    here: str
    there: str
    verdict: str
    ratio: float = 1.0


def record_run(name: str, results: Path, folder: Path) -> Path:
    """Keep the results of the last build under a name; return where.

    Args:
        name: Of the machine, say: lower case, digits, hyphens.
        results: `_build/results`, which a build of the whole book wrote.
        folder: `book/results`, one folder for each recorded run.

    Raises:
        BookError: If the name is no name or taken, or there are no results.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise BookError(f"NAME must be lower case, digits and hyphens; got {name!r}")
    if (folder / name).exists():
        raise BookError(f"{folder / name} is there already; delete it on purpose first")
    made = _load(results)
    facts = {**made.facts, "date": date.today().isoformat()}
    Results(made.records, facts).save(folder / name)
    return folder / name


def recorded_run(folder: Path, name: str = "") -> tuple[str, Results]:
    """Load the recorded run of that name, or else the newest one.

    Raises:
        BookError: If there is none.
    """
    names = [p.parent.name for p in sorted(folder.glob("*/run.json"))]
    if not names or (name and name not in names):
        known = f"there are {', '.join(names)}" if names else "none yet: make record"
        raise BookError(f"no recorded run {name or 'at all'} in {folder}; {known}")
    runs = {n: Results.load(folder / n) for n in names}
    newest = max(names, key=lambda n: str(runs[n].facts.get("date", "")))
    return name or newest, runs[name or newest]


def compare(here: Results, there: Results) -> list[Compared]:
    """Hold each record of this run beside that of another, chapter by chapter.

    Times and rates are only faster or slower. Others agree if their intervals overlap;
    if neither has one, if they differ by at most `TOLERANCE` of the larger.
    """
    found = []
    for key in sorted({*here.records, *there.records}):
        ours, theirs = here.records.get(key, {}), there.records.get(key, {})
        for name in dict.fromkeys([*ours, *theirs]):
            pair = ours.get(name, {}), theirs.get(name, {})
            found.append(_compared(f"{key}.{name}", *pair))
    return found


def differences(here: Results, there: Results) -> list[str]:
    """Say in which hardware, versions, settings and fingerprints two runs differ."""
    sides = [
        {k: run.facts.get(k, "") for k in _FACTS}
        | run.facts.get("versions", {})
        | {f"fingerprint {k}": v for k, v in run.facts.get("fingerprints", {}).items()}
        for run in (here, there)
    ]
    ours, theirs = sides
    return [
        f"{key}: {ours.get(key) or 'none'} here, {theirs.get(key) or 'none'} there"
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]


def summary(found: list[Compared]) -> str:
    """Count the verdicts in a sentence."""
    counts = Counter(one.verdict for one in found)
    order = ("within", "outside", "faster", "slower", "missing")
    told = ", ".join(f"{counts[v]} {v}" for v in order if counts[v])
    return f"{len(found)} records: {told or 'nothing to compare'}"


def print_comparison(build: Path, folder: Path, name: str = "") -> None:
    """Print this run beside a recorded one.

    Raises:
        BookError: If this run or the recorded one is not there.
    """
    here, (chosen, there) = _load(build / "results"), recorded_run(folder, name)
    print(
        f"This run beside {chosen}, recorded on {there.facts.get('date', 'no date')}."
    )
    for line in differences(here, there) or ["the same machine and versions"]:
        print(f"  {line}")
    found = compare(here, there)
    for one in found:
        times = f" {one.ratio:.2f}x" if one.verdict in ("faster", "slower") else ""
        print(f"{one.name:44} {one.here:>28} {one.there:>28}  {one.verdict}{times}")
    print(f"{summary(found)}. Within: intervals overlap, or {TOLERANCE:.0%} apart.")


def recorded_runs(here: Results, folder: Path) -> str:
    """Markdown for the provenance page: this run beside each that was recorded."""
    rows = []
    for path in sorted(folder.glob("*/run.json")):
        there = Results.load(path.parent)
        facts, told = there.facts, summary(compare(here, there))
        machine = f"{facts['cpu']}, {facts['cores']} cores, {facts['gpu'] or 'no GPU'}"
        what = f"{facts['date']}, {facts['profile']}"
        rows.append(f"| {path.parent.name} | {machine} | {what} | {told} |")
    if not rows:
        return "None was recorded yet: `make record NAME=...` keeps this one."
    head = "| name | machine | date, profile | this run beside it |\n|---|---|---|---|"
    return "\n".join([head, *rows])


def _load(results: Path) -> Results:
    if not (results / "run.json").exists():
        raise BookError(f"no results in {results}: make book first, all of it")
    return Results.load(results)


def _compared(
    name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Compared:
    """Judge one record, empty where a run does not have it."""
    here, there = _shown(ours), _shown(theirs)
    if not (ours and theirs):
        return Compared(name, here, there, "missing")
    a, b, unit = ours["value"], theirs["value"], ours["unit"]
    rate = unit.endswith("/s") or "per_s" in name
    timed = rate or unit in _UNITS or (not unit and _TIMED.search(name))
    if timed and min(a, b) > 0:
        faster = a / b if rate else b / a
        word = "faster" if faster >= 1 else "slower"
        return Compared(name, here, there, word, max(faster, 1 / faster))
    return Compared(name, here, there, "within" if _agree(ours, theirs) else "outside")


def _agree(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if ours["low"] is None and theirs["low"] is None:
        a, b = ours["value"], theirs["value"]
        return bool(abs(a - b) <= TOLERANCE * max(abs(a), abs(b)))
    (low, high), (least, most) = _ends(ours), _ends(theirs)
    return low <= most and least <= high


def _ends(one: Mapping[str, Any]) -> tuple[float, float]:
    """The interval, or the value alone where there is none."""
    ends = (one["value"] if one[end] is None else one[end] for end in ("low", "high"))
    low, high = ends
    return low, high


def _shown(one: Mapping[str, Any]) -> str:
    if not one:
        return "–"
    interval = "" if one["low"] is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
    return f"{one['value']:.4g}{interval} {one['unit']}".strip()
