"""Run the benches: ``python -m benchmarks [--quick] [--only NAME ...]``.

With ``--models`` the request bench runs on the first of the reader's models, in our
library and in its peers; the other benches are of the book's model. A run that was
stopped resumes at the round that it had not measured.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.benches import (
    catalogue,
    engines,
    filters,
    gpu,
    request,
    servers,
    service,
    vectors,
)
from benchmarks.bounds import SHARE, measure_bounds
from benchmarks.peers import FOLDER, MODEL, NotRun
from benchmarks.report import Row, line, markdown, not_run, write
from benchmarks.unfinished import Unfinished
from recsys_lib.embeddings.own import find_models
from recsys_lib.machine import describe_machine

BENCHES: dict[str, Callable[..., list[Row]]] = {
    "request": request.run,
    "engines": engines.run,
    "catalogue": catalogue.run,
    "vectors": vectors.run,
    "filters": filters.run,
    "service": service.run,
    "servers": servers.run,
    "gpu": gpu.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line names, print the table and save it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="few rounds: a check")
    parser.add_argument("--only", action="append", choices=[*BENCHES, "bounds"])
    parser.add_argument("--models", default="", help="the first is measured")
    options = parser.parse_args(arguments)
    folder = FOLDER / _use_model(options, parser)
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    print(machine.hardware_class)
    bounds, rows = measure_bounds(machine.cores)
    unfinished = Unfinished(folder, [machine.hardware_class, options.quick])
    names = options.only or list(BENCHES)
    for n, name in enumerate(names, start=1):
        if name in BENCHES:
            print(f"{name}: bench {n} of {len(names)}", flush=True)
            rows += _rows_of(name, bounds, unfinished, quick=options.quick)
        write(rows, folder, quick=options.quick)  # now: a run may be stopped
    unfinished.finish()
    print(markdown(rows))
    print("\n".join(nearest_bounds(rows)))
    print(f"Saved in {folder}: results.json, table.md, targets.svg")


def _use_model(options: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """Give the reader's model to the children; return the folder of its results."""
    if not options.models:
        return ""
    if (options.only or ["request"]) != ["request"]:
        parser.error("--models is for the request bench alone")
    try:
        model = find_models(options.models)[0]
    except (OSError, ValueError, ImportError) as error:
        parser.error(str(error))
    options.only = ["request"]
    os.environ[MODEL] = str(model.folder)
    return f"own/{model.name.replace('/', '--')}"


def nearest_bounds(rows: Sequence[Row]) -> list[str]:
    """A line for each stage: its share of the nearest bound of the machine."""
    return [
        f"{row.bench}, {row.name} is {row.value.value:.0%} ({row.note})"
        for row in rows
        if row.value and row.name.endswith(SHARE)
    ]


def _rows_of(
    name: str, bounds: object, unfinished: Unfinished, *, quick: bool
) -> list[Row]:
    """Measure what the run that was stopped has not done of a bench; print its rows."""
    rows = unfinished.rows(name)
    if rows is None:
        with unfinished.samples(name):
            rows = _measured(name, bounds, quick=quick)
        unfinished.keep(name, rows)
    else:
        print(f"{name}: taken from the run that was stopped", flush=True)
    print("\n".join(f"  {line(row)}" for row in rows), flush=True)
    return rows


def _measured(name: str, bounds: object, *, quick: bool) -> list[Row]:
    start = time.perf_counter()
    try:
        rows = BENCHES[name](bounds, quick=quick)
    except (NotRun, ImportError) as reason:
        rows = [not_run(name, "all", reason)]
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return rows


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its servers are stopped
    main()
