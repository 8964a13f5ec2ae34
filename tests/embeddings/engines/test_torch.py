"""The torch engine; what needs a GPU is skipped without one."""

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.engines import cuda_graphs
from recsys_lib.embeddings.engines.cuda_graphs import (
    LENGTHS,
    TEXTS,
    Graphs,
    graph_shape,
)
from recsys_lib.embeddings.engines.torch import TorchNetwork
from recsys_lib.embeddings.random_bert import random_encoder
from recsys_lib.embeddings.tokens import Batching, Tokens, pad

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
FILMS = ["Toy Story (1995)", "", "a long film about the sea, whales and revenge", "Up"]


def test_shapes_hold_their_batch_and_little_more():
    for n in range(1, TEXTS[-1] + 1):
        for length in range(1, LENGTHS[-1] + 1):
            texts, tokens = graph_shape(n, length)
            assert n <= texts <= max(8 * (n - 1), 1)
            assert length <= tokens <= max(8, 1.5 * length + 4)
    assert graph_shape(1, LENGTHS[-1] + 1) is None
    assert graph_shape(TEXTS[-1] + 1, 1) is None


@pytest.mark.parametrize(
    ("kind", "attention", "n_positions", "recorded"),
    [
        ("Bert", "sdpa", 32, True),
        ("Bert", "sdpa", 15, False),  # the graph would be of 16 tokens
        ("Bert", "eager", 32, False),
        ("MPNet", "eager", 32, False),  # adds the mask up
    ],
)
def test_a_graph_is_for_models_that_take_its_mask(
    tiny_sizes, kind, attention, n_positions, recorded
):
    sizes = tiny_sizes | {"max_position_embeddings": n_positions}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    model.set_attn_implementation(attention)
    network = TorchNetwork(model)
    assert not network._has_graph(pad([[7] * 13], 0))
    network.__dict__["device"] = torch.device("cuda")
    assert network._has_graph(pad([[7] * 13], 0)) == recorded


def test_batches_are_run_as_they_come(tiny):
    events = []

    def coming():
        for i in range(4):
            events.append(f"made {i}")
            yield pad([[101, 7 + i, 102]] * (i + 1), 0)

    class Watched(TorchNetwork):
        def _hidden(self, ids, mask):
            events.append(f"run {len(ids) - 1}")
            return super()._hidden(ids, mask)

    found = Watched(tiny.network.model).encode(coming(), "mean")
    assert [len(x) for x in found] == [1, 2, 3, 4]
    assert events[-4:] == ["made 2", "run 2", "made 3", "run 3"]
    expected = tiny.network.encode([pad([[101, 10, 102]], 0)], "mean")[0]
    np.testing.assert_allclose(found[3], np.repeat(expected, 4, axis=0), atol=1e-6)


def test_no_batch_gives_nothing(tiny):
    assert tiny.network.encode(iter([]), "mean") == []


def test_tokens_may_limit_a_batch(tiny):
    by_tokens = replace(tiny, batching=Batching(max_texts=None, max_tokens=12, chunk=3))
    texts = [*FILMS, *FILMS[::-1], "Up"]
    np.testing.assert_allclose(by_tokens.encode(texts), tiny.encode(texts), atol=1e-6)
    assert by_tokens.encode([]).shape == (0, 8)


class Recorded:
    """Stands for a recorded pass: computes at once."""

    made = 0

    def __init__(self, compute, shape, device):
        Recorded.made += 1
        self.compute, self.shape = compute, shape

    def __call__(self, tokens):
        return self.compute(*(torch.from_numpy(x) for x in (tokens.ids, tokens.mask)))


def test_a_shape_is_recorded_once_for_each_computation(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "Graph", Recorded)
    Recorded.made, graphs = 0, Graphs()
    batches = [pad([[1] * n], 0) for n in (3, 8, 9, 12, 13)]  # shapes 8, 8, 12, 12, 16
    for name, times in [("sum", 1), ("mean", 2)]:
        for tokens in batches:
            options = name, lambda ids, mask: (ids * mask).sum(1), tokens, "cuda"
            with graphs.run(*options) as found:
                assert found.tolist() == [tokens.ids.size]
        assert Recorded.made == 3 * times


def test_one_pass_at_a_time(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "Graph", Recorded)
    graphs, inside = Graphs(), []

    def alone(i):
        with graphs.run("x", lambda ids, mask: ids, pad([[i]], 0), "cuda") as found:
            inside.append(i)
            time.sleep(1e-3)  # others would come in
            assert len(inside) == 1
            assert found.tolist() == [[i]]
            inside.remove(i)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(alone, range(20)))) == 20


def test_a_copy_records_anew(tiny, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "Graph", Recorded)
    graphs = Graphs()
    with graphs.run("x", lambda ids, mask: ids, pad([[1]], 0), "cuda"):
        pass
    for other in (copy.deepcopy(graphs), pickle.loads(pickle.dumps(graphs))):
        assert not other.made
    copied = copy.deepcopy(tiny.network)
    assert copied.graphs is not tiny.network.graphs
    assert copied.model is not tiny.network.model


@pytest.fixture(scope="module")
def exact():
    return load_encoder(engine="torch", precision="float32")


@pytest.fixture(scope="module", params=["float32", "bfloat16", "float16"])
def gpu(request):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return load_encoder(device="cuda", precision=request.param)


def assert_near(gpu, found, expected):
    """Float32 agrees to rounding; the others in the mean cosine of their promise."""
    if gpu.precision == "float32":
        np.testing.assert_allclose(found, expected, atol=2e-5)
    assert (found * expected).sum(axis=1).mean() > 0.999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_on_a_gpu_every_length_and_number_agrees(gpu, exact):
    for length in (0, 1, 5, 6, 7, 14, 30, 40, 61, 94, 126, 200):
        for n in (1, 2, 8, 9, 64, 65):
            texts = [f"sea {'whale ' * max(length - i % 3, 0)}"[:-1] for i in range(n)]
            assert_near(gpu, gpu.encode(texts), exact.encode(texts))


def test_on_a_gpu_nothing_stays_of_the_text_before(gpu):
    texts = [
        "a long tale of whales and of men",
        "Up",
        "seven words are what this text has",
    ]
    alone = [gpu.encode([text]) for text in texts]
    for text, expected in zip(texts[::-1], alone[::-1], strict=True):
        gpu.encode(["some other words of this length here"])
        np.testing.assert_array_equal(gpu.encode([text]), expected)
    assert not np.array_equal(alone[0], alone[1])  # nor do results share their memory


def test_on_a_gpu_many_texts_keep_their_order(gpu, exact):
    rng = np.random.default_rng(0)
    words = ["sea", "whale", "space", "toy", "war"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(500)]
    many = replace(gpu, batching=Batching(max_texts=None, max_tokens=2048, chunk=150))
    assert_near(gpu, many.encode(texts), exact.encode(texts))
    assert_near(gpu, gpu.encode(texts, batch_size=7), exact.encode(texts))


def test_on_a_gpu_the_steps_are_the_encoder(gpu, exact):
    for texts in (FILMS[:1], FILMS, FILMS * 20):
        tokens = gpu.tokenize(texts)
        hidden = gpu.forward(tokens)
        assert hidden.is_cuda
        assert hidden.shape == (*tokens.ids.shape, 384)
        assert_near(gpu, gpu.pool(hidden, tokens.mask), exact.encode(texts))
        by_cls = replace(gpu, pooling="cls").encode(texts)
        assert_near(gpu, by_cls, replace(exact, pooling="cls").encode(texts))


def test_on_a_gpu_threads_share_an_encoder(gpu):
    texts = [[f"{i} {'seas ' * (i % 9)}"] * (1 + i % 3) for i in range(60)]
    texts += [["many"] * 70, ["seas " * 150]] * 5
    alone = [gpu.encode(x) for x in texts]
    fresh = replace(gpu, network=copy.deepcopy(gpu.network))  # records meanwhile
    with ThreadPoolExecutor(8) as pool:
        for ours, expected in zip(pool.map(fresh.encode, texts), alone, strict=True):
            np.testing.assert_allclose(ours, expected, atol=2e-3)


@on_gpu
def test_on_a_gpu_weights_may_change_in_place(tiny_sizes):
    encoder = random_encoder(tiny_sizes, device="cuda", max_length=16)
    before = encoder.encode(FILMS[:1])
    copied = replace(encoder, network=copy.deepcopy(encoder.network))
    with torch.no_grad():
        for weight in copied.network.model.parameters():
            weight.normal_()
    after = copied.encode(FILMS[:1])
    assert not np.allclose(after, before, atol=0.1)
    with torch.no_grad():
        for weight in copied.network.model.parameters():
            weight.normal_()
    assert not np.allclose(copied.encode(FILMS[:1]), after, atol=0.1)
    np.testing.assert_array_equal(encoder.encode(FILMS[:1]), before)


@on_gpu
def test_on_a_gpu_small_batches_are_recorded_and_others_not(tiny_sizes):
    encoder = random_encoder(tiny_sizes, device="cuda", max_length=16)
    made = encoder.network.graphs.made
    encoder.encode(FILMS * 20)
    assert not made
    encoder.encode(FILMS[:1])
    encoder.encode(FILMS)
    encoder.forward(Tokens(np.ones((1, 5), np.int64), np.ones((1, 5), np.int64)))
    assert sorted(made) == [("hidden", (1, 8)), ("mean", (1, 8)), ("mean", (8, 12))]
