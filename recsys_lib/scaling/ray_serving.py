"""Ray on one machine or many: replicas of the service, shards of the index.

`ray_started` starts Ray here or joins a cluster; everything else asks for it to run.
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

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it calls home
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a dead worker is reported
os.environ.setdefault("RAY_worker_niceness", "0")  # at its 15, other work starves it
os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "30")  # busy cores

import ray

from recsys_lib.machine import usable_cores

if TYPE_CHECKING:
    from fastapi import FastAPI

CPUS = 0.5  # of an actor, in Ray's books: all of them, and its own tasks find none
_REPLICA = "recommender"
_MOST_AT_ONCE = 512  # at or before a replica: its app refuses sooner, and says why
_ANSWER_S = 20.0  # the proxy's own limit, above those of the app


@contextmanager
def ray_started(
    address: str | None = None, *, n_cpus: int | None = None
) -> Iterator[None]:
    """Start Ray on this machine, or join a running cluster; leave it in any case.

    Args:
        address: Of a cluster, "auto" for the one of this machine; None starts one.
        n_cpus: What a started one offers; None: the cores, 4 if there are fewer.

    Raises:
        RuntimeError: If this process is in one already.
        ConnectionError: If no cluster answers.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"num_cpus": n_cpus or max(4, usable_cores())}
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    with _silent_stderr():  # its log level is announced, below any Python logging
        ray.init(address or "local", **options)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def serve_replicas(
    make_app: Callable[[], FastAPI],
    *,
    n_replicas: int = 2,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Serve the same app from replicas of Ray Serve, behind one address.

    A replica that dies is replaced. What it had in work is answered with 500, or is
    broken off if the answer had begun, and nothing waits above 20 s (408): to recommend
    changes nothing, so a caller may ask again.

    Args:
        make_app: Called in each replica: `service.create_app` of a recommender, say.
        n_replicas: Processes, >= 1, with one balancing proxy before them.
        host: Address that the proxy listens on, on the first machine.
        port: 0 for a free one.

    Yields:
        The address, such as "http://127.0.0.1:8000".

    Raises:
        ValueError: If n_replicas is below 1.
        RuntimeError: If Ray does not run, or no replica comes up.
    """
    if n_replicas < 1:
        raise ValueError(f"n_replicas must be >= 1; got {n_replicas}")
    check_ray()
    from ray import serve  # seconds

    def build() -> FastAPI:
        return make_app()

    deployment: Any = serve.deployment(
        serve.ingress(build)(),
        name=_REPLICA,
        num_replicas=n_replicas,
        max_ongoing_requests=_MOST_AT_ONCE,
        max_queued_requests=_MOST_AT_ONCE,
        health_check_period_s=1,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": CPUS},
    )
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    port = port or _free_port()
    http = {"host": host, "port": port, "request_timeout_s": _ANSWER_S}
    quiet = {"log_level": "ERROR"}
    serve.start("HeadOnly", http_options=http, logging_config=quiet)
    try:
        serve.run(deployment.bind(), logging_config=quiet)
        yield f"http://{host}:{port}"
    finally:
        with redirect_stdout(io.StringIO()):  # Ray prints that its controller is gone
            serve.shutdown()  # type: ignore[no-untyped-call]


def kill_replica() -> str:
    """Kill one replica of `serve_replicas` outright, as a failing machine would.

    Returns:
        Its name.

    Raises:
        RuntimeError: If there is none.
    """
    named: Any = ray.util.list_named_actors(all_namespaces=True)
    replicas = [actor for actor in named if f"#{_REPLICA}#" in actor["name"]]
    if not replicas:
        raise RuntimeError("a replica must run; got none")
    ray.kill(ray.get_actor(**replicas[0]))
    return str(replicas[0]["name"])


class RemoteShard:
    """An `indexes.Index` in an actor, with its methods: `make_shard` of a sharded one.

    The actor ends with the last reference to it. Once it has died, every call raises
    `ray.exceptions.RayActorError`.

    Args:
        *arguments: Of `build_index`, like the options.

    Raises:
        RuntimeError: If Ray does not run.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        check_ray()
        holder: Any = ray.remote(num_cpus=CPUS)(_Holder)
        self._actor = holder.remote(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name in ("dim", "kind", "size_bytes"):
            return self._ask(name)
        return partial(self._ask, name)

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return ray.get(self._actor.ask.remote(name, *arguments, **options))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


class _Holder:
    def __init__(self, *arguments: Any, **options: Any) -> None:
        from recsys_lib.ranking.index import (
            build_index,  # what else is here needs no faiss
        )

        self._index = build_index(*arguments, **options)

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        found = getattr(self._index, name)
        return found(*arguments, **options) if callable(found) else found


def check_ray() -> None:
    """See that Ray runs: it would start itself, in ways of its own.

    Raises:
        RuntimeError: If it does not.
    """
    if not ray.is_initialized():
        raise RuntimeError("Ray must run, by ray_started say; it does not")


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Nothing reaches the standard error of this process, from C++ either."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
