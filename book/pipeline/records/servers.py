"""Servers of embeddings that `make bench` measured, saved with a recorded run."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("saturation", "p50", "p99")
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
        if row["bench"] != "servers" or column not in COLUMNS or row["unit"] == "x":
            continue
        servers[server][column] = [row["value"][x] for x in ("value", "low", "high")]
        if load:
            servers[server]["load"] = int(load.split()[0])
        if _COSINE in row["note"]:
            servers[server]["cosine"] = float(row["note"].partition(_COSINE)[2])
    return dict(servers)
