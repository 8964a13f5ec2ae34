import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from recsys_lib.data.film_queries import load_film_queries
from recsys_lib.embeddings.encoder import PRECISIONS, load_encoder
from recsys_lib.embeddings.engines import onnxruntime as onnx_engine
from recsys_lib.embeddings.engines import openvino_convert
from recsys_lib.embeddings.engines.openvino import BUCKETS, OpenVinoNetwork
from recsys_lib.embeddings.engines.openvino_convert import convert_to_openvino
from recsys_lib.embeddings.pooling import Dense, pool, pool_tensors
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.random_bert import random_encoder
from recsys_lib.embeddings.static import StaticEncoder, static_encoder
from recsys_lib.embeddings.tokens import Tokens

TEXTS = ["Toy Story (1995)", "", "a long film about the sea, whales, and revenge", "Up"]


@pytest.fixture
def own_folder(tiny_folder, tmp_path):
    """A copy of the tiny model, for tests that change it."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture(scope="module", params=list(PRECISIONS))
def encoder(request):
    """Each engine has to keep the same contract."""
    return load_encoder(engine=request.param, precision="float32")


@pytest.fixture(scope="module")
def reference():
    """Hidden states by transformers alone, one text at a time, attention unfused."""
    folder = minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        outputs = [model(**tokenizer(text, return_tensors="pt")) for text in TEXTS]
    return [output.last_hidden_state[0].double().numpy() for output in outputs]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_equals_transformers_own_computation(encoder, reference, pooling):
    vectors = dataclasses.replace(encoder, pooling=pooling).encode(TEXTS)
    for vector, hidden in zip(vectors, reference, strict=True):
        pooled = hidden[0] if pooling == "cls" else hidden.mean(axis=0)
        expected = pooled / np.sqrt((pooled**2).sum())
        np.testing.assert_allclose(vector, expected, atol=1e-5)


@pytest.fixture(scope="module")
def alone(encoder):
    return np.concatenate([encoder.encode([text]) for text in TEXTS])


def test_vectors_are_float32_of_length_one(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.dim) == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_like_texts_are_near(encoder):
    cat, kitten, tax = encoder.encode(["a cat", "a kitten", "income tax law"])
    assert cat @ kitten > cat @ tax + 0.3


@settings(max_examples=settings.default.max_examples // 3)
@given(st.permutations(range(4)), st.integers(1, 5))
def test_neither_order_nor_batches_matter(encoder, alone, order, batch_size):
    together = encoder.encode([TEXTS[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(together, alone[order], atol=2e-6)


def test_the_three_steps_are_the_encoder(encoder):
    tokens = encoder.tokenize(TEXTS)
    hidden = encoder.forward(tokens)
    assert hidden.shape == (*tokens.ids.shape, 384)
    pooled = encoder.pool(hidden, tokens.mask)
    np.testing.assert_allclose(pooled, encoder.encode(TEXTS), atol=2e-6)


FOURTH = {
    "mean": [0.6, 0.8],
    "cls": [1, 0],
    "max": [2 / 5**0.5, 1 / 5**0.5],
    "weightedmean": [-1 / 17**0.5, 4 / 17**0.5],
    "lasttoken": [-5 / 41**0.5, 4 / 41**0.5],
}


@pytest.mark.parametrize("kind", FOURTH)
def test_pooling_looks_at_the_mask_and_keeps_a_zero_vector(kind):
    states = [[[3, 0], [9, 8]], [[9, 8], [3, 0]], [[0, 0], [0, 0]], [[8, 0], [-5, 4]]]
    hidden = np.array(states, dtype=np.float32)
    mask = np.array([[1, 0], [0, 1], [1, 1], [1, 1]])
    together = pool(hidden, mask, kind)
    in_torch = pool_tensors(torch.from_numpy(hidden), torch.from_numpy(mask), kind)
    np.testing.assert_allclose(in_torch.numpy(), together, rtol=1e-6)
    expected = [[1, 0], [1, 0], [0, 0], FOURTH[kind]]
    np.testing.assert_allclose(together, expected, rtol=1e-6)
    for i in range(4):  # one text without padding takes a way of its own
        alone = pool(hidden[[i]], mask[[i]], kind)
        np.testing.assert_allclose(alone, together[[i]], rtol=1e-6)
        assert alone.dtype == np.float32


@pytest.mark.parametrize("kind", FOURTH)
def test_dense_layers_by_hand(kind):
    """A layer sees the mean itself, or the unit vector where the model makes one."""
    hidden = np.array([[[8, 0], [-5, 4], [7, 7]]], np.float32)
    mask = np.array([[1, 1, 0]])
    pooled = {
        "mean": [1.5, 2],
        "cls": [8, 0],
        "max": [8, 4],
        "weightedmean": [-2 / 3, 8 / 3],
        "lasttoken": [-5, 4],
    }
    weight, bias = np.array([[1, 0], [0, 2], [1, 1]], np.float32), np.array([1, 0, -1])
    for unit in (False, True):
        x = np.array(FOURTH[kind] if unit else pooled[kind])
        expected = np.maximum(weight @ x + bias, 0)
        expected = expected / np.linalg.norm(expected)
        layers = [Dense(weight, bias.astype(np.float32), "ReLU", unit)]
        found = pool(hidden, mask, kind, layers)
        np.testing.assert_allclose(found, [expected], rtol=1e-5)
        tensors = torch.from_numpy(hidden), torch.from_numpy(mask)
        in_torch = pool_tensors(*tensors, kind, layers)
        np.testing.assert_allclose(in_torch.numpy(), found, rtol=1e-6)


def test_refuses_to_pool_what_does_not_fit():
    states = np.ones((1, 3, 2), np.float32)
    with pytest.raises(ValueError, match="mismatch"):
        pool(states, np.ones((1, 2), np.int64), "mean")
    states[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"hidden states must be finite.*in 1"):
        pool(states, np.ones((1, 3), np.int64), "mean")


def test_more_padding_changes_nothing(encoder):
    tokens = encoder.tokenize(TEXTS)
    wider = Tokens(
        np.pad(tokens.ids, [(0, 0), (0, 9)]), np.pad(tokens.mask, [(0, 0), (0, 9)])
    )
    pooled = encoder.pool(encoder.forward(wider), wider.mask)
    np.testing.assert_allclose(pooled, encoder.encode(TEXTS), atol=2e-6)


def test_longer_texts_are_cut(encoder):
    assert encoder.tokenize(["sea " * 200]).ids.shape == (1, 128)
    cut = encoder.encode(["sea " * 126, "sea " * 200])
    np.testing.assert_allclose(cut[0], cut[1], atol=2e-6)


def test_no_text_gives_no_vector(encoder):
    assert encoder.encode([]).shape == (0, 384)
    assert static_encoder(encoder).encode([]).shape == (0, 384)


def test_sizes_are_counted(encoder, tiny):
    assert encoder.n_parameters == 22_713_216
    assert encoder.size_bytes == pytest.approx(4 * encoder.n_parameters, rel=0.01)
    assert tiny.n_parameters == 30_522 * 8 + 18 * 8 + 16 + 2 * 600 + 72
    assert tiny.size_bytes == 4 * tiny.n_parameters


def test_dropout_is_off(tiny):
    assert not any(module.training for module in tiny.network.model.modules())


@pytest.mark.parametrize("engine", PRECISIONS)
def test_loading_prints_nothing(tiny_folder, capfd, engine):
    load_encoder(tiny_folder, engine=engine, max_length=8)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", PRECISIONS)
def test_a_folder_comes_back_as_saved(tiny, tiny_folder, engine):
    options = {"precision": "float32", "max_length": 16}
    loaded = load_encoder(tiny_folder, engine=engine, **options)
    np.testing.assert_allclose(loaded.encode(TEXTS), tiny.encode(TEXTS), atol=1e-6)


def test_half_the_bytes_give_nearly_the_same(tiny, tiny_folder):
    half = load_encoder(
        tiny_folder, max_length=16, engine="torch", precision="bfloat16"
    )
    assert half.size_bytes == tiny.size_bytes / 2
    assert half.encode(TEXTS).dtype == np.float32
    np.testing.assert_allclose(half.encode(TEXTS), tiny.encode(TEXTS), atol=0.1)


def test_every_precision_keeps_its_bound(reference):
    exact = np.array([hidden.mean(axis=0) for hidden in reference])
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    calibrated = load_encoder(precision="int8", calibration=[*TEXTS, "a tale", "war"])
    near = (calibrated.encode(TEXTS) * exact).sum(axis=1)
    assert near.mean() > 0.99
    assert calibrated.size_bytes < 0.3 * 4 * calibrated.n_parameters
    for engine in ("torch", "openvino"):
        bfloat16 = load_encoder(engine=engine, precision="bfloat16").encode(TEXTS)
        assert (bfloat16 * exact).sum(axis=1).mean() > 0.999


def test_onnxruntime_keeps_the_bound_of_int8_without_calibration():
    texts = load_film_queries()["english"].tolist()
    exact, int8 = (
        load_encoder(engine="onnxruntime", precision=x) for x in ("float32", "int8")
    )
    assert (int8.encode(texts) * exact.encode(texts)).sum(axis=1).mean() > 0.99
    assert int8.size_bytes < 0.3 * exact.size_bytes


def test_one_text_is_the_same_at_every_length():
    exact = [load_encoder(engine=x, precision="float32") for x in PRECISIONS]
    reference, *others = exact  # torch first
    for n in (0, *(b - 2 for b in BUCKETS), *(b - 1 for b in BUCKETS), 35, 126):
        expected = reference.encode(["sea " * n])
        for ours in others:
            np.testing.assert_allclose(ours.encode(["sea " * n]), expected, atol=2e-6)


@pytest.mark.parametrize("n_positions", [13, 30])
def test_no_text_is_padded_past_the_positions_of_a_model(tiny_sizes, n_positions):
    sizes = tiny_sizes | {"max_position_embeddings": n_positions}
    slow = random_encoder(sizes, engine="torch", max_length=n_positions)
    network = OpenVinoNetwork(convert_to_openvino(slow.network), precision="float32")
    fast = dataclasses.replace(slow, network=network)
    for n in (1, n_positions - 3, 50):
        texts = ["toy " * n, "up " * n]
        for some in (texts, texts[:1]):
            np.testing.assert_allclose(fast.encode(some), slow.encode(some), atol=1e-5)
    assert all(length <= n_positions for length, _ in network._compiled)


def test_threads_share_an_encoder(encoder):
    texts = [[f"{i} {'seas ' * (i % 9)}"] * (1 + i % 3) for i in range(40)]
    alone = [encoder.encode(x) for x in texts]
    with ThreadPoolExecutor(4) as pool:
        for ours, expected in zip(pool.map(encoder.encode, texts), alone, strict=True):
            np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_number_of_threads_changes_nothing(engine):
    one, two = (
        load_encoder(engine=engine, precision="float32", n_threads=n) for n in (1, 2)
    )
    np.testing.assert_allclose(
        one.encode(TEXTS, batch_size=1), two.encode(TEXTS, batch_size=3), atol=2e-6
    )


@pytest.mark.parametrize(
    ("engine", "file"),
    [("openvino", "openvino/*/model.bin"), ("onnxruntime", "onnx/*/model.onnx")],
)
def test_conversion_needs_no_torch_twice(
    own_folder, tmp_path, monkeypatch, engine, file
):
    def load():
        return load_encoder(
            own_folder, engine=engine, precision="float32", max_length=9
        )

    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    first = load().encode(TEXTS)

    def refuse(*_, **__):
        raise AssertionError("converted again")

    module, name = {
        "openvino": (openvino_convert, "convert_to_openvino"),
        "onnxruntime": (onnx_engine, "convert_to_onnx"),
    }[engine]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, refuse)
        np.testing.assert_array_equal(load().encode(TEXTS), first)
        (kept,) = (tmp_path / "cache").glob(file)
        kept.write_bytes(kept.read_bytes()[:-4])  # damaged: must not be used
        with pytest.raises(AssertionError, match="converted again"):
            load()
    np.testing.assert_array_equal(load().encode(TEXTS), first)  # mended
    monkeypatch.setattr(module, name, refuse)
    config = own_folder / "config.json"
    config.write_text(config.read_text() + " ")  # stale: another model by its hash
    with pytest.raises(AssertionError, match="converted again"):
        load()


def test_static_is_the_mean_of_the_token_vectors(encoder):
    static = static_encoder(encoder)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    table = load_file(minilm_folder() / "model.safetensors")
    table = table["embeddings.word_embeddings.weight"].double().numpy()
    for text, vector in zip(TEXTS, static.encode(TEXTS), strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        mean = table[ids].mean(axis=0) if ids else np.zeros(384)
        expected = mean / (np.sqrt((mean**2).sum()) or 1)
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert (static.dim, static.n_parameters) == (384, 30_522 * 384)
    assert static.size_bytes == 4 * static.n_parameters


def test_a_static_table_by_hand(encoder):
    table = np.zeros((30_522, 2), np.float32)
    table[9121], table[2466] = (3, 0), (0, 4)  # "toy", "story"
    vectors = StaticEncoder(encoder.tokenizer, table).encode(["toy story", "Toy"])
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [1, 0]], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "min"}, "pooling must be one of mean, cls, .*; got 'min'"),
        ({"engine": "onnx"}, "engine must be one of auto, torch, .*; got 'onnx'"),
        ({"precision": "float16", "engine": "openvino"}, "precision of openvino must"),
        ({"precision": "int8", "engine": "torch"}, "precision of torch must be"),
        (
            {"precision": "int8", "engine": "openvino"},
            'calibration must be texts for "int8"; got none',
        ),
        ({"device": "tpu"}, "without a GPU; got 'tpu'"),
        ({"device": "cuda", "engine": "openvino"}, 'must be "cpu" for openvino'),
        ({"device": "cuda", "engine": "onnxruntime"}, 'must be "cpu" for onnxruntime'),
        (
            {"precision": "bfloat16", "engine": "onnxruntime"},
            "onnxruntime must be float",
        ),
        ({"max_length": 513}, "at most 512; got 513"),
    ],
)
def test_refuses_options(options, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        load_encoder(**options)


def test_refuses_weights_that_are_not_all_there(own_folder):
    weights = load_file(own_folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.bias"]
    save_file(weights, own_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"got none for \['encoder.layer.0.output.de"):
        load_encoder(own_folder, engine="torch", max_length=9)


def test_refuses_carried_weights_that_were_changed(monkeypatch):
    monkeypatch.setattr("recsys_lib.embeddings.pretrained.MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"must have sha256 0000.*reinstall"):
        minilm_folder()


def test_refuses_no_batch_and_no_strings(encoder):
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        encoder.encode(TEXTS, batch_size=0)
    with pytest.raises(TypeError, match="batch_size must be a whole number; got float"):
        encoder.encode(TEXTS, batch_size=2.5)
    with pytest.raises(
        ValueError, match=r"whole surrogate pairs; got '\\ud800' at .* 3 of"
    ):
        encoder.encode(["fine", "ok \ud800"])
    for name in ("n_threads", "max_length"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got -1"):
            load_encoder(**{name: -1})
        with pytest.raises(
            TypeError, match=f"{name} must be a whole number; got float"
        ):
            load_encoder(**{name: 1.5})
    with pytest.raises(TypeError, match="must be a sequence of str"):
        encoder.encode("Toy Story")
    for texts in ([None], ["Toy Story", None]):  # one text takes a way of its own
        with pytest.raises(TypeError, match="must be str; got NoneType"):
            encoder.encode(texts)
    with pytest.raises(ValueError, match="got 0 texts"):
        encoder.tokenize([])
    lazily = encoder.encode(text for text in TEXTS)
    assert np.array_equal(lazily, encoder.encode(TEXTS))


def test_a_quantized_model_has_no_token_table():
    encoder = load_encoder(precision="int8", calibration=[*TEXTS, "a tale", "war"])
    with pytest.raises(ValueError, match="token table must be float32"):
        static_encoder(encoder)
