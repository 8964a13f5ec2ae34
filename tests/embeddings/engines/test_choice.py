from dataclasses import dataclass

import numpy as np
import pytest

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.engines import choice as engine_choice
from recsys_lib.embeddings.engines import openvino as openvino_engine
from recsys_lib.embeddings.engines.choice import candidates, close, faster, fastest

PLAIN, BRAIN, ONNX = (
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("onnxruntime", "float32"),
)
INT8, ONNX_INT8 = ("openvino", "int8"), ("onnxruntime", "int8")


@pytest.fixture
def model(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return tiny_folder


class Hands:
    """A clock that moves only while somebody computes."""

    now = 0.0

    def __call__(self):
        return self.now


@dataclass
class Paced:
    seconds: float
    hands: Hands

    def encode(self, batches, pooling):
        self.hands.now += self.seconds


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({ONNX: 1.0, PLAIN: 0.94}, PLAIN),
        ({ONNX: 1.0, PLAIN: 0.96}, ONNX),  # too little to leave the first
        ({ONNX: 1.0, PLAIN: 1.2}, ONNX),
        ({ONNX: 1.0, PLAIN: 0.7, BRAIN: 0.5}, BRAIN),
        ({PLAIN: 1.0}, PLAIN),
    ],
)
def test_the_fastest_has_to_win_clearly(seconds, expected):
    hands = Hands()
    networks = {name: Paced(x, hands) for name, x in seconds.items()}
    assert faster(networks, clock=hands) == expected


@pytest.mark.parametrize(
    ("engine", "precision", "has_bfloat16", "expected"),
    [
        ("auto", "auto", False, [ONNX, PLAIN]),
        ("auto", "auto", True, [ONNX, PLAIN, BRAIN]),
        ("auto", "float32", True, [ONNX, PLAIN]),
        ("auto", "bfloat16", False, [BRAIN]),
        ("auto", "int8", True, [ONNX_INT8]),
        ("openvino", "int8", True, [INT8]),
        ("onnxruntime", "int8", True, [ONNX_INT8]),
        ("openvino", "auto", True, [PLAIN, BRAIN]),
        ("openvino", "auto", False, [PLAIN]),
        ("onnxruntime", "auto", True, [ONNX]),
    ],
)
def test_candidates(engine, precision, has_bfloat16, expected, monkeypatch):
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: has_bfloat16)
    assert candidates(engine, precision) == expected


def test_int8_comes_in_where_auto_may_lose_a_little(monkeypatch):
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: True)
    both = [ONNX, PLAIN, BRAIN, INT8, ONNX_INT8]
    assert candidates("auto", "auto", calibrated=True) == both
    assert candidates("auto", "int8", calibrated=True) == [INT8, ONNX_INT8]
    assert candidates("openvino", "auto", calibrated=True) == [PLAIN, BRAIN, INT8]
    assert candidates("auto", "float32", calibrated=True) == [ONNX, PLAIN]
    assert candidates("onnxruntime", "auto", calibrated=True) == [ONNX, ONNX_INT8]


class Turned:
    """Gives unit vectors at this cosine to the first axis."""

    def __init__(self, cosine):
        self.vector = np.array([[cosine, (1 - cosine**2) ** 0.5]])

    def encode(self, batches, pooling):
        return [self.vector] * len(batches)


def test_int8_far_from_the_default_is_left_out():
    cosines = {ONNX: 1.0, BRAIN: 0.5, INT8: 0.9899, ONNX_INT8: 0.9901}
    networks = {choice: Turned(x) for choice, x in cosines.items()}
    assert list(close(networks, [None, None])) == [ONNX, BRAIN, ONNX_INT8]
    asked_for = {choice: networks[choice] for choice in (INT8, ONNX_INT8)}
    assert close(asked_for, [None, None]) == asked_for  # there is nothing else to take
    assert close({ONNX: networks[ONNX]}, []) == {ONNX: networks[ONNX]}


def test_calibration_lets_the_measured_choice_be_int8(model, monkeypatch):
    monkeypatch.setattr(engine_choice, "LEAST_COSINE", 0.5)  # the weights are random
    known = ["a film", "space opera", "war"]
    for wanted in (INT8, ONNX_INT8):
        monkeypatch.setattr(engine_choice, "faster", lambda _, wanted=wanted: wanted)
        known = [*known, "another question"]
        encoder = load_encoder(model, max_length=16, calibration=known)
        assert (encoder.engine, encoder.precision) == wanted


def test_without_calibration_auto_is_not_int8(model, monkeypatch):
    monkeypatch.setattr(engine_choice, "faster", lambda networks: list(networks)[-1])
    assert load_encoder(model, max_length=16).precision != "int8"
    assert load_encoder(model, max_length=16, precision="int8").engine == "onnxruntime"


def test_another_model_than_bert_is_no_candidate_of_onnxruntime(monkeypatch):
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: False)
    assert candidates("auto", "auto", onnx=False) == [PLAIN]
    assert candidates("onnxruntime", "auto", onnx=False) == [ONNX]  # who refuses it


def test_this_processor_is_asked_for_bfloat16():
    assert openvino_engine.has_bfloat16() in (False, True)


def test_the_choice_is_measured_once(model, monkeypatch):
    asked = []

    def choose(networks):
        asked.append(list(networks))
        return ONNX

    monkeypatch.setattr(engine_choice, "faster", choose)
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: False)
    encoder = load_encoder(model, max_length=16)
    assert encoder.engine == "onnxruntime"
    assert fastest(model, "auto", "auto") == ONNX
    assert asked == [[ONNX, PLAIN]]
    fastest(model, "onnxruntime", "auto")  # a question without a choice
    assert len(asked) == 1
    fastest(model, "auto", "float32")
    assert len(asked) == 1
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: True)
    fastest(model, "auto", "auto")  # another question
    assert len(asked) == 2
    assert fastest(model, "openvino", "float32") == PLAIN  # none
    assert len(asked) == 2


def test_a_real_measurement_ends_with_a_candidate(model):
    choice = fastest(model, "auto", "float32")
    assert choice in (PLAIN, ONNX)
    assert fastest(model, "auto", "float32") == choice


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("openvino", {"auto": ONNX, "float32": ONNX, "int8": ONNX_INT8}),
        ("onnxruntime", dict.fromkeys(["auto", "float32"], PLAIN)),
    ],
)
def test_auto_takes_an_engine_that_is_installed(model, monkeypatch, missing, expected):
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: False)
    monkeypatch.setattr(engine_choice, "find_spec", lambda x: x != missing or None)
    assert {x: fastest(model, "auto", x) for x in expected} == expected
