import numpy as np
import pytest

from benchmarks import peers
from benchmarks.benches import gpu, request
from benchmarks.bounds import Transformer
from benchmarks.peers import NotRun


class Asked:
    """Stands for an encoder on a GPU: answers at once, and takes as long as it says."""

    def __init__(self, ms, noise=0.0):
        self.ms, self.noise = ms, noise

    def ask(self, operation, save=None, **arguments):
        if operation == "encode" and save:
            vectors = np.tile([1.0, self.noise], (len(arguments["texts"]), 1))
            np.save(save, vectors)
        answers = {"engine": ["torch", "bfloat16"], "tokenize": [10, 20]}
        return answers.get(operation)

    def time_ms(self, operation, **arguments):
        return self.ms[operation]

    def turn_ms(self, operation, turn):
        return np.full(len(turn), self.ms[operation])


def test_without_a_gpu_its_bench_is_not_run(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(NotRun, match="no GPU"):
        gpu.run(None, quick=True)


def test_the_rows_of_a_gpu_say_factors_and_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(request, "FOLDER", tmp_path)
    ours = {"request": 0.5, "replay": 0.4, "encode": 100, "tokenize": 50, "passes": 40}
    children = {
        "own": Asked(ours, noise=0.01),
        "st-gpu": Asked({"request": 4.0, "encode": 900}),
        "st-gpu-bf16": Asked({"request": 3.0, "encode": 450}, noise=0.02),
    }
    rows = gpu.one_text(children, 30)
    rows += gpu.catalogue(children, gpu.QUICK, tflops=0.01, gbytes_per_s=1e6)
    found = {row.name: row for row in rows}
    values = {name: row.value.value for name, row in found.items()}
    name = "one text, p50, own / bare replay of its graph"
    assert values[name] == pytest.approx(1.25)
    assert found[name].at_most
    assert values["one text, p50, sentence-transformers / own"] == pytest.approx(8)
    assert values["one text, own, p50"] == 0.5
    assert values["catalogue, sentence-transformers / own"] == pytest.approx(9)
    assert found["catalogue, sentence-transformers / own"].reached == "yes"
    assert values["catalogue, tokenise alone / own"] == pytest.approx(0.5)
    assert values["catalogue, own, mean cosine to f32"] == pytest.approx(0.99995)
    flops = Transformer().flops(10) + Transformer().flops(20)
    share = flops / 0.01e12 * 1e3 / 100
    assert values["catalogue, own: share of its bound"] == pytest.approx(share)
    assert "arithmetic" in found["catalogue, own: share of its bound"].note
    assert all(row.bench == "gpu" for row in rows)


def test_a_child_sees_the_gpu_only_where_it_may(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert peers.child_environment()["CUDA_VISIBLE_DEVICES"] == ""
    assert peers.child_environment(gpu=True)["CUDA_VISIBLE_DEVICES"] == "0"
    assert "TOKENIZERS_PARALLELISM" not in peers.child_environment(gpu=True)
