"""Serve an app by uvicorn in this process; on SIGTERM, drain it before it stops.

``app.state.ready`` says whether the app wants requests. On SIGTERM the server sets it
to false and continues to answer for a moment, so that load balancers send no more
requests when connections are refused.
"""

import asyncio
import signal
import socket
from types import FrameType

from recsys_lib.extras import needs

with needs("serving"):
    import uvicorn
    from fastapi import FastAPI


DRAIN_GRACE_S = 0.5  # not ready, but still serving, until load balancers have noticed
DRAIN_LIMIT_S = 30  # then requests that are still unfinished are dropped


def serve(app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, then answer all accepted requests and return.

    Prints "listening on http://..." with the address when it is ready.

    Args:
        app: Has ``state.ready``, as the result of `service.create_app` does.
        host: Address to listen on.
        port: 0 for a free one.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",  # even where uvloop is installed
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_LIMIT_S,
    )
    with listening_socket(host, port, backlog=config.backlog) as listener:
        _Server(config, app).run(sockets=[listener])


def check_address(host: str, port: int) -> None:
    """Check that a server could listen there, before anything is loaded for it.

    Raises:
        OSError: If the address is unknown, not of this machine or in use.
    """
    try:
        listening_socket(host, port, backlog=1).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot listen on {host}, port {port}: {reason}") from error


def listening_socket(host: str, port: int, *, backlog: int) -> socket.socket:
    """Open a listening socket whose connections send small answers without delay.

    It sets TCP_NODELAY, which asyncio sets only on sockets that it opens itself.
    Without it, an answer may wait 40 ms for the client's acknowledgement.

    Args:
        host: Address to listen on, of IPv4 or IPv6.
        port: 0 for a free one.
        backlog: Most connections that wait to be accepted.

    Raises:
        OSError: If the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=backlog)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """Prints its address; on SIGTERM first sets ready to false, and exits with 0."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on http://{shown}:{port}", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._app.state.ready and sig == signal.SIGTERM:
            self._app.state.ready = False
            self._loop.call_soon_threadsafe(
                self._loop.call_later, DRAIN_GRACE_S, self._stop
            )
        else:
            self._stop()

    def _stop(self) -> None:
        self.should_exit = True
