"""uvicorn in its caller's process: says where it listens, and drains on SIGTERM.

The application shows in ``app.state.ready`` whether it wants requests; the server takes
that back on SIGTERM and goes on answering for a moment, so that balancers look away
before connections are refused.
"""

import asyncio
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

DRAIN_GRACE_S = 0.5  # not ready but still serving: balancers look away, queues empty
DRAIN_LIMIT_S = 30  # then a client that never ends its request is given up


def serve(app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return.

    Args:
        app: With ``state.ready``, as `service.create_app` makes it.
        host: Address to listen on.
        port: 0 for a free one; the line "listening on http://..." names it.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",  # whatever else is installed
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_LIMIT_S,
    )
    with listening_socket(host, port, backlog=config.backlog) as listener:
        _Server(config, app).run(sockets=[listener])


def listening_socket(host: str, port: int, *, backlog: int) -> socket.socket:
    """Listen; what it accepts sends each answer at once.

    asyncio sees to that for the sockets that it opens itself only; without it answers
    wait up to 40 ms for the client's acknowledgement.

    Args:
        host: Address to listen on.
        port: 0 for a free one.
        backlog: Connections that may wait to be accepted.

    Raises:
        OSError: If the address cannot be had.
    """
    listener = socket.create_server((host, port), backlog=backlog)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """Says when it listens; unready first on SIGTERM, and ends with success."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            print(f"listening on http://{host}:{port}", flush=True)

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
