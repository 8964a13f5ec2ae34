"""Cached artifacts are made again if something they depend on changes, only then."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_lib import artifacts, imports
from recsys_lib.artifacts import cache_folder
from recsys_lib.compression.distillation import distil_static, static_student
from recsys_lib.compression.teacher import teacher_targets
from recsys_lib.embeddings.engines import choice as engine_choice
from recsys_lib.embeddings.engines import onnxruntime as onnx_engine
from recsys_lib.embeddings.engines import openvino_convert
from recsys_lib.embeddings.tokens import load_tokenizer
from recsys_lib.machine import describe_machine
from recsys_lib.models.training import TrainingOptions

TEXTS = ["A red Dress", "a blue dress", "Too long", "a skirt"]
ALL = {"choice", "targets", "onnx", "openvino", "students"}
TIMED = {"choice", "targets", "students"}


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny_folder


@pytest.fixture(scope="module")
def filled_cache(model, tmp_path_factory):
    """A folder that holds all that is made of the model; tests add what they change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(engine_choice, "faster", lambda networks: next(iter(networks)))
        assert made_of(model) == ALL
        assert made_of(model) == set()
        yield


@pytest.fixture
def reread(filled_cache):
    """Let code be read again, as by a process that starts now; and after the test."""
    imports._code_in.cache_clear()
    yield
    imports._code_in.cache_clear()


def made_of(model: Path, max_length: int = 16) -> set[str]:
    """Kinds of what is made, and not found, when all is asked for."""
    before = {*cache_folder().glob("*/*")}
    openvino_convert.load_graph(model)
    onnx_engine.load_onnx_network(model)
    targets = teacher_targets(TEXTS, model=model, max_length=max_length)
    start = static_student(targets, load_tokenizer(model, max_length))
    distil_static(start, TEXTS, targets.vectors, TrainingOptions(epochs=1))
    return {x.parent.name for x in {*cache_folder().glob("*/*")} - before}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("pooling", ALL),  # the torch engine pools, too
        ("onnx_bert", ALL - {"openvino"}),
        ("openvino_convert", ALL - {"onnx"}),
        ("tokens", ALL),
        ("choice", TIMED),
        ("teacher", {"targets", "students"}),
        ("training", {"students"}),
        ("__init__", ALL),
        ("metrics", set()),
    ],
)
@pytest.mark.usefixtures("reread")
def test_a_change_of_code(model, monkeypatch, file, expected):
    read = imports._read

    def changed(path: Path) -> bytes:
        return read(path) + (b"\n# changed" if path.stem == file else b"")

    monkeypatch.setattr(imports, "_read", changed)
    assert made_of(model) == expected
    assert made_of(model) == set()


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("onnxruntime", ALL - {"openvino"}),
        ("openvino", ALL - {"onnx"}),
        ("torch", ALL),
        ("scipy", {"targets", "students"}),
        ("faiss", set()),
    ],
)
@pytest.mark.usefixtures("reread")
def test_another_version_of_a_package(model, monkeypatch, package, expected):
    version = imports._version

    def changed(name: str) -> str:
        return version(name) + (".post1" if name == package else "")

    monkeypatch.setattr(imports, "_version", changed)
    assert made_of(model) == expected


@pytest.mark.usefixtures("filled_cache")
def test_another_processor(model, monkeypatch):
    other = replace(describe_machine(), cpu="another processor")
    for module in (artifacts, engine_choice):
        monkeypatch.setattr(module, "describe_machine", lambda: other)
    assert made_of(model) == TIMED


@pytest.mark.usefixtures("filled_cache")
def test_another_number_of_cores(model, monkeypatch):
    """What takes all of them is timed anew; one thread decides on an engine."""
    other = replace(describe_machine(), cores=99)
    for module in (artifacts, engine_choice):
        monkeypatch.setattr(module, "describe_machine", lambda: other)
    assert made_of(model) == TIMED - {"choice"}


@pytest.mark.usefixtures("filled_cache")
def test_another_setting_of_the_tokeniser(model, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    file = other / "tokenizer.json"
    settings = file.read_text()
    assert '"lowercase":true' in settings
    file.write_text(settings.replace('"lowercase":true', '"lowercase": false'))
    assert made_of(other) == ALL
    assert made_of(model) == set()
    assert made_of(model, max_length=3) == {"targets", "students"}
