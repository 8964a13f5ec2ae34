"""`make plan`: which recorded configuration meets a latency objective best."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsys_lib.records import slug
from recsys_lib.serving.capacity import (
    Configuration,
    Objective,
    Plan,
    Search,
    near,
    needs,
    rank,
)

ENCODERS = ("as it is", "half zero", "2/3 of the layers", "int8 model", "token table")
KINDS = ("flat", "int8", "binary", "hnsw")
FILMS = {  # what chapter 1 timed, by its name there
    "ease": "EASE",
    "itemknn": "item kNN",
    "popularity": "popularity",
    "genre_year": "metadata",
    "tf_idf": "counted words",
    "token_table": "token table, stored",
    "text": "language model, stored",
    "one_text": "language model, one text a request",
}


STEPS = {  # what chapter 5 timed: finding an item by words, in the book's shop or yours
    "engine": "language model, float32",
    "precision": "language model, fastest precision",
    "student": "student",
    "int8_index": "student + popularity",
    "counted_words": "counted words",
    "words_popularity": "counted words + popularity",
    "vote_of_the_reviews": "language model, vote of the texts",
    "words_vote": "counted words + vote",
}

READ = (  # with a language model
    *(FILMS[key] for key in ("token_table", "text", "one_text")),
    *(
        x
        for key, x in STEPS.items()
        if key not in ("counted_words", "words_popularity")
    ),
)
INDEXED = ("text", "one_text")  # stored in the vectors' indexes of chapter 3
BYTES = {"ease": 0.0, "popularity": 4.0}  # an item; for the others not recorded


@dataclass(frozen=True)
class Case:
    """A task with its measure of quality.

    Attributes:
        metric: Its name, and what it was measured on.
        prefix: Of the records of quality in chapter 1; empty for others.
        controls: Label -> record of a control that is no candidate.
        chapter: Key of the chapter of its controls.
    """

    metric: str
    prefix: str
    controls: Mapping[str, str]
    chapter: str = "ch1"


CASES = {
    "search": Case(
        "garment recall@10",
        "",
        {"counted words": "recall_tfidf", "shuffled": "recall_shuffled"},
        "ch3",
    ),
    "texts": Case(
        "R@10 of items by a text",
        "",
        {"popularity": "r10_popularity", "random": "r10_chance"},
        "ch5",
    ),
    "history": Case(
        "nDCG@10",
        "ndcg_",
        {"popularity": "ndcg_popularity", "random": "ndcg_random"},
    ),
    "new-items": Case(
        "AUC of new items",
        "cold_",
        {"metadata": "cold_genre_year", "random": "cold_random"},
    ),
}


def read_configurations(folder: Path, case: str = "search") -> list[Configuration]:
    """Candidates of a case, of which at least one has no language model.

    For "search" they are each encoder that chapter 3 recorded with each of its indexes,
    and counted words; a run on a reader's model may lack encoders that need a BERT. For
    "texts" they are the steps of chapter 5, with the reader's items and texts where the
    run is of their data, and for the other cases the models that chapter 1 timed.
    Their times grow with the items as the flat scan of chapter 3 does, that of
    popularity not at all.

    Raises:
        ValueError: If the case is unknown, or the folder lacks a record, naming it.
    """
    if case not in CASES:
        raise ValueError(f"case must be one of {', '.join(CASES)}; got {case!r}")
    try:
        if case == "search":
            return _searches(folder)
        return _steps(folder) if case == "texts" else _films(folder, case)
    except KeyError as error:
        others = ", ".join(other for other in CASES if other != case)
        raise ValueError(
            f"{folder} must hold the record {error} for the case {case!r}; got none: "
            f"try another case ({others})"
        ) from error


def read_controls(folder: Path, case: str) -> dict[str, float]:
    """Label -> quality of the controls of a case, as far as they were recorded."""
    values = _values(folder, CASES[case].chapter)
    controls = CASES[case].controls
    return {x: values[name] for x, name in controls.items() if name in values}


def p99_error(folder: Path) -> tuple[float, float] | None:
    """Smallest and largest ratio of a measured p99 to the planned one in chapter 7.

    Returns:
        None if the run has no chapter 7.
    """
    try:
        values = _values(folder, "ch7")
    except ValueError:
        return None
    worst = values.get("plan_p99_worst_factor")
    return None if worst is None else (1 / worst, worst)


def _index(values: Mapping[str, float], kind: str) -> Search:
    """An index of chapter 3."""
    sizes = int(values["films"]), int(values[f"search_{kind}_items"])
    ms = values[f"small_{kind}_ms"], values[f"search_{kind}_ms"]
    return Search(kind, sizes, ms, values[f"bytes_{kind}"], values[f"recall_{kind}"])


def _searches(folder: Path) -> list[Configuration]:
    """Of the garments of chapter 3."""
    values = _values(folder, "ch4") | _values(folder, "ch3")
    scv = values["service_scv"]

    def configuration(name: str, kind: str) -> Configuration:
        key, index = slug(name), _index(values, kind)
        ms, mb, recall = (values[f"{part}_{key}"] for part in ("ms", "mb", "recall"))
        return Configuration(name, index, ms, scv, 1e6 * mb, recall)

    recorded = [name for name in ENCODERS if f"ms_{slug(name)}" in values]
    names = recorded or ENCODERS
    found = [configuration(name, kind) for name in names for kind in KINDS]
    if "ms_tfidf" in values:
        words = configuration("TFIDF", "flat")  # its own scan was not timed by size
        found.append(replace(words, encoder="counted words"))
    return found


def _films(folder: Path, case: str) -> list[Configuration]:
    """Of the films of chapter 1, with the indexes of chapter 3 for stored vectors."""
    values = _values(folder, "ch4") | _values(folder, "ch3") | _values(folder, "ch1")
    prefix, scv = CASES[case].prefix, values["service_scv"]

    def configuration(key: str, kind: str) -> Configuration:
        stored = "text" if key == "one_text" else key
        rt_ms, index = values[f"rt_{stored}_p50_ms"], _index(values, kind or "flat")
        more_ms = [ms - values["small_flat_ms"] for ms in index.ms]
        if key == "popularity":  # its list is ready
            more_ms = [0.0, 0.0]
        index = replace(
            index,
            kind=kind,
            ms=(rt_ms + more_ms[0], rt_ms + more_ms[1]),
            bytes_per_item=index.bytes_per_item if kind else BYTES.get(key, math.nan),
            recall=index.recall if kind else 1.0,
            bytes_per_pair=4.0 if key == "ease" else 0.0,  # float32
        )
        encode_ms = max(0.0, values[f"rt_{key}_p50_ms"] - rt_ms)
        quality = values[prefix + stored]
        return Configuration(FILMS[key], index, encode_ms, scv, 0.0, quality)

    kinds = KINDS if case == "history" else ("flat",)  # an AUC ranks every item
    timed = [key for key in FILMS if f"rt_{key}_p50_ms" in values]
    if not timed:
        raise KeyError("rt_ease_p50_ms")
    return [
        configuration(key, kind)
        for key in timed
        for kind in (kinds if key in INDEXED else ("",))
    ]


def _steps(folder: Path) -> list[Configuration]:
    """Of the shop of chapter 5, or of the reader's items."""
    values = _values(folder, "ch4") | _values(folder, "ch3") | _values(folder, "ch5")
    scan, n_items = _index(values, "flat"), int(values["garments"])
    more_ms = scan.ms[1] - values["small_flat_ms"]

    def configuration(key: str, label: str) -> Configuration:
        ms, found = values[f"step_{key}_ms"], values[f"step_{key}_r10"]
        sizes, times = (n_items, scan.n_items[1]), (ms, ms + more_ms)
        index = Search("", sizes, times, math.nan, 1.0)
        return Configuration(label, index, 0.0, values["service_scv"], 0.0, found)

    recorded = {k: x for k, x in STEPS.items() if f"step_{k}_ms" in values}
    return [configuration(*step) for step in (recorded or STEPS).items()]


def _values(folder: Path, key: str) -> dict[str, float]:
    """Values of one chapter's records by name."""
    path = folder / f"{key}.json"
    if not path.exists():
        raise ValueError(
            f"{folder} must hold the records of chapter {key[2:]}; got none: "
            f"run `make book`, or name a folder that has them with RESULTS="
        )
    return {name: float(x["value"]) for name, x in json.loads(path.read_text()).items()}


def why(plan: Plan, objective: Objective) -> str:
    """Why a plan fails, in words; empty if it meets the objective."""
    reasons = []
    if plan.utilisation >= 1:
        reasons.append("overloaded")
    elif plan.p99_ms > objective.p99_ms:
        reasons.append("p99 too long")
    if plan.memory_bytes > objective.memory_bytes:
        reasons.append("memory")
    return " and ".join(reasons)


def as_row(
    plan: Plan,
    objective: Objective,
    *,
    cores: int,
    error: tuple[float, float] | None,
    meeting: Sequence[str] = (),
) -> dict[str, Any]:
    """One line of the table, as JSON has it: None for what is unknown or infinite.

    Args:
        plan: Of one configuration.
        objective: That it was made for.
        cores: That it was made for.
        error: As `p99_error` returns it.
        meeting: Names of the configurations that meet the objective.
    """

    def known(number: float) -> float | None:
        return number if math.isfinite(number) else None

    ends = [plan.p99_ms * x for x in error] if error else [math.nan, math.nan]
    failing = plan.excess > 1
    ways = needs(plan, objective, cores=cores) if failing else []
    encoder, name = plan.configuration.encoder, plan.configuration.name
    eight_bits = name.replace(encoder, "int8 model")
    if failing and encoder == "as it is" and eight_bits in meeting:
        ways.append("int8")
    return {
        "configuration": name,
        "language_model": encoder in (*ENCODERS, *READ),
        "meets": not failing,
        "p50_ms": known(plan.p50_ms),
        "p99_ms": known(plan.p99_ms),
        "p99_low_ms": known(ends[0]),
        "p99_high_ms": known(ends[1]),
        "busy": plan.utilisation,
        "memory_mb": known(plan.memory_bytes / 1e6),
        "quality": plan.quality,
        "fails": why(plan, objective),
        "needs": ways,
    }


def as_table(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The rows under one line of column names, with aligned columns."""

    def cell(number: float | None, form: str) -> str:
        return "-" if number is None else format(number, form)

    def line(row: Mapping[str, Any]) -> list[str]:
        p99 = cell(row["p99_ms"], ".1f")
        if row["p99_low_ms"] is not None:
            p99 += f" [{row['p99_low_ms']:.1f}, {row['p99_high_ms']:.1f}]"
        outcome = "meets"
        if not row["meets"]:
            ways = " or ".join(row["needs"])
            outcome = row["fails"] + (f"; needs {ways}" if ways else "")
        elif row["p99_high_ms"] is not None and not row["sure"]:
            outcome = "meets, within the planner's error"
        return [
            row["configuration"],
            cell(row["p50_ms"], ".1f"),
            p99,
            f"{row['busy']:.0%}",
            cell(row["memory_mb"], ",.0f"),
            f"{row['quality']:.3f}",
            outcome,
        ]

    head = ["configuration", "p50 ms", "p99 ms", "busy", "MB", metric, "outcome"]
    lines = [head, *map(line, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(x.ljust(n) for x, n in zip(of, widths, strict=True)).rstrip()
        for of in lines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; return 1 if none meets the objective, 2 without records."""
    chosen = _parser().parse_args(arguments)
    try:
        run = json.loads((chosen.results / "run.json").read_text())
        cores, memory = run["cores"], run["memory_gib"] * 2**30
        objective = Objective(chosen.p99_ms, chosen.items, chosen.qps, memory)
        case = chosen.case or ("history" if run.get("dataset") else "search")
        configurations = read_configurations(chosen.results, case)
        controls = read_controls(chosen.results, case)
        error = p99_error(chosen.results)
    except FileNotFoundError:
        print(
            f"{chosen.results} must hold run.json; got none: run `make book` for these "
            "DATASET= and MODELS= first, or name a folder with RESULTS=",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError, KeyError) as problem:
        print(problem, file=sys.stderr)
        return 2
    plans = rank(configurations, objective, cores=cores)
    meeting = [plan.configuration.name for plan in plans if plan.excess <= 1]
    rows = []
    for plan in plans if chosen.json else near(plans):
        row = as_row(plan, objective, cores=cores, error=error, meeting=meeting)
        high = row["p99_high_ms"]
        rows.append(row | {"sure": high is not None and high <= objective.p99_ms})
    said = {
        "case": case,
        "metric": CASES[case].metric,
        "controls": controls,
        "p99_ms": chosen.p99_ms,
        "items": chosen.items,
        "qps": chosen.qps,
        "run": {
            name: run.get(name)
            for name in ("cpu", "cores", "memory_gib", "profile", "dataset", "models")
        },
        "configurations": rows,
    }
    print(json.dumps(said, indent=1) if chosen.json else _text(said))
    return int(not meeting)


def _text(said: Mapping[str, Any]) -> str:
    """What `make plan` prints."""
    run, rows = said["run"], said["configurations"]
    controls = ", ".join(f"{name} {x:.3f}" for name, x in said["controls"].items())
    of = " ".join(str(run[x]) for x in ("dataset", "models") if run[x])
    note = {
        "search": "Quality was measured on the book's garments. The scan of counted "
        "words was not timed by size: that of the flat index stands for it.",
        "texts": "Times and quality are those of chapter 5, on "
        f"{run['dataset'] or 'the reviews of a shop'}. Times grow as the flat scan of "
        'chapter 3 does. A "-" was not recorded.',
    }.get(
        said["case"],
        f"Times were measured on {run['dataset'] or 'MovieLens'}; their growth with "
        "the items is that of the indexes of chapter 3, for models without an index "
        'that of the flat scan. A "-" was not recorded.',
    )
    first = rows[0]
    answer = (
        f"Build: {first['configuration']}."
        if first["meets"]
        else f"Not reachable. The nearest is {first['configuration']}."
    )
    return (
        f"Case {said['case']}: p99 within {said['p99_ms']:g} ms, {said['items']:,} "
        f"items, {said['qps']:g} requests a second,\non {run['cpu']}, {run['cores']} "
        f"cores, {run['memory_gib']} GiB (profile {run['profile']}"
        f"{', ' + of if of else ''}).\nQuality: {said['metric']}; "
        f"controls: {controls or 'none recorded'}.\n\n"
        f"{as_table(rows, said['metric'])}\n\n{answer}\n"
        "The range of a p99 is that of measured over planned times in chapter 7.\n"
        f"{note}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recsys_lib.serving.plan", description=__doc__
    )
    parser.add_argument("--p99-ms", type=float, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--qps", type=float, required=True)
    parser.add_argument("--case", default="", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--json", action="store_true", help="every configuration")
    parser.add_argument("--results", type=Path, default=Path("_build/results"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
