import asyncio
import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from recsys_lib.serving.web_server import (
    DRAIN_GRACE_S,
    _Server,
    check_address,
    listening_socket,
)

HANG_S = 120  # longer than anything here takes on a busy machine
SERVER = f"""
import sys, time
from pathlib import Path
from recsys_lib.serving import web_server
from recsys_lib.serving.recommender import Recommendation
from recsys_lib.serving.service import create_app

class Gated:
    def recommend_texts(self, texts, k):
        if "a" in texts:
            Path(sys.argv[2]).touch()
            while not Path(sys.argv[1]).exists():
                time.sleep(0.01)
        return [Recommendation([text], [1.0], []) for text in texts]

    recommend_histories = recommend_texts

web_server.DRAIN_GRACE_S = web_server.DRAIN_LIMIT_S = {HANG_S}
app = create_app(Gated(), max_batch=1, deadline_ms={HANG_S * 1000})
web_server.serve(app, port=0)
"""


@pytest.fixture
def served(tmp_path):
    """A server in a process of its own, and the files that open it and say it works."""
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, gate, begun],
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), line
    yield process, line.split()[-1], gate, begun
    process.kill()
    process.wait()
    process.stdout.close()


def test_sigterm_answers_what_was_accepted_and_ends_with_success(served):
    process, address, gate, begun = served
    options = {"base_url": address, "timeout": HANG_S}

    async def is_listening():
        try:
            async with httpx.AsyncClient(**options) as client:
                await client.get("/health")
        except httpx.ConnectError:
            return False
        except httpx.TransportError:  # broken off
            pass
        return True

    async def n_waiting(client):
        lines = (await client.get("/metrics")).text.splitlines()
        (line,) = (x for x in lines if x.startswith("recsys_queue_length "))
        return float(line.split()[-1])

    async def run():
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(limits=limits, **options) as client:
            assert (await client.get("/ready")).status_code == 200

            def ask():
                return asyncio.create_task(
                    client.post("/recommend", json={"text": "a"})
                )

            asked = [ask()]
            while not begun.exists():
                await asyncio.sleep(0.01)
            asked += [ask() for _ in range(15)]
            while await n_waiting(client) < 15:
                await asyncio.sleep(0.01)
            os.kill(process.pid, signal.SIGTERM)
            while (await client.get("/ready")).status_code != 503:  # still listening
                await asyncio.sleep(0.01)
            os.kill(process.pid, signal.SIGTERM)  # ends the grace
            while await is_listening():
                await asyncio.sleep(0.01)
            gate.touch()
            answers = await asyncio.gather(*asked)
            assert [x.status_code for x in answers] == [200] * 16

    asyncio.run(run())
    assert process.wait(HANG_S) == 0


def test_sigterm_makes_it_unready_at_once_and_stops_it_after_the_grace():
    waits = []
    app = SimpleNamespace(state=SimpleNamespace(ready=True))
    server = _Server(uvicorn.Config(app), app)
    server._loop = SimpleNamespace(
        call_soon_threadsafe=lambda call, *arguments: call(*arguments),
        call_later=lambda *arguments: waits.append(arguments),
    )
    server.handle_exit(signal.SIGTERM, None)
    assert not app.state.ready
    assert not server.should_exit
    ((seconds, stop),) = waits
    assert seconds == DRAIN_GRACE_S
    stop()
    assert server.should_exit


def test_accepted_connections_send_at_once():
    with (
        listening_socket("127.0.0.1", 0, backlog=1) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_refused():
    with (
        listening_socket("127.0.0.1", 0, backlog=1) as listener,
        pytest.raises(OSError, match="in use"),
    ):
        listening_socket(*listener.getsockname(), backlog=1)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_it_listens_on_ipv6_where_the_machine_has_it():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no address ::1")
    with listening_socket("::1", 0, backlog=1) as listener:
        assert listener.family is socket.AF_INET6


def test_an_address_that_cannot_be_had_is_named():
    check_address("127.0.0.1", 0)
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1, port 80: "):
        check_address("192.0.2.1", 80)
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host, port 80: "):
        check_address("no.such.host", 80)
