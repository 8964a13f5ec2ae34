"""The ONNX Runtime engine: a BERT encoder, written as `onnx_graph`.

What was converted is kept on disk.
"""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime

from recsys_lib.artifacts import cache_files, hashes_of
from recsys_lib.embeddings.engines import converted as conversion
from recsys_lib.embeddings.pooling import Vectors, pool
from recsys_lib.embeddings.tokens import Ints, Tokens
from recsys_lib.machine import huge_pages, usable_cores


class OnnxNetwork:
    """A converted transformer; threads may share it.

    One text has all threads of a pass, many batches run side by side, one to a core.

    Args:
        file: As `convert` wrote it; it stays where it is.
        n_threads: Of a forward pass; None for all cores.
    """

    engine: ClassVar[str] = "onnxruntime"
    precision: ClassVar[str] = "float32"

    def __init__(self, file: Path, *, n_threads: int | None = None) -> None:
        self._file, self._n_threads = file, n_threads or usable_cores()
        self._sessions: dict[int, Any] = {}
        self._loading = threading.Lock()
        self._facts = self._session(self._n_threads).get_modelmeta().custom_metadata_map

    @property
    def dim(self) -> int:
        """Length of a hidden state."""
        return int(self._facts["dim"])

    @property
    def n_parameters(self) -> int:
        """Number of weights of the model that was converted."""
        return int(self._facts["n_parameters"])

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, where one number of threads is used."""
        return int(self._facts["size_bytes"])

    @property
    def token_table(self) -> Vectors:
        """Input embeddings (vocabulary, dim), before any layer."""
        import onnx

        from recsys_lib.embeddings.engines.onnx_bert import TOKEN_TABLE

        weights = onnx.load(str(self._file)).graph.initializer
        table = next(x for x in weights if x.name == TOKEN_TABLE)
        return np.array(onnx.numpy_helper.to_array(table), dtype=np.float32)

    def forward(self, tokens: Tokens) -> Vectors:
        """Run the layers: (n, length, dim) hidden states."""
        return self._run(tokens, "hidden", self._n_threads)

    def pool(self, hidden: Vectors, mask: Ints, pooling: str) -> Vectors:
        """Reduce hidden states to unit vectors (n, dim)."""
        return pool(hidden, mask, pooling)

    def encode(self, batches: Iterable[Tokens], pooling: str) -> list[Vectors]:
        """Run and pool: one batch with all its threads, several side by side."""

        def run(tokens: Tokens, n_threads: int) -> Vectors:
            return self._run(tokens, pooling, n_threads)

        return conversion.run_batches(run, batches, self._n_threads)

    def _run(self, tokens: Tokens, output: str, n_threads: int) -> Vectors:
        session = self._sessions.get(n_threads) or self._session(n_threads)
        feed = {"ids": tokens.ids, "mask": tokens.mask}
        return np.asarray(session.run([output], feed)[0])

    def _session(self, n_threads: int) -> Any:
        """Load for this number of threads, once: it holds weights of its own."""
        with self._loading:
            if n_threads not in self._sessions:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = n_threads  # they spin for the next pass
                options.log_severity_level = 3
                with huge_pages():  # takes an eighth off the time of one text
                    self._sessions[n_threads] = onnxruntime.InferenceSession(
                        str(self._file), options, providers=["CPUExecutionProvider"]
                    )
            return self._sessions[n_threads]


def load_network(
    folder: Path, *, precision: str = "float32", n_threads: int | None = None
) -> OnnxNetwork:
    """Load a pre-trained model, converted from torch at its first use on this machine.

    Args:
        folder: With config.json and the weights.
        precision: "float32" alone.
        n_threads: Of a forward pass; None for all cores.

    Raises:
        ValueError: If the precision is another, or weights lack a part of the model.
    """
    if precision != "float32":
        raise ValueError(f'precision of onnxruntime must be "float32"; got {precision}')

    def save(home: Path) -> None:
        from recsys_lib.embeddings.engines import (
            torch as torch_engine,  # seconds, for the one who converts
        )

        network = torch_engine.load_network(folder, device="cpu", precision="float32")
        convert(network, home / "model.onnx")

    kept = cache_files("onnx", [hashes_of(folder)], save)
    return OnnxNetwork(kept / "model.onnx", n_threads=n_threads)


def fits(config: Mapping[str, Any]) -> bool:
    """Whether a model's config.json is of the kind that `convert` writes."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )


def convert(network: Any, file: Path) -> None:
    """Write a `torch_engine.TorchNetwork` of float32 on the CPU as one ONNX file.

    Raises:
        ValueError: If it is no BERT.
    """
    import onnx

    from recsys_lib.embeddings.engines import onnx_bert as onnx_graph

    config = network.model.config.to_dict()
    if not fits(config):
        got = f"got {config['model_type']}, {config['hidden_act']}"
        raise ValueError(f"onnxruntime must be given BERT, an encoder with gelu; {got}")
    state = network.model.state_dict()
    weights = {name: x.detach().numpy() for name, x in state.items()}
    model = onnx_graph.bert_graph(config, weights)
    size = sum(onnx.numpy_helper.to_array(x).nbytes for x in model.graph.initializer)
    facts = {"n_parameters": network.n_parameters, "size_bytes": size}
    facts["dim"] = network.dim
    onnx.helper.set_model_props(model, {key: str(x) for key, x in facts.items()})
    onnx.save(model, str(file))
