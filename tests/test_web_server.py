import asyncio
import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from recsys_lib.web_server import listening_socket

SERVER = """
import time
from recsys_lib.recommender import Recommendation
from recsys_lib.service import create_app
from recsys_lib.web_server import serve

class Slow:
    def recommend_texts(self, texts, k):
        time.sleep(0.15)
        return [Recommendation([text], [1.0], []) for text in texts]

    recommend_histories = recommend_texts

serve(create_app(Slow(), max_batch=2, deadline_ms=20_000), port=0)
"""


def serve_slow():
    """A slow server in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), line
    return process, line.split()[-1]


def test_sigterm_answers_what_was_accepted_and_ends_with_success():
    process, address = serve_slow()

    async def run():
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(
            base_url=address, timeout=20, limits=limits
        ) as client:
            assert (await client.get("/ready")).status_code == 200
            asked = [
                asyncio.create_task(client.post("/recommend", json={"text": "a"}))
                for _ in range(16)
            ]
            await asyncio.sleep(0.2)
            os.kill(process.pid, signal.SIGTERM)
            await asyncio.sleep(0.05)
            assert (await client.get("/ready")).status_code == 503  # still listening
            answers = await asyncio.gather(*asked)
            assert [x.status_code for x in answers] == [200] * 16
            with pytest.raises(httpx.ConnectError):
                await client.get("/health")

    try:
        asyncio.run(run())
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stdout.close()


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
