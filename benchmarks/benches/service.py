"""The service over HTTP: saturation, latency below it, overload above it, and peers."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.bounds import Bounds
from benchmarks.peers import (
    FOLDER,
    REQUIREMENTS,
    ROOT,
    Milliseconds,
    NotRun,
    child_environment,
    interleave,
    peers_python,
)
from benchmarks.report import Row, exact, not_run
from recsys_lib.data.movielens import load_movielens
from recsys_lib.latency.http_load import HttpLoad, http_open_loop
from recsys_lib.latency.load import LoadResult, simulate_queue
from recsys_lib.latency.saturation import find_saturation
from recsys_lib.latency.timing import ratio, summarize
from recsys_lib.machine import usable_cores
from recsys_lib.metrics.intervals import Interval, bootstrap_interval
from recsys_lib.serving.child_service import (
    ChildService,
    ServiceFailed,
    running_service,
)

DEADLINE_S = 1.0  # of the service; a later answer does not count
SLACK_S = 0.1  # added to the deadline for network and sender
REST_S = 1.5  # after an overload: queues drain
QUEUED_MS = 200.0  # a higher latency means a queue
BURST, BURST_PER_S = 30, 1000.0  # sent at once; their rate of answers starts a search
SLOWEST_PER_S = 5.0  # where a search starts if nothing of a burst is answered
ALONE_PER_S = 5.0  # so few that no two overlap
IDEAL = "a simulated queue with the times of single requests: the cost of waiting"
OVER_TUTORIAL, OVER_SWAPPED, P99_MS, GROWTH, RETURN = 8.0, 2.5, 20.0, 1.05, 1.25


@dataclass(frozen=True)
class Amount:
    """Rounds of the search, seconds of one of its steps, seconds of one long run."""

    rounds: int
    step_s: float
    run_s: float


QUICK, FULL = Amount(1, 2.0, 4.0), Amount(3, 4.0, 12.0)


@dataclass(frozen=True)
class Service:
    """A running service, the requests to send it in turn, and where to."""

    child: ChildService
    bodies: list[dict[str, str]]
    path: str = "/recommend"

    @property
    def rss_mb(self) -> float:
        """Resident memory, in 1e6 bytes."""
        return float(psutil.Process(self.child.pid).memory_info().rss / 1e6)

    def load(self, rate_per_s: float, seconds: float, **options: Any) -> HttpLoad:
        """Send the requests in an open loop, with its options."""
        return self._send(self.path, self.bodies, rate_per_s, seconds, options)

    def health(self, rate_per_s: float, seconds: float) -> HttpLoad:
        """Send requests to the empty route in an open loop."""
        return self._send("/health", [None], rate_per_s, seconds, {})

    def _send(
        self,
        path: str,
        bodies: Sequence[object],
        rate: float,
        seconds: float,
        options: dict[str, Any],
    ) -> HttpLoad:
        return http_open_loop(
            self.child.url + path,
            bodies,
            rate_per_s=rate,
            n_requests=max(20, round(rate * seconds)),
            timeout_s=DEADLINE_S + 2 * SLACK_S,
            connections=1024,
            **options,
        )


def run(bounds: Bounds, *, quick: bool) -> list[Row]:
    """Measure our service, the same with the peer's encoder, and the tutorial's."""
    amount = QUICK if quick else FULL
    rows: list[Row] = []
    with ExitStack() as stack:
        services: dict[str, Service] = {}
        for name in ("own", "swapped", "tutorial"):
            try:
                services[name] = start(name, stack)
            except (NotRun, ServiceFailed) as reason:
                rows.append(not_run("service", name, reason))
        for service in services.values():
            service.load(10, 3)
        rates = saturations(services, amount)
        rows += saturation_rows(rates)
        if "own" in services:
            per_s = float(np.median(rates["own"]))
            rows += latency_rows(services["own"], per_s, amount)
            rows += overload_rows(services["own"], per_s, amount)
    return rows


def start(name: str, stack: ExitStack) -> Service:
    """Start a service by name, all with the same catalogue and the same requests.

    Args:
        name: "own", "swapped" or "tutorial".
        stack: Stops it.

    Raises:
        NotRun: If its packages cannot be installed.
        ServiceFailed: If it ends before it listens.
    """
    items = load_movielens().items
    texts = items["text"].tolist()
    bodies = [{"text": str(x)} for x in np.random.default_rng(0).permutation(texts)]
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "recsys_lib.serving.dataset_service",
    ]
    command += ["--port", "0"]
    if name != "own":
        catalogue = FOLDER / "catalogue.json"
        ids = [str(item) for item in items["item_id"]]
        catalogue.write_text(json.dumps({"ids": ids, "texts": texts}))
        python = peers_python(FOLDER / "peers-env", REQUIREMENTS)
        command = [python, "-m", f"benchmarks.children.{name}_service", catalogue]
    log, env = FOLDER / f"{name}-service.log", child_environment()
    running = running_service(command, log=log, cwd=ROOT, env=env)
    return Service(stack.enter_context(running), bodies)


def saturations(
    services: Mapping[str, Service], amount: Amount
) -> dict[str, Milliseconds]:
    """Search each service's saturation once a round: name -> (rounds,) requests/s."""
    calls = {
        name: partial(saturation_per_s, service, amount.step_s)
        for name, service in services.items()
    }
    return interleave(calls, rounds=amount.rounds, warmup=0)


def saturation_per_s(service: Service, step_s: float, _: int = 0) -> float:
    """Search with even gaps: a Poisson stream of seconds is 4 % off its rate."""

    def offer(rate_per_s: float) -> HttpLoad:
        load = service.load(rate_per_s, step_s, arrivals="uniform")
        if not load.ok.all() or load.latency_ms[-1] > QUEUED_MS:
            time.sleep(REST_S)
        return load

    burst = service.load(BURST_PER_S, BURST / BURST_PER_S)
    start_per_s = SLOWEST_PER_S
    if burst.ok.any():
        start_per_s = burst.ok.sum() / burst.finished_s[burst.ok].max()
    found = find_saturation(offer, start_per_s=start_per_s, step=1.15, width=1.05)
    return found.rate_per_s


def saturation_rows(rates: Mapping[str, Milliseconds]) -> list[Row]:
    """Rows of each saturation, and of ours over the others."""
    rows = []
    for name, per_s in rates.items():
        median = bootstrap_interval(per_s, statistic="median")
        rows.append(Row("service", f"saturation, {name}", median, "requests/s"))
    targets = {"tutorial": OVER_TUTORIAL, "swapped": OVER_SWAPPED}
    for name in (name for name in targets if {name, "own"} <= set(rates)):
        over = ratio(rates["own"], rates[name])
        label = f"saturation, own / {name}"
        rows.append(Row("service", label, over, target=targets[name]))
    return rows


def latency_rows(own: Service, per_s: float, amount: Amount) -> list[Row]:
    """Rows of latency at half of saturation, and of the empty route at that rate."""
    own.load(per_s / 2, amount.step_s)  # a resumed bench has not searched before
    load, empty = own.load(per_s / 2, amount.run_s), own.health(per_s / 2, amount.run_s)
    found, bare = summarize(load.latency_ms), summarize(empty.latency_ms)
    alone = own.load(ALONE_PER_S, amount.run_s, arrivals="uniform")
    queued_ms = float(np.quantile(_as_if_alone(load, alone).latency_ms, 0.99))
    queued, cores = exact(queued_ms, len(load.ok)), usable_cores()
    late = "" if load.kept_pace else "the sender did not keep pace"
    share = exact(bare.p50_ms.value / found.p50_ms.value, bare.n)
    label = "p99 at half of saturation"
    return [
        Row("service", "p50 at half of saturation", found.p50_ms, "ms"),
        Row("service", label, found.p99_ms, "ms", P99_MS, at_most=True, note=late),
        Row("service", f"{label}, {cores} ideal servers", queued, "ms", note=IDEAL),
        Row("service", "empty route at that rate, p50", bare.p50_ms, "ms"),
        Row("service", "empty route at that rate, p99", bare.p99_ms, "ms"),
        Row("service", "share of HTTP itself, p50", share, ""),
    ]


def _as_if_alone(load: HttpLoad, alone: HttpLoad) -> LoadResult:
    """Simulate the same arrivals with the service times of single requests."""
    services_s = alone.service_ms[alone.ok] / 1e3
    drawn_s = np.random.default_rng(0).choice(services_s, len(load.intended_s))
    return simulate_queue(load.intended_s, drawn_s, servers=usable_cores())


def overload_rows(own: Service, per_s: float, amount: Amount) -> list[Row]:
    """Rows of twice the saturation: answers, refusals, memory, latency afterwards."""
    own.load(2 * per_s, amount.step_s)  # memory grows once, to its working size
    before_mb = own.rss_mb
    load = own.load(2 * per_s, amount.run_s)
    after_mb = own.rss_mb
    settled = settled_share(load)
    goodput_per_s = load.ok.sum() / (load.finished_s.max() - load.intended_s[0])
    goodput = exact(float(goodput_per_s / per_s), len(load.ok))
    memory = f"{before_mb:.0f} MB before, {after_mb:.0f} MB after"
    growth, at = exact(after_mb / before_mb), "at twice saturation"
    return [
        Row("service", f"{at}: settled within the deadline", settled, "", 1.0),
        Row("service", f"{at}: answers 200 / saturation", goodput),
        _at_most(f"{at}: memory after / before", growth, GROWTH, memory),
        burst_row(own, per_s, amount),
    ]


def burst_row(own: Service, per_s: float, amount: Amount) -> Row:
    """Row of the p99 after a burst over that before, in rounds against noise."""

    def p99_ms() -> float:
        load = own.load(per_s / 2, amount.run_s / 2, seed=1)
        return float(np.quantile(load.latency_ms, 0.99))

    p99s_ms = []
    for _ in range(amount.rounds):
        time.sleep(REST_S)
        before_ms = p99_ms()
        own.load(2 * per_s, amount.step_s)
        time.sleep(REST_S)
        p99s_ms.append((before_ms, p99_ms()))
    shown = ", ".join(f"{before:.1f} to {after:.1f}" for before, after in p99s_ms)
    ratios = [after / before for before, after in p99s_ms]
    back = bootstrap_interval(ratios, statistic="median")
    return _at_most("p99 after the burst / before", back, RETURN, f"p99 {shown} ms")


def settled_share(load: HttpLoad) -> Interval:
    """Share of requests answered 200 or refused 503 within the deadline."""
    settled = load.ok | (load.status == 503)
    in_time = load.latency_ms <= (DEADLINE_S + SLACK_S) * 1e3
    return bootstrap_interval((settled & in_time).astype(float))


def _at_most(name: str, value: Interval, target: float, note: str) -> Row:
    return Row("service", name, value, "x", target, at_most=True, note=note)
