import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
import transformers
from folders import (
    random_model,
    save_model,
    save_tokenizer,
    say,
    say_modules,
    small_tokenizer,
)
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.engines.onnx_file import OnnxFileNetwork
from recsys_lib.embeddings.engines.onnxruntime import convert_to_onnx
from recsys_lib.embeddings.engines.torch import load_torch_network
from recsys_lib.embeddings.pretrained import minilm_folder, model_folder, read_weights
from recsys_lib.embeddings.recipe import Prompts, read_recipe
from recsys_lib.embeddings.static import StaticEncoder

TEXTS = ["Toy Story (1995)", "", "A red dress. " * 9, "🎬", "玩具总动员"]
TRANSFORMER, POOLING = ("models.Transformer", ""), ("models.Pooling", "1_Pooling")
DENSE, STATIC = ("models.Dense", "2_Dense"), ("models.StaticEmbedding", "")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A plain folder of transformers; only read it."""
    return save_model(tmp_path_factory.mktemp("models") / "bert", "Bert")


@pytest.fixture
def own(bert, tmp_path):
    """A copy that says it was trained with mean pooling, for tests that change it."""
    folder = shutil.copytree(bert, tmp_path / "own")
    say_modules(folder, TRANSFORMER, POOLING)
    say(folder, "1_Pooling/config.json", {"pooling_mode": "mean"})
    return folder


def test_the_carried_model():
    recipe = read_recipe(minilm_folder())
    assert (recipe.pooling, recipe.max_length, recipe.normalized) == ("mean", 256, True)
    assert (recipe.layers, recipe.assumed, recipe.static) == ((), "", False)
    assert recipe.prompts == Prompts()
    carried = load_encoder(engine="torch")
    assert carried.tokenize(["sea " * 300]).ids.shape == (1, 128)
    by_path = load_encoder(minilm_folder(), engine="torch")
    assert by_path.tokenize(["sea " * 300]).ids.shape == (1, 256)


def test_a_plain_folder_says_what_is_assumed(bert):
    encoder = load_encoder(bert, engine="torch")
    assert encoder.assumed == (
        "no modules.json: mean pooling and no prompt are assumed"
    )
    assert load_encoder(bert, engine="torch", pooling="cls").assumed == ""
    assert encoder.tokenize(["sea " * 99]).ids.shape == (1, 40)  # of its tokeniser


def test_a_decoder_of_words_to_come_is_pooled_at_its_last_token(tmp_path):
    config = random_model("Qwen3").config
    torch.manual_seed(0)
    transformers.Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, small_tokenizer("$A </s>"))
    encoder = load_encoder(tmp_path)
    assert (encoder.pooling, encoder.engine) == ("lasttoken", "torch")
    assert encoder.assumed.startswith("no modules.json: lasttoken pooling")
    last = encoder.forward(encoder.tokenize(TEXTS[:1]))[0, -1].numpy()
    expected = last / np.linalg.norm(last)
    np.testing.assert_allclose(encoder.encode(TEXTS[:1])[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({}, None, Prompts()),
        ({"query": "q: ", "passage": "p: "}, None, Prompts("q: ", "p: ")),
        ({"document": "", "corpus": "c: "}, None, Prompts("", "c: ")),
        ({"document": "d: ", "passage": "p: "}, None, Prompts("", "d: ")),
        ({"query": "q: ", "document": None}, "query", Prompts("q: ", "", "q: ")),
        ({"other": "o: "}, "other", Prompts("", "", "o: ")),
    ],
)
def test_prompts_are_found_by_role(own, prompts, default, expected):
    said = {"prompts": prompts, "default_prompt_name": default}
    say(own, "config_sentence_transformers.json", said)
    assert read_recipe(own).prompts == expected
    encoder = load_encoder(own, engine="torch")
    plain = dataclasses.replace(encoder, prompts=Prompts())
    for role in (None, "query", "document"):
        behind = [expected.before(role) + text for text in TEXTS]
        vectors = encoder.encode(TEXTS, role=role)
        np.testing.assert_array_equal(vectors, plain.encode(behind))
        ids = encoder.tokenize(TEXTS, role=role).ids
        np.testing.assert_array_equal(ids, plain.tokenize(behind).ids)


@pytest.mark.parametrize(
    ("kind", "limit"), [("Roberta", 64), ("MPNet", 64), ("GPT2", 64), ("Qwen3", 64)]
)
def test_no_text_is_longer_than_the_positions(tmp_path, kind, limit):
    random_model(kind).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, small_tokenizer())
    encoder, long = load_encoder(tmp_path, engine="torch"), ["robots " * 200]
    assert encoder.tokenize(long).ids.shape == (1, limit)
    vectors = encoder.encode([*long, "a"])
    assert np.isfinite(vectors).all()
    with pytest.raises(ValueError, match=f"at most {limit}; got {limit + 1}"):
        load_encoder(tmp_path, engine="torch", max_length=limit + 1)
    if kind in ("Roberta", "MPNet"):
        fast = load_encoder(tmp_path, engine="openvino")
        np.testing.assert_allclose(fast.encode([*long, "a"]), vectors, atol=1e-5)
        np.testing.assert_allclose(fast.encode(long), vectors[:1], atol=1e-5)


def test_a_model_without_positions_reads_what_is_asked(tmp_path):
    random_model("T5").save_pretrained(tmp_path)
    save_tokenizer(tmp_path, small_tokenizer("$A </s>"))
    long = ["robots " * 999]
    assert load_encoder(tmp_path).tokenize(long).ids.shape == (1, 512)
    longer = load_encoder(tmp_path, max_length=700)
    assert longer.tokenize(long).ids.shape == (1, 700)


@pytest.mark.parametrize("kind", ["Qwen3", "ModernBert", "T5"])
def test_an_engine_that_cannot_is_refused_in_one_line(tmp_path, kind):
    folder = save_model(tmp_path / "m", kind)
    for engine in ("openvino", "onnxruntime"):
        wanted = rf"engine must be torch: openvino is .* not for \w+; got '{engine}'"
        with pytest.raises(ValueError, match=wanted) as caught:
            load_encoder(folder, engine=engine)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match=r"precision of torch must be .*; got 'int8'"):
        load_encoder(folder, precision="int8")


def test_an_encoder_with_a_decoder_that_stays_is_refused(tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 300}
    config = transformers.BartConfig(**sizes)
    transformers.BartModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, small_tokenizer())
    with pytest.raises(ValueError, match=r"must be one of longt5, .*; got bart"):
        load_encoder(tmp_path)


SAID = "sentence_bert_config.json"
CHAT = {"modality_config": {"message": {"method": "forward"}}}


@pytest.mark.parametrize(
    ("modules", "file", "content", "message"),
    [
        ([("models.CNN", "")], "", {}, "must be Transformer, .*got .*models.CNN in"),
        ([TRANSFORMER], "", {}, "Transformer, Pooling, then .*; got Transformer in"),
        ([TRANSFORMER, POOLING, STATIC], "", {}, "got Transformer, Pooling, StaticEmb"),
        ([STATIC, POOLING], "", {}, "followed by Normalize alone; got StaticEmb"),
        ([], "", {}, "modules.json must name a module; got none"),
        ([("models.Pooling", "../other")], "", {}, "must be in its folder; got ../oth"),
        (None, "config.json", {"auto_map": {}}, "whose code is not executed"),
        (None, "tokenizer_config.json", {"auto_map": {}}, "whose code is not executed"),
        (None, "adapter_config.json", {}, "must be merged into its model; got adapter"),
        (None, SAID, CHAT, "without a chat template; got message in"),
        (None, SAID, {"query_length": 32}, "query_length .* must be None; got 32 in"),
        (None, SAID, {"transformer_task": "fill-mask"}, "must be 'feature-extraction'"),
        (None, SAID, {"config_args": {"is_causal": False}}, "is_causal of a model"),
        (
            None,
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "model_type of a model must be 'SentenceTransformer'; got 'SparseEncoder'",
        ),
        (
            None,
            "config_sentence_transformers.json",
            {"prompts": {"query": ""}, "default_prompt_name": "sts"},
            r"must be that of a prompt; got 'sts' of \['query'\]",
        ),
        (
            None,
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            "pooling must be one of mean, .*; got max and mean in .*1_Pooling",
        ),
        (
            [TRANSFORMER, POOLING, DENSE],
            "1_Pooling/config.json",
            {"pooling_mode": "mean_sqrt_len_tokens"},
            "got mean_sqrt_len_tokens in",
        ),
        (
            [TRANSFORMER, POOLING, ("models.Normalize", "2_Normalize")],
            "2_Normalize/config.json",
            {"module_input_name": "token_embeddings"},
            "module_input_name of a model must be 'sentence_embedding'; got 'token_em",
        ),
        (
            [TRANSFORMER, POOLING, DENSE],
            "2_Dense/config.json",
            {"activation_function": "torch.nn.modules.activation.GELU"},
            "must be Identity, .*; got torch.nn.modules.activation.GELU in",
        ),
        (
            [TRANSFORMER, POOLING, DENSE],
            "2_Dense/config.json",
            {"activation_function": "folder.code.Tanh"},
            "must be Identity, .*; got folder.code.Tanh in",
        ),
        (
            [TRANSFORMER, POOLING, DENSE],
            "2_Dense/config.json",
            {"use_residual": True},
            "use_residual of a model must be False; got True",
        ),
        (None, "1_Pooling/config.json", [1], "must be a JSON object; got"),
        (None, "config.json", {}, "of an encoder of text alone; got no model_type"),
        (
            None,
            "config.json",
            {"model_type": "clip", "text_config": {}, "vision_config": {}},
            "must be of an encoder of text alone; got clip",
        ),
        (
            None,
            "config.json",
            {"model_type": "new"},
            r"must be known to transformers [0-9.]+; got new",
        ),
    ],
)
def test_what_cannot_be_run_right_is_refused_by_name(
    own, modules, file, content, message
):
    if modules is not None:
        say_modules(own, *modules)
    if DENSE in (modules or []):
        say(own, "2_Dense/config.json", {})
        weights = {"linear.weight": np.ones((2, 16), np.float32)}
        save_file(weights, own / "2_Dense/model.safetensors")
    if file:
        say(own, file, content)
    with pytest.raises(ValueError, match=message) as caught:
        load_encoder(own)
    assert len(str(caught.value).splitlines()) == 1


def test_a_module_of_another_library_is_refused(own):
    for name in ("mine.Transformer", "sentence_transformers_too.models.Transformer"):
        modules = [{"idx": 0, "name": "0", "path": "", "type": name}]
        say(own, "modules.json", modules)
        with pytest.raises(ValueError, match=f"must be Transformer, .*; got {name}"):
            load_encoder(own)


def test_the_direction_of_a_sum_over_a_root_is_that_of_the_mean(own):
    expected = load_encoder(own, engine="torch").encode(TEXTS)
    say(own, "1_Pooling/config.json", {"pooling_mode": "mean_sqrt_len_tokens"})
    found = load_encoder(own, engine="torch").encode(TEXTS)
    np.testing.assert_array_equal(found, expected)


def test_damaged_json_is_named(own):
    (own / "1_Pooling/config.json").write_text("{")
    with pytest.raises(ValueError, match=r"must be JSON; got .*1_Pooling/config.json"):
        load_encoder(own)


def test_pickled_weights_are_not_read(own):
    (own / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"must be in model.safetensors.*none"):
        load_encoder(own)
    (own / "pytorch_model.bin").write_bytes(b"")
    wanted = r"got pytorch_model.bin, which is not read: a pickle can run code"
    with pytest.raises(FileNotFoundError, match=wanted):
        load_encoder(own)


def test_what_is_no_model_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"or a Hugging Face id; got './none'"):
        load_encoder("./none")
    with pytest.raises(FileNotFoundError, match="none', which is no folder"):
        load_encoder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"must be a folder with config.json"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(FileNotFoundError, match=r"weights must be in .*; got none in"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_no_network_is_one_sentence(monkeypatch, error):
    def fail(*_, **__):
        raise error("Cannot\nconnect")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    wanted = rf"on Hugging Face and in reach; got org/name \({error.__name__}\)"
    with pytest.raises(OSError, match=wanted):
        load_encoder("org/name")


def test_onnx_is_fetched_where_there_are_no_safetensors(tmp_path, monkeypatch):
    asked = []

    def fetch(model, *, allow_patterns):
        asked.append(allow_patterns[-1])
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert model_folder("org/name") == tmp_path
    assert asked == ["*.safetensors", "onnx/model.onnx*"]
    (tmp_path / "model.safetensors").touch()
    model_folder("org/name")
    assert asked[2:] == ["*.safetensors"]


@pytest.fixture
def exported(own):
    """A folder with weights in ONNX alone, named as exporters name inputs."""
    names = {"ids": "input_ids", "mask": "attention_mask"}
    names |= {"hidden": "last_hidden_state"}
    (own / "onnx").mkdir()
    file = own / "onnx/model.onnx"
    convert_to_onnx(load_torch_network(own), file)
    model = onnx.load(file)
    graph = model.graph
    for value in [*graph.input, *graph.output]:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(x, x) for x in values]
    onnx.save(model, file)
    return own


def test_weights_in_onnx_are_not_quantised(exported):
    (exported / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="ONNX must be as they are; got 'int8'"):
        load_encoder(exported, precision="int8")


def test_a_folder_of_onnx_alone_runs_without_torch(exported, monkeypatch):
    say(exported, "1_Pooling/config.json", {"pooling_mode": "max"})
    reference = load_encoder(exported, engine="torch")
    expected = reference.encode(TEXTS)
    (exported / "model.safetensors").unlink()
    path = "recsys_lib.embeddings.engines.torch.load_torch_network"
    monkeypatch.setattr(path, None)
    encoder = load_encoder(exported, n_threads=1)
    assert isinstance(encoder.network, OnnxFileNetwork)
    assert (encoder.engine, encoder.precision) == ("onnxruntime", "float32")
    assert encoder.engine_reason == "the folder holds weights in ONNX alone"
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    tokens = encoder.tokenize(TEXTS)
    pooled = encoder.pool(encoder.forward(tokens), tokens.mask)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)
    table = encoder.network.token_table
    np.testing.assert_array_equal(table, reference.network.token_table)
    assert encoder.size_bytes == pytest.approx(4 * encoder.n_parameters, rel=0.01)
    for engine in ("torch", "openvino"):
        with pytest.raises(ValueError, match="must be onnxruntime: the folder holds"):
            load_encoder(exported, engine=engine)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("input_ids", "pixel_values", "inputs must be of .*; got pixel_values in"),
        ("last_hidden_state", "logits", "outputs must have last_hidden_state .*logits"),
    ],
)
def test_another_kind_of_onnx_is_refused(exported, name, other, message):
    file = exported / "onnx/model.onnx"
    model = onnx.load(file)
    for value in [*model.graph.input, *model.graph.output]:
        value.name = other if value.name == name else value.name
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [other if x == name else x for x in values]
    onnx.save(model, file)
    (exported / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=message):
        load_encoder(exported)


def model2vec_folder(folder, **arrays):
    small_tokenizer().save(str(folder / "tokenizer.json"))
    say(folder, "config.json", {"model_type": "model2vec", "normalize": True})
    save_file(arrays, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("weighted", [False, True])
def test_a_table_of_model2vec(tmp_path, weighted):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 8)).astype(np.float32)
    mapping = rng.integers(0, 40, 300)
    weights = rng.random(300) if weighted else np.ones(300)
    extra = {"weights": weights} if weighted else {}
    folder = model2vec_folder(tmp_path, embeddings=table, mapping=mapping, **extra)
    encoder = load_encoder(folder)
    assert isinstance(encoder, StaticEncoder)
    assert (encoder.dim, encoder.n_parameters) == (8, 2400)
    ids = small_tokenizer().encode(TEXTS[0], add_special_tokens=False).ids
    sums = (table[mapping[ids]] * weights[ids][:, None]).sum(axis=0)
    expected = sums / np.linalg.norm(sums)
    np.testing.assert_allclose(encoder.encode(TEXTS)[0], expected, atol=1e-6)
    assert not encoder.encode(TEXTS)[1].any()
    assert len(encoder.tokenize(["a b " * 999])[0]) == 512
    assert len(load_encoder(folder, max_length=9).tokenize(["a b " * 99])[0]) == 9


def test_model2vec_leaves_unknown_tokens_out(tmp_path):
    folder = model2vec_folder(tmp_path, embeddings=np.eye(300, dtype=np.float32))
    vectors = load_encoder(folder).encode(["a<unk>", "a", "<unk>"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not vectors[2].any()


def test_a_table_that_is_none_is_refused(tmp_path):
    folder = model2vec_folder(tmp_path, other=np.eye(300, dtype=np.float32))
    with pytest.raises(ValueError, match="must hold a table of embeddings; got other"):
        load_encoder(folder)
    with pytest.raises(ValueError, match="token table must be mean; got 'cls' for"):
        load_encoder(folder, pooling="cls")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold tokenizer.json"):
        load_encoder(folder)


def test_weights_of_every_width_are_read(tmp_path):
    exact = torch.linspace(-3, 3, 12).reshape(3, 4)
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8)
    tensors = {str(kind): exact.to(kind) for kind in kinds}
    save_tensors(tensors, tmp_path / "model.safetensors")
    found = read_weights(tmp_path)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.double().numpy())
    wide = torch.zeros(2, dtype=torch.complex64)
    save_tensors({"wide": wide}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"weights must be of F64, .*; got C64"):
        read_weights(tmp_path)


@pytest.mark.parametrize("adds", ["add_eos_token", "add_bos_token"])
def test_tokens_that_the_configuration_adds(tmp_path, adds):
    random_model("Llama").save_pretrained(tmp_path)
    options = {adds: True, "bos_token": "<s>"}
    save_tokenizer(tmp_path, small_tokenizer("$A"), **options)
    expected = transformers.AutoTokenizer.from_pretrained(tmp_path)("a b").input_ids
    assert {0, 2} & {expected[0], expected[-1]}
    assert load_encoder(tmp_path).tokenize(["a b"]).ids.tolist() == [expected]


def test_text_is_cut_on_the_side_that_the_tokeniser_says(own):
    config = json.loads((own / "tokenizer_config.json").read_text())
    say(own, "tokenizer_config.json", config | {"truncation_side": "left"})
    ids = load_encoder(own, engine="torch", max_length=6).tokenize(["abcdefgh"]).ids
    assert small_tokenizer().decode(ids[0]) == "efgh"


def test_a_dense_layer_that_names_no_activation_has_tanh_and_a_bias(own):
    say_modules(own, TRANSFORMER, POOLING, DENSE)
    say(own, "2_Dense/config.json", {})
    save_file(
        {"linear.weight": np.eye(16, dtype=np.float32)},
        own / "2_Dense/model.safetensors",
    )
    (layer,) = read_recipe(own).layers
    assert (layer.activation, layer.unit_input) == ("Tanh", False)
    assert layer.bias.tolist() == [0] * 16


def test_layers_count_in_the_sizes(own):
    plain = load_encoder(own, engine="torch")
    say_modules(own, TRANSFORMER, POOLING, DENSE)
    say(own, "2_Dense/config.json", {})
    weights = {"linear.weight": np.ones((2, 16), np.float32)}
    save_file(weights, own / "2_Dense/model.safetensors")
    dense = load_encoder(own, engine="torch")
    assert dense.dim == 2
    assert dense.n_parameters - plain.n_parameters == 2 * 16 + 2
    assert dense.size_bytes - plain.size_bytes == 4 * (2 * 16 + 2)
