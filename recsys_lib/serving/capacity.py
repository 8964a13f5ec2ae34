"""Choose the configuration of best quality that meets a latency objective.

A configuration is an encoder, or no language model, and an index. Its latency for
another number of items and another load is predicted from measured parts: the time to
encode one text, the time of a search at two sizes, the variation of service times. Its
quality is that of the encoder on the task it was measured on, times the recall of the
index. For another catalogue it ranks the configurations; the value itself may differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.latency.load import arrival_times, simulate_queue

N_SIMULATED = 20_000
MOST_CORES = 64  # that `needs` tries
CALM = 0.5  # share of busy cores up to which requests hardly wait


@dataclass(frozen=True)
class Objective:
    """The largest `p99_ms` at `qps` requests per second over `n_items` items.

    Raises:
        ValueError: If a number is not above 0.
    """

    p99_ms: float
    n_items: int
    qps: float
    memory_bytes: float = math.inf

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0; got {value}")


@dataclass(frozen=True)
class Search:
    """An index: milliseconds of a search at two sizes, its memory and its recall.

    Attributes:
        bytes_per_item: NaN if it was not recorded.
        bytes_per_pair: Of a table of all pairs of items, as EASE has one.
    """

    kind: str
    n_items: tuple[int, int]
    ms: tuple[float, float]
    bytes_per_item: float
    recall: float
    bytes_per_pair: float = 0.0

    def predict_ms(self, n_items: int) -> float:
        """Milliseconds over n_items: linear in them; for a graph, in their logarithm.

        Below the smaller size it is the time at that size.

        >>> Search("flat", (1000, 2000), (1.0, 2.0), 4.0, 1.0).predict_ms(4000)
        4.0
        """
        scale = math.log if self.kind == "hnsw" else float
        small, large = (scale(n) for n in self.n_items)
        slope = max(0.0, (self.ms[1] - self.ms[0]) / (large - small))
        return self.ms[0] + slope * max(0.0, scale(n_items) - small)

    def memory_bytes(self, n_items: int) -> float:
        """Bytes over n_items; NaN if they were not recorded.

        >>> pairs = Search("", (0, 10), (0.0, 1.0), 0.0, 1.0, bytes_per_pair=4)
        >>> pairs.memory_bytes(9)
        324.0
        """
        return n_items * self.bytes_per_item + n_items**2 * self.bytes_per_pair


@dataclass(frozen=True)
class Configuration:
    """An encoder and an index, with the measurements that a prediction needs.

    Attributes:
        encode_ms: For one text on one core.
        scv: Squared coefficient of variation of the service times.
        quality: Of the encoder with exact search, in [0, 1].
    """

    encoder: str
    search: Search
    encode_ms: float
    scv: float
    weights_bytes: float
    quality: float

    @property
    def name(self) -> str:
        """For example "as it is + hnsw"; without a kind of index, the encoder's."""
        return " + ".join(filter(None, [self.encoder, self.search.kind]))


@dataclass(frozen=True)
class Plan:
    """Prediction for a configuration under an objective.

    Attributes:
        excess: The larger of p99 and memory, each over its limit: at most 1 if the
            objective is met, infinite if the configuration is overloaded. Memory
            that was not recorded (NaN) does not count.
    """

    configuration: Configuration
    p50_ms: float
    p99_ms: float
    utilisation: float
    memory_bytes: float
    quality: float
    excess: float

    def __str__(self) -> str:
        times = f"p99 {self.p99_ms:.1f} ms, p50 {self.p50_ms:.1f} ms"
        times = times if self.utilisation < 1 else "overloaded"
        return (
            f"{self.configuration.name}: {times}, {self.utilisation:.0%} busy, "
            f"{self.memory_bytes / 1e6:,.0f} MB, quality {self.quality:.3f}"
        )


def predict(configuration: Configuration, objective: Objective, *, cores: int) -> Plan:
    """Predict latency, memory and quality of one configuration.

    The latency is that of a simulated queue with Poisson arrivals and gamma-distributed
    service times.

    Args:
        configuration: With its measurements.
        objective: The load and the size of the catalogue.
        cores: Servers of the queue, >= 1; each answers one request at a time.

    Raises:
        ValueError: If cores is below 1.
    """
    if cores < 1:
        raise ValueError(f"cores must be >= 1; got {cores}")
    search = configuration.search
    service_s = (configuration.encode_ms + search.predict_ms(objective.n_items)) / 1e3
    busy, p50_ms, p99_ms = objective.qps * service_s / cores, math.inf, math.inf
    if busy < 1:
        arrivals = arrival_times(N_SIMULATED, rate_per_s=objective.qps)
        shape = 1 / configuration.scv
        rng = np.random.default_rng(1)  # not the arrivals' own stream
        services = rng.gamma(shape, service_s / shape, N_SIMULATED)
        simulated = simulate_queue(arrivals, services, servers=cores)
        p50_ms, p99_ms = np.quantile(simulated.latency_ms, [0.5, 0.99]).tolist()
    n_bytes = configuration.weights_bytes + search.memory_bytes(objective.n_items)
    excess = float(np.fmax(p99_ms / objective.p99_ms, n_bytes / objective.memory_bytes))
    quality = configuration.quality * search.recall
    return Plan(configuration, p50_ms, p99_ms, busy, n_bytes, quality, excess)


def choose(
    configurations: Sequence[Configuration], objective: Objective, *, cores: int
) -> Plan:
    """Return the plan of best quality that meets the objective, else the nearest one.

    Ties go to the faster one. If all are overloaded, it is the least busy one.

    Raises:
        ValueError: If there is no configuration.
    """
    return rank(configurations, objective, cores=cores)[0]


def rank(
    configurations: Sequence[Configuration], objective: Objective, *, cores: int
) -> list[Plan]:
    """Plans that meet the objective, the best first; then the others, nearest first.

    Raises:
        ValueError: If there is no configuration.
    """
    if not configurations:
        raise ValueError("configurations must be one or more; got none")
    plans = [predict(c, objective, cores=cores) for c in configurations]
    meet = [plan for plan in plans if plan.excess <= 1]
    fail = [plan for plan in plans if plan.excess > 1]
    meet.sort(key=lambda plan: (-plan.quality, plan.p99_ms))
    fail.sort(key=lambda plan: (plan.excess, plan.utilisation))
    return meet + fail


def near(plans: Sequence[Plan], n: int = 10) -> list[Plan]:
    """The first plan, better ones that fail (nearest first), then others that meet.

    Args:
        plans: In the order of `rank`.
        n: Plans returned, at most; half of them fail, if others meet.
    """
    best, rest = plans[0], plans[1:]
    meet = [plan for plan in rest if plan.excess <= 1]
    better = [p for p in rest if p.excess > 1 and p.quality > best.quality]
    if best.excess > 1:
        return [best, *rest][:n]
    return [best, *better[: max(n // 2, n - 1 - len(meet))], *meet][:n]


def needs(plan: Plan, objective: Objective, *, cores: int) -> list[str]:
    """Ways to make a plan that fails meet its objective; one of them is enough.

    They are more cores, more milliseconds, or both if the cores are overloaded. A plan
    that needs memory has this one way only, and may need time, too.
    """
    if plan.memory_bytes > objective.memory_bytes:
        return [f"{plan.memory_bytes / 2**30:,.1f} GiB of memory"]

    def p99_ms(cores: int) -> float:
        return predict(plan.configuration, objective, cores=cores).p99_ms

    def longer(p99_ms: float) -> str:
        return f"{math.ceil(p99_ms - objective.p99_ms)} ms more"

    ways = [] if plan.utilisation >= 1 else [longer(plan.p99_ms)]
    enough = math.ceil(plan.utilisation * cores / CALM)  # and hardly a wait
    enough = min(max(enough, cores + 1), MOST_CORES)
    for more in range(cores + 1, enough + 1):
        if p99_ms(more) <= objective.p99_ms:
            return [f"{more} cores", *ways]
    waits = p99_ms(enough)
    return ways or ([f"{enough} cores and {longer(waits)}"] if waits < math.inf else [])
