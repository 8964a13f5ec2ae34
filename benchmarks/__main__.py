"""Run the benches: ``python -m benchmarks [--quick] [--only NAME ...]``."""

import argparse
import time
from collections.abc import Callable, Sequence

from benchmarks.benches import catalogue, gpu, request, service, vectors
from benchmarks.bounds import SHARE, measure_bounds
from benchmarks.peers import FOLDER, NotRun
from benchmarks.report import Row, markdown, not_run, write
from recsys_lib.machine import describe_machine

BENCHES: dict[str, Callable[..., list[Row]]] = {
    "request": request.run,
    "catalogue": catalogue.run,
    "vectors": vectors.run,
    "service": service.run,
    "gpu": gpu.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line names, print the table and save it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="few rounds: a check")
    parser.add_argument("--only", action="append", choices=[*BENCHES, "bounds"])
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    print(machine.hardware_class)
    bounds, rows = measure_bounds(machine.cores)
    for name in options.only or BENCHES:
        if name in BENCHES:
            rows += _measured(name, bounds, quick=options.quick)
        write(rows, FOLDER, quick=options.quick)  # now: a run may be stopped
    print(markdown(rows))
    print("\n".join(nearest_bounds(rows)))
    print(f"Saved in {FOLDER}: results.json, table.md, targets.svg")


def nearest_bounds(rows: Sequence[Row]) -> list[str]:
    """A line for each stage: its share of the nearest bound of the machine."""
    return [
        f"{row.bench}, {row.name} is {row.value.value:.0%} ({row.note})"
        for row in rows
        if row.value and row.name.endswith(SHARE)
    ]


def _measured(name: str, bounds: object, *, quick: bool) -> list[Row]:
    start = time.perf_counter()
    try:
        rows = BENCHES[name](bounds, quick=quick)
    except (NotRun, ImportError) as reason:
        rows = [not_run(name, "all", reason)]
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return rows


if __name__ == "__main__":
    main()
