import asyncio
import json
import queue
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from recsys_lib.latency.http_load import FAILED, HttpLoad, http_open_loop

HANG_S = 120  # longer than anything here takes on a busy machine


@contextmanager
def served(answer, *, close=False):
    """A server whose coroutine `answer(method, body)` gives (status, length, body)."""
    seen = {"connections": 0, "requests": []}

    async def talk(reader, writer):
        seen["connections"] += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                _, _, length = head.partition(b"Content-Length: ")
                body = await reader.readexactly(int(length.split()[0]) if length else 0)
                seen["requests"].append(body)
                writer.write(await answer(head.split()[0], body))
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    async def main():
        stop = asyncio.Event()
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        started.put((port, asyncio.get_running_loop(), stop))
        await stop.wait()
        this = asyncio.current_task()
        # Not before all are accepted: asyncio leaves open what it accepts in closing.
        await asyncio.sleep(0.05)
        while others := asyncio.all_tasks() - {this}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            await asyncio.sleep(0.05)  # sockets are closed in the next rounds
        server.close()

    started = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    port, loop, stop = started.get(timeout=HANG_S)
    try:
        yield f"http://127.0.0.1:{port}/path?q=1", seen
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def answered(status=200, body=b"{}"):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


async def at_once(method, body):
    return answered()


async def after_50_ms(method, body):
    await asyncio.sleep(0.05)
    return answered()


async def never(method, body):
    await asyncio.sleep(3600)


def test_a_delay_is_part_of_the_latency_and_connections_are_kept():
    async def with_company(method, body):
        await asyncio.sleep(0.05)
        while len(seen["requests"]) < 2:
            await asyncio.sleep(1e-3)
        return answered()

    with served(with_company) as (url, seen):
        run = http_open_loop(
            url,
            [{"a": 1}, {"a": 2}],
            rate_per_s=100,
            n_requests=60,
            connections=20,
            timeout_s=HANG_S,
        )
    assert run.ok.all()
    assert run.service_ms.min() >= 49  # what the server slept
    assert (run.latency_ms >= run.service_ms).all()
    assert (run.waiting_ms >= 0).all()
    bodies = [json.loads(body)["a"] for body in seen["requests"]]
    assert sorted(bodies) == [1] * 30 + [2] * 30
    assert 1 < seen["connections"] <= 20  # several at once, and used again


def test_a_get_has_no_body():
    async def echo(method, body):
        return answered(200 if (method, body) == (b"GET", b"") else 400)

    with served(echo) as (url, _):
        run = http_open_loop(
            url, [None], rate_per_s=500, n_requests=5, timeout_s=HANG_S
        )
    assert run.ok.all()


def test_refusals_are_not_successes():
    turn = iter([200, 503, 404] * 4)

    async def alternate(method, body):
        return answered(next(turn))

    with served(alternate) as (url, _):
        run = http_open_loop(
            url, [{}], rate_per_s=500, n_requests=12, connections=1, timeout_s=HANG_S
        )
    assert run.status.tolist() == [200, 503, 404] * 4
    assert run.ok.tolist() == [True, False, False] * 4


def test_a_closed_port_fails_each_request():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        run = http_open_loop(
            url, [{}], rate_per_s=1000, n_requests=20, timeout_s=HANG_S
        )
    assert (run.status == FAILED).all()
    assert not run.ok.any()


def test_requests_are_given_up_after_the_timeout():
    async def some(method, body):
        return await (never if b"slow" in body else at_once)(method, body)

    with served(some) as (url, _):
        run = http_open_loop(
            url, ["slow", "fast"], rate_per_s=20, n_requests=20, timeout_s=0.2
        )
    assert (run.status[::2] == FAILED).all()
    assert run.latency_ms[run.status == FAILED].min() >= 200
    assert 200 in run.status  # where the machine does not take as long


def test_waiting_for_a_connection_counts_and_shows():
    with served(after_50_ms) as (url, seen):
        run = http_open_loop(
            url,
            [{}],
            rate_per_s=100,
            n_requests=10,
            connections=1,
            arrivals="uniform",
            timeout_s=HANG_S,
        )
    assert seen["connections"] == 1
    # ten services of 50 ms and more, one after the other; the last due after 100 ms
    assert run.latency_ms[-1] >= 10 * 49 - 100
    assert run.waiting_ms[-1] >= 9 * 49 - 100


def test_a_silent_server_cannot_hold_up_the_run():
    with served(never) as (url, _):
        run = http_open_loop(
            url, [{}], rate_per_s=100, n_requests=20, connections=2, timeout_s=0.1
        )
    assert (run.status == FAILED).all()  # and it came to an end


@pytest.mark.parametrize(
    ("raw", "close", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nall until the end", True, 200),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n.",
            True,
            200,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", True, 0),
        (b"HTTP/1.1 oops\r\nContent-Length: 0\r\n\r\n", False, 0),
        (b"SSH-2.0\r\n\r\n", True, 0),
        (answered(201, b"x" * 300_000), False, 201),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n",
            False,
            200,
        ),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nshort",
            True,
            0,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text", True, 0),
    ],
)
def test_answers_of_other_forms(raw, close, status):
    async def answer(method, body):
        return raw

    with served(answer, close=close) as (url, _):
        run = http_open_loop(url, [{}], rate_per_s=200, n_requests=4, timeout_s=HANG_S)
    assert run.status.tolist() == [status] * 4


def test_a_large_body_is_sent_whole():
    with served(at_once) as (url, seen):
        big = "x" * 3_000_000
        run = http_open_loop(url, [big], rate_per_s=50, n_requests=2, timeout_s=HANG_S)
    assert run.ok.all()
    assert [len(body) for body in seen["requests"]] == [3_000_002] * 2


def test_pace_is_kept_while_lateness_is_small_beside_latency():
    zeros = np.zeros(100)
    status = np.full(100, 200)
    slow = HttpLoad(zeros, zeros + 0.004, zeros + 0.050, status)
    quick = HttpLoad(zeros, zeros + 0.004, zeros + 0.010, status)
    assert slow.kept_pace
    assert not quick.kept_pace


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 0}, "timeout_s must be > 0.*got 0, 256, 1"),
        ({"connections": 0}, "connections and bodies >= 1; got 10.0, 0, 1"),
        ({"bodies": []}, "bodies >= 1; got 10.0, 256, 0"),
        ({"url": "https://localhost/"}, "url must be http://.*got 'https"),
        ({"url": "localhost:80"}, "url must be http://"),
        ({"rate_per_s": 0}, "rate_per_s must be finite"),
        ({"n_requests": 0}, "n_requests must be >= 1"),
    ],
)
def test_refusals(options, message):
    usual = {"url": "http://x/", "bodies": [{}], "rate_per_s": 1, "n_requests": 1}
    arguments = usual | options
    with pytest.raises(ValueError, match=message):
        http_open_loop(arguments.pop("url"), arguments.pop("bodies"), **arguments)
