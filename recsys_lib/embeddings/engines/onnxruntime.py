"""The ONNX Runtime engine: runs a BERT that `onnx_bert` wrote as a graph."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from recsys_lib.arrays import Float32Array
from recsys_lib.artifacts import cache_files, hashes_of
from recsys_lib.embeddings.architecture import is_plain_bert
from recsys_lib.embeddings.engines.converted import run_batches
from recsys_lib.embeddings.pooling import Dense, Pooling, pool
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.extras import needs
from recsys_lib.machine import huge_pages, usable_cores

with needs("onnx"):
    import onnx
    import onnxruntime

if TYPE_CHECKING:
    from recsys_lib.embeddings.engines.torch import TorchNetwork


class OnnxNetwork:
    """A converted BERT; thread-safe.

    A single text has all threads of a pass. Several batches run side by side, one per
    core. In int8 the texts of a batch run one after the other, because activations that
    run together share a scale: a vector would depend on the other texts.

    Args:
        file: Written by `convert_to_onnx`; it has to stay in place.
        n_threads: Threads of a forward pass; None for all cores.
    """

    engine: ClassVar[str] = "onnxruntime"
    pool = staticmethod(pool)

    def __init__(self, file: Path, *, n_threads: int | None = None) -> None:
        self._file, self._n_threads = file, n_threads or usable_cores()
        self._sessions = Sessions(file)
        meta = self._sessions.load(self._n_threads).get_modelmeta()
        self._facts = meta.custom_metadata_map
        self.precision = str(self._facts["precision"])

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
        """Memory of the weights in bytes, for one number of threads."""
        return int(self._facts["size_bytes"])

    @property
    def token_table(self) -> Float32Array:
        """Input embeddings (vocabulary, dim), before any layer.

        Raises:
            ValueError: If the model is in int8, and its table with it.
        """
        from recsys_lib.embeddings.engines.onnx_bert import TOKEN_TABLE

        if self.precision == "int8":
            raise ValueError("the token table must be float32; got a model in int8")
        weights = onnx.load(str(self._file)).graph.initializer
        table = next(x for x in weights if x.name == TOKEN_TABLE)
        return np.array(onnx.numpy_helper.to_array(table), dtype=np.float32)

    def forward(self, tokens: Tokens) -> Float32Array:
        """Run the layers: (n, length, dim) hidden states."""
        return self._run(tokens, "hidden", self._n_threads)

    def encode(
        self, batches: Iterable[Tokens], kind: Pooling, layers: Sequence[Dense] = ()
    ) -> list[Float32Array]:
        """Run and pool: a single batch with all threads, several side by side."""

        def run(tokens: Tokens, n_threads: int) -> Float32Array:
            if kind in ("mean", "cls") and not layers and not tokens.n_unpooled:
                return self._run(tokens, kind, n_threads)  # pooled in the graph
            hidden = self._run(tokens, "hidden", n_threads)
            return pool(hidden, tokens.pooled, kind, layers)

        return run_batches(run, batches, self._n_threads)

    def _run(self, tokens: Tokens, output: str, n_threads: int) -> Float32Array:
        if self.precision == "int8" and len(tokens.ids) > 1:
            alone = [self._run(x, output, n_threads) for x in tokens.each()]
            return _stacked(alone, tokens.ids.shape)
        session = self._sessions.load(n_threads)
        feed = {"ids": tokens.ids, "mask": tokens.mask}
        return np.asarray(session.run([output], feed)[0])


def _stacked(alone: Sequence[Float32Array], shape: tuple[int, ...]) -> Float32Array:
    """Stack the vectors or hidden states of single texts; where one ends, put zeros."""
    if alone[0].ndim == 2:
        return np.concatenate(alone)
    hidden = np.zeros((*shape, alone[0].shape[2]), np.float32)
    for row, found in zip(hidden, alone, strict=True):
        row[: found.shape[1]] = found
    return hidden


class Sessions:
    """The sessions of an ONNX file; thread-safe.

    It is loaded once for each number of threads, and each copy holds the weights.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loaded: dict[int, Any] = {}
        self._loading = threading.Lock()

    def load(self, n_threads: int) -> Any:
        """Return the session of that many threads, which spin for the next pass."""
        if session := self._loaded.get(n_threads):
            return session
        with self._loading:
            if n_threads not in self._loaded:
                self._loaded[n_threads] = _load_session(self._file, n_threads)
            return self._loaded[n_threads]


def _load_session(file: Path, n_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.log_severity_level = 3
    with huge_pages():  # takes an eighth off the time of one text
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )


def load_onnx_network(
    folder: Path, *, precision: str = "float32", n_threads: int | None = None
) -> OnnxNetwork:
    """Load a pre-trained BERT; its first use on this machine converts it from torch.

    Args:
        folder: Holds config.json and the weights.
        precision: "float32" or "int8".
        n_threads: Threads of a forward pass; None for all cores.

    Raises:
        ValueError: If it is no BERT, or weights of the model are missing.
    """

    def save(home: Path) -> None:
        from recsys_lib.embeddings.engines.torch import load_torch_network  # seconds

        network = load_torch_network(folder)
        convert_to_onnx(network, home / "model.onnx", precision=precision)

    made = cache_files("onnx", [hashes_of(folder), precision], save)
    return OnnxNetwork(made / "model.onnx", n_threads=n_threads)


def convert_to_onnx(
    network: "TorchNetwork", file: Path, *, precision: str = "float32"
) -> None:
    """Write a BERT of float32 on the CPU as one ONNX file.

    Args:
        network: The BERT.
        file: To write.
        precision: Of the file, "float32" or "int8".

    Raises:
        ValueError: If it is no BERT.
    """
    from recsys_lib.embeddings.engines.onnx_bert import bert_graph

    config = network.model.config.to_dict()
    if not is_plain_bert(config):
        got = f"got {config['model_type']}, {config['hidden_act']}"
        raise ValueError(f"onnxruntime must be given BERT, an encoder with gelu; {got}")
    state = network.model.state_dict()
    held = {name: x.detach().numpy() for name, x in state.items()}
    model = bert_graph(config, held, int8=precision == "int8")
    weights = [onnx.numpy_helper.to_array(x) for x in model.graph.initializer]
    facts = {
        "dim": network.dim,
        "n_parameters": network.n_parameters,
        "size_bytes": sum(x.nbytes for x in weights),
        "precision": precision,
    }
    onnx.helper.set_model_props(model, {key: str(x) for key, x in facts.items()})
    onnx.save(model, str(file))
