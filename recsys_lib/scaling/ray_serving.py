"""Replicas of the service on Ray, on one machine or many.

`ray_started` starts Ray here or joins a cluster; everything else needs a running Ray.
"""

from __future__ import annotations

import io
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no statistics
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a dead worker is reported
os.environ.setdefault("RAY_worker_niceness", "0")  # its default, 15, starves it
os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "30")  # busy cores


import psutil

from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores

with needs("cluster"):
    import ray


if TYPE_CHECKING:
    from fastapi import FastAPI

CPUS_PER_ACTOR = 0.5  # reserved; whole CPUs would starve Ray Data's read tasks
_REPLICA = "recommender"
_MAX_REQUESTS = 512  # per replica; its app refuses earlier, with a reason
_STARTS = 5
_TIMEOUT_S = 20.0  # of the proxy, above the deadline of the app


@contextmanager
def ray_started(
    address: str | None = None, *, n_cpus: int | None = None
) -> Iterator[None]:
    """Start Ray on this machine, or join a running cluster; leave it at the end.

    Args:
        address: Of the cluster to join, "auto" for one that this machine is a part of;
            None starts a new one.
        n_cpus: CPUs that a new one offers; None for the cores, at least 4.

    Raises:
        RuntimeError: If this process has started or joined one already, or Ray does
            not start.
        ConnectionError: If no cluster answers.
    """
    init = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if address is None:
        cpus, host = n_cpus or max(4, usable_cores()), "127.0.0.1"
        init = partial(
            init, num_cpus=cpus, include_dashboard=False, _node_ip_address=host
        )
    with _silent_stderr():  # its C++ part announces its log level there
        _start(partial(init, address or "local"))
    try:
        yield
    finally:
        ray.shutdown()


def _start(init: Callable[[], object]) -> None:
    """Call init until Ray is up: it gives up after 30 s, too early on busy cores."""
    for attempt in range(1, _STARTS + 1):
        before = {*psutil.Process().children()}
        try:
            init()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            for child in {*psutil.Process().children()} - before:  # it leaves them
                child.kill()
            if attempt == _STARTS:
                wanted = "Ray must start; the machine may be too busy"
                raise RuntimeError(f"{wanted}; got {error}") from error
        else:
            return


@contextmanager
def serve_replicas(
    make_app: Callable[[], FastAPI],
    *,
    n_replicas: int = 2,
) -> Iterator[str]:
    """Serve the same app from replicas of Ray Serve, behind one address.

    A replica that dies is replaced. Its requests are answered with 500, or the
    connection is closed if the answer had begun; a request that takes above 20 s is
    answered with 408. A caller may send such a request again, since recommending
    changes nothing.

    Args:
        make_app: Called in each replica; returns what `service.create_app` returns.
        n_replicas: Processes behind one load-balancing proxy, >= 1.

    Yields:
        The address, such as "http://127.0.0.1:8000".

    Raises:
        ValueError: If n_replicas is below 1.
        RuntimeError: If Ray is not running, or no replica starts.
    """
    if n_replicas < 1:
        raise ValueError(f"n_replicas must be >= 1; got {n_replicas}")
    require_ray()
    from ray import serve  # takes seconds

    def build() -> FastAPI:
        return make_app()

    deployment: Any = serve.deployment(
        serve.ingress(build)(),
        name=_REPLICA,
        num_replicas=n_replicas,
        max_ongoing_requests=_MAX_REQUESTS,
        max_queued_requests=_MAX_REQUESTS,
        health_check_period_s=1,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": CPUS_PER_ACTOR},
    )
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    port = _free_port()
    http = {"host": "127.0.0.1", "port": port, "request_timeout_s": _TIMEOUT_S}
    quiet = {"log_level": "ERROR"}
    serve.start("HeadOnly", http_options=http, logging_config=quiet)
    try:
        serve.run(deployment.bind(), logging_config=quiet)
        yield f"http://127.0.0.1:{port}"
    finally:
        with redirect_stdout(io.StringIO()):  # Ray prints that its controller is gone
            serve.shutdown()  # type: ignore[no-untyped-call]


def kill_replica() -> str:
    """Kill one replica of `serve_replicas` without warning, like a failing machine.

    Returns:
        Its name.

    Raises:
        RuntimeError: If no replica runs.
    """
    named: Any = ray.util.list_named_actors(all_namespaces=True)
    replicas = [actor for actor in named if f"#{_REPLICA}#" in actor["name"]]
    if not replicas:
        raise RuntimeError("a replica must be running; got none")
    ray.kill(ray.get_actor(**replicas[0]))
    return str(replicas[0]["name"])


def require_ray() -> None:
    """Require a running Ray, which would otherwise start with its own defaults.

    Raises:
        RuntimeError: If Ray is not running.
    """
    if not ray.is_initialized():
        raise RuntimeError("Ray must be running; start it with ray_started")


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard the standard error of this process, that of C++ code included."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
