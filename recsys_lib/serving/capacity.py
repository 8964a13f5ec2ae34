"""The configuration that meets a latency objective at the best quality, from records.

A configuration is an encoder and an index. What it will cost at another number of items
and another load follows from parts that were measured: one text read, one search at two
sizes, the spread of service times. Its quality is that of the task it was recorded on,
lessened by the items that the index misses: for another catalogue it ranks
configurations, and does not promise the number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_lib.latency.load import arrival_times, simulate_queue

N_REPLAYED = 20_000


@dataclass(frozen=True)
class Objective:
    """What has to be met: `p99_ms` at `qps` requests a second over `n_items` items.

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
    """An index: milliseconds of a search at two sizes, and what it finds and takes."""

    kind: str
    n_items: tuple[int, int]
    ms: tuple[float, float]
    bytes_per_item: float
    recall: float

    def predict_ms(self, n_items: int) -> float:
        """Milliseconds among so many items: linear; for a graph, in their logarithm.

        >>> Search("flat", (1000, 2000), (1.0, 2.0), 4.0, 1.0).predict_ms(4000)
        4.0
        """
        scale = math.log if self.kind == "hnsw" else float
        small, large = (scale(n) for n in self.n_items)
        slope = max(0.0, (self.ms[1] - self.ms[0]) / (large - small))
        return max(0.0, self.ms[0] + slope * (scale(n_items) - small))


@dataclass(frozen=True)
class Configuration:
    """An encoder and an index, with all that a prediction needs.

    `encode_ms` is for one text on one core, `scv` the squared coefficient of variation
    of the service times, `quality` that of the encoder with exact search, in [0, 1].
    """

    encoder: str
    search: Search
    encode_ms: float
    scv: float
    weights_bytes: float
    quality: float

    @property
    def name(self) -> str:
        """Such as `as it is + hnsw`."""
        return f"{self.encoder} + {self.search.kind}"


@dataclass(frozen=True)
class Plan:
    """What a configuration is predicted to do under an objective.

    `misses` is by how much it misses: the worst of time and memory over what is
    allowed, 1 or less where the objective is met, infinite when overloaded.
    """

    configuration: Configuration
    p50_ms: float
    p99_ms: float
    utilisation: float
    memory_bytes: float
    quality: float
    misses: float

    def __str__(self) -> str:
        times = f"p99 {self.p99_ms:.1f} ms, p50 {self.p50_ms:.1f} ms"
        times = times if self.utilisation < 1 else "overloaded"
        return (
            f"{self.configuration.name}: {times}, {self.utilisation:.0%} busy, "
            f"{self.memory_bytes / 1e6:,.0f} MB, quality {self.quality:.3f}"
        )


def predict(configuration: Configuration, objective: Objective, *, cores: int) -> Plan:
    """Predict latency, memory and quality of one configuration.

    The latency is that of requests replayed through one queue: Poisson arrivals,
    service times of gamma distribution.

    Args:
        configuration: As measured.
        objective: The load and the catalogue.
        cores: Each answers one request at a time.

    Raises:
        ValueError: If cores is below 1.
    """
    if cores < 1:
        raise ValueError(f"cores must be >= 1; got {cores}")
    search = configuration.search
    service_s = (configuration.encode_ms + search.predict_ms(objective.n_items)) / 1e3
    busy, p50_ms, p99_ms = objective.qps * service_s / cores, math.inf, math.inf
    if busy < 1:
        arrivals = arrival_times(N_REPLAYED, rate_per_s=objective.qps)
        shape = 1 / configuration.scv
        rng = np.random.default_rng(1)  # not the arrivals' own stream
        services = rng.gamma(shape, service_s / shape, N_REPLAYED)
        replayed = simulate_queue(arrivals, services, servers=cores)
        p50_ms, p99_ms = np.quantile(replayed.latency_ms, [0.5, 0.99]).tolist()
    n_bytes = configuration.weights_bytes + objective.n_items * search.bytes_per_item
    misses = max(p99_ms / objective.p99_ms, n_bytes / objective.memory_bytes)
    quality = configuration.quality * search.recall
    return Plan(configuration, p50_ms, p99_ms, busy, n_bytes, quality, misses)


def choose(
    configurations: Sequence[Configuration], objective: Objective, *, cores: int
) -> Plan:
    """The plan of best quality that meets the objective; else the one that is nearest.

    Of equal quality the faster one; of all that are overloaded the least busy one.

    Raises:
        ValueError: If there is no configuration.
    """
    if not configurations:
        raise ValueError("configurations must be one or more; got none")
    plans = [predict(c, objective, cores=cores) for c in configurations]
    if met := [plan for plan in plans if plan.misses <= 1]:
        return max(met, key=lambda plan: (plan.quality, -plan.p99_ms))
    return min(plans, key=lambda plan: (plan.misses, plan.utilisation))
