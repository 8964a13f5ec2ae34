import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import schemathesis
from fastapi.testclient import TestClient

from recsys_lib.embeddings.engines.openvino import BUCKETS
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import load_tokenizer, token_ids
from recsys_lib.serving.dataset_service import main
from recsys_lib.serving.item_filter import item_fields
from recsys_lib.serving.recommender import Recommendation
from recsys_lib.serving.service import MAX_BODY_BYTES, Query, answer, create_app

IDS = [str(i) for i in range(200)]
HANG_S = 120  # longer than anything here takes on a busy machine
PATIENT = {"deadline_ms": HANG_S * 1e3}


class Slow:
    """Recommends 0, 1, 2 ... once its gate is open; "fail" is fatal."""

    fields = item_fields({"kind": ["x", "y"] * 100, "year": [1990] * 200})

    def __init__(self):
        self.filters = []
        self.gate = threading.Event()
        self.gate.set()
        self.batches = []

    def _answer(self, queries, k, filters=None):
        if queries:
            self.filters.append(filters)
            self.batches.append(list(queries))
            assert self.gate.wait(HANG_S)
            if "fail" in queries:
                raise OSError("/secret")
        scores = [1 - i / 200 for i in range(k)]
        return [Recommendation(IDS[:k], scores, []) for _ in queries]

    recommend_texts = recommend_histories = _answer


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def client(slow):
    with TestClient(create_app(slow, **PATIENT)) as client:
        yield client


def metric(client, line):
    found = [x for x in client.get("/metrics").text.splitlines() if x.startswith(line)]
    return float(found[0].split()[-1])


def test_a_text_and_a_history_are_answered(client, slow):
    by_text = client.post("/recommend", json={"text": "a film", "k": 2})
    assert by_text.status_code == 200
    assert by_text.headers["content-type"] == "application/json"
    assert by_text.json() == {"items": ["0", "1"], "scores": [1, 0.995], "unknown": []}
    by_history = client.post("/recommend", json={"history": ["5"]})
    assert by_history.json()["items"] == IDS[:10]
    assert slow.batches[-2:] == [["a film"], [["5"]]]


def test_a_filter_is_given_with_its_query(client, slow):
    body = {"text": "a film", "filter": {"kind": ["x"], "year": 1990.0}}
    assert client.post("/recommend", json=body).status_code == 200
    assert slow.filters[-1] == [{"kind": ["x"], "year": 1990}]
    client.post("/recommend", json={"history": ["5"], "filter": {"exclude": ["7"]}})
    assert slow.filters[-1] == [{"exclude": ["7"]}]
    client.post("/recommend", json={"text": "a film", "filter": {}})
    assert slow.filters[-1] is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"colour": "red"}, "must be one of kind, year, exclude; got colour"),
        ({"kind": 5}, "values of kind must be str; got int 5"),
        ({"year": "1990"}, "values of year must be int"),
        ({"year": 1990.5}, "Input should be"),
        ({"kind": [["x"]]}, "Input should be"),
        (["kind"], "Input should be an object"),
    ],
)
def test_a_filter_of_another_shape_is_answered_422(client, slow, wanted, message):
    before = len(slow.batches)
    answer = client.post("/recommend", json={"text": "a", "filter": wanted})
    assert answer.status_code == 422
    assert message in answer.text
    assert len(slow.batches) == before


def test_each_worker_warms_up(slow):
    with TestClient(create_app(slow, workers=2)):
        sizes = sorted(len(batch) for batch in slow.batches)
    assert sizes == [1] * 12 + [5] * 2


def test_the_warm_up_has_every_length_that_has_a_model(slow):
    with TestClient(create_app(slow)):
        texts = [text for batch in slow.batches for text in batch if text]
    rows = token_ids(load_tokenizer(minilm_folder(), 128), texts)
    found = {min((b for b in BUCKETS if b >= len(row)), default=0) for row in rows}
    assert found == {*BUCKETS, 0}


def test_a_batch_gives_each_query_its_own_answer_and_k():
    class Echo:
        def recommend_texts(self, texts, k):
            return [Recommendation([text] * k, [1.0] * k, []) for text in texts]

        def recommend_histories(self, histories, k):
            return [Recommendation(["h"] * k, [2.0] * k, ids) for ids in histories]

    queries = [
        Query(text="x", k=1),
        Query(history=["1"], k=3),
        Query(text="y", k=2),
        Query(history=[]),
    ]
    found = [json.loads(x) for x in answer(Echo(), queries)]
    assert [x["items"] for x in found] == [["x"], ["h"] * 3, ["y"] * 2, ["h"] * 10]
    assert [x["unknown"] for x in found] == [[], ["1"], [], []]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "exactly one of text and history"),
        (b'{"text": "a", "history": []}', "exactly one of text and history"),
        (b'{"text": ""}', "at least 1 character"),
        (b'{"text": "%s"}' % (b"a" * 2001), "at most 2000 characters"),
        (b'{"text": null}', "valid string"),
        (b'{"text": "\\ud800"}', "Invalid JSON"),
        (b'{"text": "a", "k": 0}', "greater than or equal to 1"),
        (b'{"text": "a", "k": 101}', "less than or equal to 100"),
        (b'{"text": "a", "k": NaN}', "Input should be a valid integer"),
        (b'{"text": "a", "n": 5}', "Extra inputs are not permitted"),
        (b'{"history": [1]}', "valid string"),
        (json.dumps({"history": ["1"] * 1001}).encode(), "at most 1000 items"),
        (b"[" * 5000, "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"", "Invalid JSON"),
    ],
)
def test_what_is_no_query_is_answered_422(client, body, message):
    answer = client.post("/recommend", content=body)
    assert answer.status_code == 422
    assert message in answer.text


def test_a_body_too_large_is_not_read_to_its_end(client):
    answer = client.post("/recommend", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


def test_a_failure_is_told_without_its_inside(client, caplog):
    answer = client.post("/recommend", json={"text": "fail"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "OSError" in caplog.text
    assert client.post("/recommend", json={"text": "well"}).status_code == 200
    assert metric(client, 'recsys_requests_total{status="500"}') == 1


def test_before_the_start_it_is_alive_but_not_ready(slow):
    client = TestClient(create_app(slow))
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503
    refused = client.post("/recommend", json={"text": "a"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    with client:
        assert client.get("/ready").status_code == 200
        assert [len(batch) for batch in slow.batches] == [1] * 5 + [5, 1]  # warm
    assert client.get("/ready").status_code == 503


def test_metrics_count_what_happened(client):
    for body in ({"text": "a"}, {"history": []}, {}):
        client.post("/recommend", json=body)
    assert metric(client, 'recsys_requests_total{status="200"}') == 2
    assert metric(client, 'recsys_requests_total{status="422"}') == 1
    assert metric(client, "recsys_latency_seconds_count") == 2
    assert metric(client, "recsys_batch_size_sum") == 2
    assert metric(client, "recsys_queue_length") == 0


def test_two_apps_count_apart(client):
    with TestClient(create_app(Slow(), **PATIENT)) as other:
        other.post("/recommend", json={"text": "a"})
        assert metric(other, "recsys_latency_seconds_count") == 1
        assert metric(client, "recsys_latency_seconds_count") == 0


def test_overload_is_refused_and_the_queue_stays_bounded(slow):
    app = create_app(slow, max_batch=2, max_queue=4, **PATIENT)
    with TestClient(app) as client, ThreadPoolExecutor(20) as pool:

        def ask():
            return pool.submit(client.post, "/recommend", json={"text": "a"})

        slow.gate.clear()
        asked = [ask()]
        while ["a"] not in slow.batches:
            time.sleep(1e-3)
        asked += [ask() for _ in range(19)]
        while sum(x.done() for x in asked) < 15:
            time.sleep(1e-3)
        assert metric(client, "recsys_queue_length") == 4
        slow.gate.set()
        answers = [x.result() for x in asked]
        refused = [x for x in answers if x.status_code == 503]
        accepted = [x for x in answers if x.status_code == 200]
        assert (len(refused), len(accepted)) == (15, 5)  # one in work, four waiting
        assert all(int(x.headers["retry-after"]) >= 1 for x in refused)
        name = 'recsys_refused_total{reason="QueueFull"}'
        assert metric(client, name) == len(refused)


def test_a_missed_deadline_is_refused(slow):
    with TestClient(create_app(slow, deadline_ms=30)) as client:
        slow.gate.clear()
        answer = client.post("/recommend", json={"text": "a"})
        slow.gate.set()
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert metric(client, 'recsys_refused_total{reason="DeadlineExceeded"}') == 1


schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(Slow()))


def sent_to(path):
    """A test of its own for each path: their names alone would be the same."""

    @schema.include(path=path).parametrize()
    def test(case):
        case.call_and_validate()

    return test


test_nothing_that_is_sent_breaks_recommend = sent_to("/recommend")
test_nothing_that_is_sent_breaks_health = sent_to("/health")
test_nothing_that_is_sent_breaks_ready = sent_to("/ready")
test_nothing_that_is_sent_breaks_metrics = sent_to("/metrics")


def test_no_other_path_is_offered():
    assert {*schema.raw_schema["paths"]} == {
        "/recommend",
        "/health",
        "/ready",
        "/metrics",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-batch", "x"], "--max-batch"),
        (["--max-batch", "0"], "--max-batch must be at least 1; got 0"),
        (["--nothing"], "--nothing"),
        (["--engine", "tensorrt"], "invalid choice: 'tensorrt'"),
        (["--max-queue", "-1"], "--max-queue must be at least 1; got -1"),
        (["--deadline-ms", "nan"], "--deadline-ms must be above 0; got nan"),
        (["--deadline-ms", "0"], "--deadline-ms must be above 0; got 0.0"),
        (["--port", "99999"], r"--port must lie in [0, 65535]; got 99999"),
    ],
)
def test_wrong_options_end_the_command_before_anything_is_loaded(
    monkeypatch, capsys, options, said
):
    monkeypatch.setattr("recsys_lib.serving.dataset_service.load_dataset", None)
    monkeypatch.setattr(sys, "argv", ["service", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert said in capsys.readouterr().err


def test_an_address_in_use_ends_the_command_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("recsys_lib.serving.dataset_service.load_dataset", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["service", "--port", port])
        with pytest.raises(SystemExit) as ended:
            main()
    assert f"make serve: cannot listen on 127.0.0.1, port {port}" in ended.value.code


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_probes_answer_head(client, path):
    found = client.head(path)
    assert (found.status_code, found.content) == (200, b"")


def test_half_a_surrogate_pair_is_no_text(client):
    body = b'{"text": "ok \\ud800"}'
    assert client.post("/recommend", content=body).status_code == 422
