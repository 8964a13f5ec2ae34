"""`make plan`: the recorded configuration that meets a latency objective best."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from recsys_lib.records import slug
from recsys_lib.serving.capacity import Configuration, Objective, Search, choose

ENCODERS = ("as it is", "half zero", "2/3 of the layers", "int8 model", "token table")
KINDS = ("flat", "int8", "binary", "hnsw")


def read_configurations(folder: Path) -> list[Configuration]:
    """Pair each encoder that chapter 3 recorded with each of its indexes.

    A run on a reader's model may lack those that need a BERT.

    Raises:
        ValueError: If the folder lacks a record, naming it.
    """
    values = _values(folder, "ch4") | _values(folder, "ch3")

    def search(kind: str) -> Search:
        sizes = int(values["films"]), int(values[f"search_{kind}_items"])
        ms = values[f"small_{kind}_ms"], values[f"search_{kind}_ms"]
        return Search(
            kind, sizes, ms, values[f"bytes_{kind}"], values[f"recall_{kind}"]
        )

    def configuration(name: str, kind: str) -> Configuration:
        ms, mb, recall = (
            values[f"{part}_{slug(name)}"] for part in ("ms", "mb", "recall")
        )
        return Configuration(
            name, search(kind), ms, values["service_scv"], 1e6 * mb, recall
        )

    recorded = [name for name in ENCODERS if f"ms_{slug(name)}" in values]
    names = recorded or ENCODERS
    try:
        return [configuration(name, kind) for name in names for kind in KINDS]
    except KeyError as error:
        raise ValueError(f"{folder} must hold the record {error}; got none") from error


def _values(folder: Path, key: str) -> dict[str, float]:
    """Values of one chapter's records by name."""
    path = folder / f"{key}.json"
    if not path.exists():
        raise ValueError(
            f"{folder} must hold the records of chapter {key[2:]}; got none: "
            f"run `make book`, or name a folder that has them with RESULTS="
        )
    return {name: float(x["value"]) for name, x in json.loads(path.read_text()).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; return 1 if none meets the objective, 2 without records."""
    parser = argparse.ArgumentParser(
        prog="recsys_lib.serving.plan", description=__doc__
    )
    parser.add_argument("--p99-ms", type=float, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--qps", type=float, required=True)
    parser.add_argument("--results", type=Path, default=Path("_build/results"))
    chosen = parser.parse_args(arguments)
    try:
        configurations = read_configurations(chosen.results)
        run = json.loads((chosen.results / "run.json").read_text())
        memory = run["memory_gib"] * 2**30
        objective = Objective(chosen.p99_ms, chosen.items, chosen.qps, memory)
    except (ValueError, OSError, KeyError) as error:
        print(error, file=sys.stderr)
        return 2
    cores = run["cores"]
    plan = choose(configurations, objective, cores=cores)
    print(
        f"p99 within {chosen.p99_ms:g} ms, {chosen.items:,} items, {chosen.qps:g} "
        f"requests a second,\non {run['cpu']}, {cores} cores, {run['memory_gib']} GiB "
        f"(profile {run['profile']}):\n\n"
        f"{'' if plan.excess <= 1 else 'Not reachable: the nearest is '}{plan}"
    )
    return int(plan.excess > 1)


if __name__ == "__main__":
    sys.exit(main())
