"""Open-loop load over HTTP, sent from a separate process.

The sender shares no interpreter with the service that it measures and takes little
processor time: one thread, one selector, persistent connections. A run reports how late
its requests were sent.
"""

import gc
import json
import pickle
import select
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from recsys_lib.arrays import BoolArray, Float64Array, IntArray
from recsys_lib.extras import needs
from recsys_lib.latency.load import LoadResult, arrival_times

with needs("serving"):
    from httptools import HttpParserError, HttpResponseParser


FAILED = 0  # in place of a status: no connection, a broken one, or a timeout
LATE_MS, LATE_SHARE = 1.0, 0.1  # p99 lateness allowed: in ms, as a share of p99 latency


@dataclass(frozen=True)
class HttpLoad(LoadResult):
    """When each HTTP request was due, sent and answered, and its status code.

    `waiting_ms` is the lateness of the sender, a part of the latency. A request whose
    connection fails, or that times out, finishes at that moment.

    Attributes:
        status: (n,) HTTP status codes; 0 for a failed connection or a timeout.
    """

    status: IntArray

    @property
    def ok(self) -> BoolArray:
        """(n,) whether each request got a status of 200 to 299."""
        return np.asarray(self.status // 100 == 2)

    @property
    def kept_pace(self) -> bool:
        """Whether the sender's p99 lateness is at most 1 ms or 10 % of p99 latency."""
        late_ms, p99_ms = (
            float(np.quantile(x, 0.99)) for x in (self.waiting_ms, self.latency_ms)
        )
        return late_ms <= max(LATE_MS, LATE_SHARE * p99_ms)


def http_open_loop(
    url: str,
    bodies: Sequence[Any],
    *,
    rate_per_s: float,
    n_requests: int,
    timeout_s: float = 10.0,
    connections: int = 256,
    arrivals: Literal["poisson", "uniform"] = "poisson",
    seed: int = 0,
) -> HttpLoad:
    """Send requests over HTTP at times that do not depend on the answers.

    Args:
        url: `http://host[:port]/path`.
        bodies: JSON values, posted in turn, again from the first after the last; None
            sends a GET.
        rate_per_s: Mean requests a second, > 0.
        n_requests: How many, >= 1.
        timeout_s: Time from the intended start after which a request fails, > 0.
        connections: Most open connections, >= 1; a request that finds none free waits
            in the sender, which counts as lateness.
        arrivals: As in `load.arrival_times`.
        seed: Of the arrivals.

    Raises:
        ValueError: If an argument is out of its range.

    >>> run = http_open_loop(
    ...     "http://127.0.0.1:9/", [None], rate_per_s=100, n_requests=2
    ... )
    >>> run.status.tolist(), run.ok.tolist()
    ([0, 0], [False, False])
    """
    if not (0 < timeout_s < np.inf and connections >= 1 and len(bodies)):
        raise ValueError(
            f"timeout_s must be > 0, connections and bodies >= 1; "
            f"got {timeout_s}, {connections}, {len(bodies)}"
        )
    intended_s = arrival_times(
        n_requests, rate_per_s=rate_per_s, arrivals=arrivals, seed=seed
    )
    address, messages = _messages(url, bodies)
    job = pickle.dumps((address, messages, intended_s, timeout_s, connections))
    command = [sys.executable, "-m", "recsys_lib.latency.http_load"]
    done = subprocess.run(command, input=job, stdout=subprocess.PIPE, check=True)
    return HttpLoad(intended_s, *pickle.loads(done.stdout))


class _Connection:
    """A connection, the request on it, and the parser of the answer.

    Attributes:
        number: Of the request; -1 while idle.
        unsent: Bytes of the request that are not sent yet.
        answer: Status, and whether the connection can be used again; None until the
            answer is complete.
    """

    def __init__(self, peer: socket.socket, number: int, message: bytes) -> None:
        self.socket, self._parser = peer, HttpResponseParser(self)
        self.start(number, message)

    def start(self, number: int, message: bytes) -> None:
        self.number, self.unsent = number, message
        self.answer: tuple[int, bool] | None = None
        self._has_length = self._has_headers = False

    def send(self) -> None:
        self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def receive(self) -> bool:
        """Parse what has arrived; False at the end of the stream."""
        chunk = self.socket.recv(65536)
        if chunk:
            self._parser.feed_data(chunk)
        elif self._has_headers and not self._has_length:
            self.on_message_complete()  # the end of the stream is the answer's end
        return bool(chunk)

    # httptools calls the methods below

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._has_headers = True

    def on_message_complete(self) -> None:
        self.answer = self._parser.get_status_code(), self._parser.should_keep_alive()


class _Sender:
    """Sends each message when it is due, over persistent connections."""

    def __init__(
        self,
        address: tuple[str, int],
        messages: Sequence[bytes],
        intended_s: Float64Array,
        timeout_s: float,
        connections: int,
    ) -> None:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        self._family, self._address = found[0], found[4]
        self._messages, self._intended_s = messages, intended_s.tolist()
        self._timeout_s, self._most = timeout_s, connections
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._busy: dict[int, _Connection] = {}  # by number, oldest first
        n = len(intended_s)
        self._started_s, self._finished_s = [0.0] * n, [0.0] * n
        self._status = [FAILED] * n

    def run(self) -> tuple[Float64Array, Float64Array, IntArray]:
        """Send all requests; (n,) start and end in seconds, and status codes."""
        origin_s, number, n = time.perf_counter(), 0, len(self._intended_s)
        while number < n or self._busy:
            now_s = time.perf_counter() - origin_s
            if number < n and now_s >= self._intended_s[number] and self._has_free():
                self._start(number, now_s)
                number += 1
            self._time_out(now_s)
            self._wait(number, now_s)
            for key, events in self._selector.select(0):
                self._serve(key.data, events, time.perf_counter() - origin_s)
        return (
            np.array(self._started_s),
            np.array(self._finished_s),
            np.array(self._status, np.int64),
        )

    def _has_free(self) -> bool:
        return bool(self._idle) or len(self._busy) < self._most

    def _wait(self, number: int, now_s: float) -> None:
        """Sleep until the next request is due, a request times out or data arrive.

        `select` waits on the selector itself: epoll counts in whole milliseconds.
        """
        moments = []
        if number < len(self._intended_s) and self._has_free():
            moments.append(self._intended_s[number])
        if self._busy:
            oldest = next(iter(self._busy))
            moments.append(self._intended_s[oldest] + self._timeout_s)
        wait_s = max(0.0, min(moments, default=now_s) - now_s)
        select.select([self._selector], [], [], wait_s)

    def _start(self, number: int, now_s: float) -> None:
        self._started_s[number] = now_s
        message = self._messages[number % len(self._messages)]
        if self._idle:
            connection = self._idle.pop()
            connection.start(number, message)
            self._busy[number] = connection
            self._serve(connection, selectors.EVENT_WRITE, now_s)
        else:
            self._busy[number] = self._connect(number, message)

    def _connect(self, number: int, message: bytes) -> _Connection:
        peer = socket.socket(self._family, socket.SOCK_STREAM)
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.connect_ex(self._address)
        connection = _Connection(peer, number, message)
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(peer, both, connection)
        return connection

    def _serve(self, connection: _Connection, events: int, now_s: float) -> None:
        status, reusable = FAILED, False
        try:
            if events & selectors.EVENT_WRITE and connection.unsent:
                self._write(connection)
            if not events & selectors.EVENT_READ:
                return
            is_open = connection.receive()
            if connection.answer:
                status, reusable = connection.answer
            elif is_open and connection.number >= 0:
                return
        except BlockingIOError:
            return
        except (OSError, HttpParserError):  # connection broken, or not HTTP
            pass
        self._finish(connection, status, reusable, now_s)

    def _write(self, connection: _Connection) -> None:
        connection.send()
        events = selectors.EVENT_READ
        if connection.unsent:
            events |= selectors.EVENT_WRITE
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _finish(
        self, connection: _Connection, status: int, reusable: bool, now_s: float
    ) -> None:
        number, connection.number = connection.number, -1
        if number >= 0:
            del self._busy[number]
            self._finished_s[number], self._status[number] = now_s, status
        else:
            self._idle.remove(connection)
        if reusable and number >= 0:
            self._idle.append(connection)
        else:
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _time_out(self, now_s: float) -> None:
        while self._busy:
            oldest = next(iter(self._busy))
            if now_s < self._intended_s[oldest] + self._timeout_s:
                return
            self._finish(self._busy[oldest], FAILED, False, now_s)


def _messages(url: str, bodies: Sequence[Any]) -> tuple[tuple[str, int], list[bytes]]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"url must be http://host[:port]/path; got {url!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = f"Host: {parts.netloc}\r\n"
    return (parts.hostname, parts.port or 80), [
        _message(path, host, body) for body in bodies
    ]


def _message(path: str, host: str, body: Any) -> bytes:
    if body is None:
        return f"GET {path} HTTP/1.1\r\n{host}\r\n".encode()
    data = json.dumps(body).encode()
    kind = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"POST {path} HTTP/1.1\r\n{host}{kind}\r\n".encode() + data


if __name__ == "__main__":
    gc.disable()  # a pause of the sender would count as the service's
    sender = _Sender(*pickle.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(pickle.dumps(sender.run()))
