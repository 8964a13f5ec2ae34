"""Vectors agree with those of sentence-transformers on the same folder."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from folders import ARCHITECTURES, save_model, small_tokenizer

from recsys_lib.embeddings.architecture import OPENVINO
from recsys_lib.embeddings.encoder import load_encoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import SentenceTransformer, models

TEXTS = [
    "Toy Story (1995)",
    "",
    "A red dress. " * 60,
    "🎬🍿 great 👍🏽",
    "玩具总动员,一部关于玩具的电影",
]
PROMPTS = {"query": "Find films: ", "document": "Film: ", "other": "Compare: "}
POOLINGS = ("mean", "cls", "max", "weightedmean", "lasttoken")
pytestmark = pytest.mark.filterwarnings("ignore")  # sentence-transformers' own


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a plain model of each architecture, made when first asked for."""
    home, made = tmp_path_factory.mktemp("models"), {}

    def folder(kind):
        if kind not in made:
            made[kind] = save_model(home / kind, kind)
        return made[kind]

    return folder


def saved(folder, target, *layers, pooling="mean", include_prompt=True, **options):
    """Save a model of sentence-transformers with these modules."""
    transformer = models.Transformer(str(folder))
    dim = transformer.get_embedding_dimension()
    pool = models.Pooling(dim, pooling_mode=pooling, include_prompt=include_prompt)
    torch.manual_seed(0)
    modules = [transformer, pool, *(layer() for layer in layers)]
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(target))
    return target


def assert_agrees(folder, encoder=None):
    """For each text and role a cosine of .99999, whatever stands beside the text."""
    encoder = encoder or load_encoder(folder)
    theirs = SentenceTransformer(str(folder), device="cpu")
    asked = {
        None: theirs.encode,
        "query": theirs.encode_query,
        "document": theirs.encode_document,
    }
    for role, encode in asked.items():
        expected = encode(TEXTS, batch_size=1, normalize_embeddings=True)
        together = encoder.encode(TEXTS, role=role)
        alone = np.concatenate([encoder.encode([x], role=role) for x in TEXTS])
        for found in (together, alone):
            assert found.shape == expected.shape
            np.testing.assert_array_less(0.99999, (found * expected).sum(axis=1))
    return encoder


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture(folder_of, kind, tmp_path):
    pooling = "lasttoken" if kind in ("Qwen3", "Llama", "GPT2") else "mean"
    folder = saved(folder_of(kind), tmp_path / "m", pooling=pooling, prompts=PROMPTS)
    # which of two engines is faster for the first does not matter
    engine = "openvino" if kind == "Bert" else "auto"
    encoder = load_encoder(folder, engine=engine, n_threads=1)
    assert_agrees(folder, encoder)
    name = json.loads((folder / "config.json").read_text())["model_type"]
    assert (encoder.engine != "torch") == (name in OPENVINO)
    assert bool(encoder.engine_reason) == (kind != "Bert")


@pytest.mark.parametrize("kind", ["Roberta", "MPNet", "DebertaV2", "ModernBert", "T5"])
def test_torch_agrees_too(folder_of, kind):
    folder = folder_of(kind)
    assert_agrees(folder, load_encoder(folder, engine="torch"))


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_on_every_engine(folder_of, tmp_path, pooling, engine):
    layers = [lambda: models.Dense(16, 8)] if pooling in ("cls", "mean") else []
    options = {"prompts": PROMPTS, "include_prompt": pooling != "weightedmean"}
    folder = saved(
        folder_of("Bert"), tmp_path / "m", *layers, pooling=pooling, **options
    )
    encoder = assert_agrees(folder, load_encoder(folder, engine=engine))
    assert encoder.pooling == pooling
    assert encoder.engine == engine


MODULES = {
    "normalised": [models.Normalize],
    "dense, then normalised": [lambda: models.Dense(16, 8), models.Normalize],
    "normalised, then dense": [models.Normalize, lambda: models.Dense(16, 24)],
    "two without bias": [
        lambda: models.Dense(16, 32, bias=False, activation_function=torch.nn.ReLU()),
        lambda: models.Dense(32, 8, activation_function=torch.nn.Identity()),
    ],
    "a sigmoid": [lambda: models.Dense(16, 8, activation_function=torch.nn.Sigmoid())],
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_every_chain_of_modules(folder_of, tmp_path, name, engine):
    folder = saved(folder_of("Bert"), tmp_path / "m", *MODULES[name])
    assert_agrees(folder, load_encoder(folder, engine=engine))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_prompt_that_is_not_pooled(folder_of, tmp_path, pooling):
    folder = saved(
        folder_of("Bert"),
        tmp_path / "m",
        pooling=pooling,
        include_prompt=False,
        prompts=PROMPTS,
        default_prompt_name="other",
    )
    encoder = assert_agrees(folder, load_encoder(folder, engine="onnxruntime"))
    in_torch = load_encoder(folder, engine="torch").encode(TEXTS, role="query")
    np.testing.assert_allclose(encoder.encode(TEXTS, role="query"), in_torch, atol=1e-5)
    roles = [encoder.encode(TEXTS[:1], role=x) for x in (None, "query", "document")]
    assert np.ptp(roles, axis=0).max() > 1e-3


def test_truncated_dimensions(folder_of, tmp_path):
    for i, layers in enumerate([[], [lambda: models.Dense(16, 12)]]):
        folder = saved(folder_of("Bert"), tmp_path / str(i), *layers, truncate_dim=5)
        encoder = load_encoder(folder, engine="torch")
        assert assert_agrees(folder, encoder).dim == 5


def test_a_first_module_in_a_folder_of_its_own(folder_of, tmp_path):
    folder = saved(folder_of("Bert"), tmp_path / "m", pooling="cls", prompts=PROMPTS)
    inside = folder / "0_Transformer"
    inside.mkdir()
    names = ["model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    for name in [*names, "config.json", "sentence_bert_config.json"]:
        (folder / name).rename(inside / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = inside.name
    (folder / "modules.json").write_text(json.dumps(modules))
    assert_agrees(folder, load_encoder(folder, engine="torch"))


def test_settings_of_older_folders(folder_of, tmp_path):
    folder = saved(folder_of("Bert"), tmp_path / "m")
    said = {"max_seq_length": 9, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(said))
    modes = {"word_embedding_dimension": 16, "pooling_mode_max_tokens": True}
    modes |= {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
    encoder = assert_agrees(folder, load_encoder(folder, engine="torch"))
    assert encoder.pooling == "max"
    assert encoder.tokenize(TEXTS[2:3]).ids.shape == (1, 9)


def test_weights_in_parts(folder_of, tmp_path):
    folder = save_model(tmp_path / "m", "Bert", max_shard_size="10KB")
    assert (folder / "model.safetensors.index.json").is_file()
    assert_agrees(folder, load_encoder(folder, engine="torch"))


def test_the_encoder_of_an_encoder_and_decoder(folder_of, tmp_path):
    alone = shutil.copytree(folder_of("T5"), tmp_path / "m")
    from transformers import T5EncoderModel

    T5EncoderModel.from_pretrained(alone).save_pretrained(alone)
    expected = load_encoder(folder_of("T5")).encode(TEXTS)
    np.testing.assert_allclose(load_encoder(alone).encode(TEXTS), expected, atol=1e-6)
    assert_agrees(alone)


@pytest.mark.parametrize("normalized", [True, False])
def test_a_table_of_tokens(tmp_path, normalized):
    torch.manual_seed(0)
    table = models.StaticEmbedding(small_tokenizer(), embedding_dim=8)
    modules = [table, models.Normalize()] if normalized else [table]
    model = SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS)
    model.save(str(tmp_path))
    encoder = load_encoder(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    asked = {"query": theirs.encode_query, "document": theirs.encode_document}
    for role, encode in asked.items():
        expected = encode(TEXTS, normalize_embeddings=True)
        np.testing.assert_allclose(
            encoder.encode(TEXTS, role=role), expected, atol=1e-6
        )
