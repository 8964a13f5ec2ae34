"""`make plan`: the recorded configuration that meets a latency objective best."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from recsys_lib.serving.capacity import Configuration, Objective, Search, choose

ENCODERS = ("as it is", "half zero", "4 of 6 layers", "int8 model", "token table")


KINDS = ("flat", "int8", "binary", "hnsw")


def read_configurations(folder: Path) -> list[Configuration]:
    """Every encoder of chapter 3's five optimisations with every index of chapter 3.

    Raises:
        ValueError: If the folder lacks a record, naming it.
    """
    kept = _values(folder, "ch4") | _values(folder, "ch3")

    def search(kind: str) -> Search:
        sizes = int(kept["films"]), int(kept[f"search_{kind}_items"])
        ms = kept[f"small_{kind}_ms"], kept[f"search_{kind}_ms"]
        return Search(kind, sizes, ms, kept[f"bytes_{kind}"], kept[f"recall_{kind}"])

    def configuration(name: str, kind: str) -> Configuration:
        ms, mb, recall = (
            kept[f"{part}_{name.replace(' ', '_')}"] for part in ("ms", "mb", "recall")
        )
        return Configuration(
            name, search(kind), ms, kept["service_scv"], 1e6 * mb, recall
        )

    try:
        return [configuration(name, kind) for name in ENCODERS for kind in KINDS]
    except KeyError as error:
        raise ValueError(f"{folder} must hold the record {error}; got none") from error


def _values(folder: Path, key: str) -> dict[str, float]:
    """Values of one chapter's records, as the press saves them."""
    path = folder / f"{key}.json"
    if not path.exists():
        raise ValueError(
            f"the records of chapter {key[2:]} must lie in {folder}, and do not: "
            f"run `make book`, or name a folder that has them with RESULTS="
        )
    return {name: float(x["value"]) for name, x in json.loads(path.read_text()).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan for an objective, or what is missing to make one; 1 if unmet."""
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
