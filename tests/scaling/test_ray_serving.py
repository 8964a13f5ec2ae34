import os
import signal
import subprocess
import threading
import time

import httpx
import numpy as np
import pytest
import ray

from recsys_lib.latency.http_load import FAILED, http_open_loop
from recsys_lib.scaling.ray_embedding import embed_catalogue
from recsys_lib.scaling.ray_serving import (
    kill_replica,
    ray_started,
    require_ray,
    serve_replicas,
)

HANG_S = 120  # longer than anything here takes on a busy machine


@pytest.fixture(scope="module")
def address(ray_runs):
    def make_app():  # inside, it goes to the replicas by value: they know no tests
        from recsys_lib.serving.recommender import Recommendation
        from recsys_lib.serving.service import create_app

        class Echo:
            def recommend_texts(self, texts, k):
                time.sleep(0.005)
                return [Recommendation([text], [1.0], []) for text in texts]

            recommend_histories = recommend_texts

        return create_app(Echo(), max_batch=1)

    with serve_replicas(make_app) as url:
        yield url


def test_replicas_answer_as_the_app_does(address):
    with httpx.Client(base_url=address, timeout=HANG_S) as client:
        found = client.post("/recommend", json={"text": "noir"})
        assert found.json() == {"items": ["noir"], "scores": [1.0], "unknown": []}
        assert client.post("/recommend", json={}).status_code == 422
        assert client.get("/ready").status_code == 200


def test_a_replica_killed_under_load_loses_no_request(address):
    url, bodies = f"{address}/recommend", [{"text": str(i)} for i in range(160)]
    killer = threading.Timer(1.0, lambda: killed.append(kill_replica()))
    killed: list[str] = []
    killer.start()
    load = http_open_loop(url, bodies, rate_per_s=40, n_requests=160, timeout_s=HANG_S)
    killer.join()
    assert len(killed) == 1
    assert set(load.status.tolist()) <= {FAILED, 200, 408, 500, 503}
    assert load.latency_ms.max() < HANG_S * 1e3, "one was forgotten, not broken off"
    assert load.ok.any()
    refused = [bodies[i] for i in np.flatnonzero(~load.ok)] or bodies[:1]
    while refused:  # asked again, each is answered in the end
        options = {"n_requests": len(refused), "timeout_s": HANG_S}
        again = http_open_loop(url, refused, rate_per_s=50, **options)
        refused = [refused[i] for i in np.flatnonzero(~again.ok)]


def test_without_ray_or_replicas(ray_runs, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for call in (
        require_ray,
        lambda: serve_replicas(float).__enter__(),
        lambda: embed_catalogue([], [], "x", float, made_with=""),
    ):
        with pytest.raises(RuntimeError, match="Ray must be running"):
            call()
    monkeypatch.setattr(ray.util, "list_named_actors", lambda **_: [])
    with pytest.raises(RuntimeError, match="a replica must be running; got none"):
        kill_replica()


def test_workers_have_the_priority_of_their_caller(ray_runs):
    def priority():
        return os.getpriority(os.PRIO_PROCESS, 0)

    assert ray.get(ray.remote(priority).remote()) == priority()


def test_some_replicas_are_needed():
    with (
        pytest.raises(ValueError, match="n_replicas must be >= 1; got 0"),
        serve_replicas(float, n_replicas=0),
    ):
        pass


def test_ray_is_started_again_if_the_machine_was_too_busy(monkeypatch):
    outcomes = iter(["timed out during startup", "timed out during startup", ""])
    children: list[subprocess.Popen[bytes]] = []

    def init(*_, **__):
        children.append(subprocess.Popen(["sleep", "600"]))
        if said := next(outcomes):
            raise Exception(f"The current node {said}.")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_started():
        *given_up, last = children
        assert [child.wait(60) for child in given_up] == [-signal.SIGKILL] * 2
        assert last.poll() is None
    last.kill()
    last.wait()


def test_what_does_not_start_at_all_is_named(monkeypatch):
    def init(*_, **__):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RuntimeError, match=r"Ray must start.*timed out"), ray_started():
        pass


def test_ray_starts_once(ray_runs):
    with pytest.raises(RuntimeError, match="twice"), ray_started():
        pass
    require_ray()
