import base64
import threading

import numpy as np
import pytest
import schemathesis
import uvicorn
from fastapi.testclient import TestClient

from recsys_lib.ranking.similarity import normalize
from recsys_lib.serving.recommender import Recommendation
from recsys_lib.serving.service import MAX_BODY_BYTES, create_app
from recsys_lib.serving.web_server import listening_socket

HANG_S = 120  # longer than anything here takes on a busy machine


class Hashing:
    """A vector of its own for each text; "fail" is fatal."""

    dim = 8

    def encode(self, texts, *, role=None):
        if "fail" in texts:
            raise OSError("/secret")
        rows = [
            np.random.default_rng([*text.encode()]).normal(size=8) for text in texts
        ]
        return normalize(rows).astype(np.float32)


class Encoding:
    """What the service needs of a recommender here."""

    def __init__(self, encoder):
        self.encoder = encoder

    def recommend_texts(self, texts, k):
        return [Recommendation([], [], []) for _ in texts]

    recommend_histories = recommend_texts


def app_of(encoder):
    patient = HANG_S * 1e3
    return create_app(Encoding(encoder), deadline_ms=patient, embeddings_model="ours")


@pytest.fixture
def client():
    with TestClient(app_of(Hashing())) as client:
        yield client


def ask(client, **body):
    return client.post("/v1/embeddings", json={"model": "any", **body})


def test_a_text_and_several_have_their_vectors(client):
    one = ask(client, input="a").json()
    assert one["object"] == "list"
    assert one["model"] == "ours"
    assert one["usage"] == {"prompt_tokens": 0, "total_tokens": 0}  # no tokeniser
    many = ask(client, input=["b", "a", "b"], user="me").json()
    assert [x["index"] for x in many["data"]] == [0, 1, 2]
    assert {x["object"] for x in many["data"]} == {"embedding"}
    found = np.array([x["embedding"] for x in many["data"]], np.float32)
    assert np.array_equal(found, Hashing().encode(["b", "a", "b"]))
    assert one["data"][0]["embedding"] == many["data"][1]["embedding"]


def test_base64_holds_the_same_floats(client):
    coded = ask(client, input="a", encoding_format="base64").json()["data"][0]
    found = np.frombuffer(base64.b64decode(coded["embedding"]), "<f4")
    assert np.array_equal(found, Hashing().encode(["a"])[0])


def test_fewer_dimensions_are_the_first_at_length_1(client):
    found = ask(client, input="a", dimensions=3).json()["data"][0]["embedding"]
    expected = normalize(Hashing().encode(["a"])[:, :3])[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_one_model_is_listed(client):
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [x["id"] for x in listed["data"]] == ["ours"]
    assert ask(client, input="a").json()["model"] == "ours"


def test_usage_counts_the_tokens_that_are_read(tiny):
    with TestClient(app_of(tiny)) as client:
        said = ask(client, input=["a film", "a film", "a " * 100]).json()["usage"]
    count = len(tiny.tokenizer.encode("a film").ids)
    assert said == {"prompt_tokens": 2 * count + 16, "total_tokens": 2 * count + 16}


@pytest.mark.parametrize(
    ("body", "status", "message", "param"),
    [
        (b"{", 400, "body must be JSON; got", None),
        (b"\xff", 400, "body must be JSON; got", None),
        (b'{"model": "m", "input": ""}', 422, "input must be a text or 1 to", "input"),
        (b'{"model": "m", "input": []}', 422, "none of them empty", "input"),
        (b'{"model": "m", "input": [1, 2]}', 422, "token ids are not read", "input"),
        (b'{"model": "m"}', 422, "input must be", "input"),
        (b'{"input": "a"}', 422, "model: Field required", "model"),
        (b"[]", 422, "body: Input should be", "body"),
        (
            b'{"model": "m", "input": "a", "encoding_format": "hex"}',
            422,
            "encoding_format: Input should be 'float' or 'base64'",
            "encoding_format",
        ),
        (
            b'{"model": "m", "input": "a", "dimensions": 9}',
            422,
            "dimensions must be at most 8; got 9",
            "dimensions",
        ),
        (b" " * (MAX_BODY_BYTES + 1), 413, "at most", None),
        (b'{"model": "m", "input": "fail"}', 500, "could not be computed", None),
    ],
)
def test_errors_have_the_shape_that_clients_read(client, body, status, message, param):
    answer = client.post("/v1/embeddings", content=body)
    assert answer.status_code == status
    said = answer.json()["error"]
    assert {*said} == {"message", "type", "param", "code"}
    assert message in said["message"]
    assert "secret" not in said["message"]
    assert said["param"] == param
    kind = "server_error" if status == 500 else "invalid_request_error"
    assert said["type"] == kind


def test_before_the_start_it_is_refused_with_a_time_to_wait():
    answer = ask(TestClient(app_of(Hashing())), input="a")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["type"] == "server_error"


def test_it_is_not_offered_unless_asked_for():
    with TestClient(create_app(Encoding(Hashing()))) as client:
        assert ask(client, input="a").status_code == 404


schema = schemathesis.openapi.from_asgi("/openapi.json", app_of(Hashing()))


@schema.include(path="/v1/embeddings").parametrize()
def test_nothing_that_is_sent_breaks_it(case):
    answer = case.call()
    assert answer.status_code < 500 or answer.status_code == 503


@pytest.fixture
def address():
    with listening_socket("127.0.0.1", 0, backlog=8) as listener:
        config = uvicorn.Config(app_of(Hashing()), log_level="warning", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(HANG_S)


def test_openais_client_reads_vectors_and_errors(address):
    openai = pytest.importorskip("openai", reason="of the dev extra")
    with openai.OpenAI(base_url=address, api_key="none", max_retries=9) as client:
        found = client.embeddings.create(model="text-embedding-3-small", input=["a"])
        expected = Hashing().encode(["a"])[0]
        np.testing.assert_allclose(found.data[0].embedding, expected, atol=1e-7)
        assert found.model == "ours"
        assert [x.id for x in client.models.list()] == ["ours"]
        plain = client.embeddings.create(
            model="m", input="a", encoding_format="float", dimensions=4
        )
        assert len(plain.data[0].embedding) == 4
        with pytest.raises(openai.UnprocessableEntityError, match="none of them empty"):
            client.embeddings.create(model="m", input="")
