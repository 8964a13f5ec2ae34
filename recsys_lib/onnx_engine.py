"""The ONNX Runtime engine: a transformer with its attention fused; torch converts it.

What was converted is kept on disk, as by `openvino_engine`.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime

from recsys_lib import conversion
from recsys_lib.conversion import Vectors
from recsys_lib.kept import keep, sha256_of
from recsys_lib.provenance import usable_cores
from recsys_lib.tokens import Ints, Tokens

_INPUTS = ("ids", "mask")
_OUTPUTS = ("hidden", "mean", "cls")  # poolings are part of the graph: copied out less


class OnnxNetwork:
    """A converted transformer; threads may share it.

    One text has all threads of a pass, many batches run side by side, one to a core.

    Args:
        file: As `convert` wrote it; it stays where it is.
        n_threads: Of a forward pass; None for all cores.
    """

    engine: ClassVar[str] = "onnxruntime"

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

        weights = onnx.load(str(self._file)).graph.initializer
        table = next(x for x in weights if x.name == self._facts["token_table"])
        return np.array(onnx.numpy_helper.to_array(table), dtype=np.float32)

    def forward(self, tokens: Tokens) -> Vectors:
        """Run the layers: (n, length, dim) hidden states."""
        return self._run(tokens, "hidden", self._n_threads)

    def pool(self, hidden: Vectors, mask: Ints, pooling: str) -> Vectors:
        """Reduce hidden states to unit vectors (n, dim)."""
        return conversion.pool(hidden, mask, pooling)

    def encode(self, batches: Sequence[Tokens], pooling: str) -> list[Vectors]:
        """Run and pool: one batch with all its threads, several side by side."""
        if len(batches) < 2:
            return [self._run(tokens, pooling, self._n_threads) for tokens in batches]
        with ThreadPoolExecutor(usable_cores()) as executor:
            return list(executor.map(lambda x: self._run(x, pooling, 1), batches))

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
        convert(conversion.reference(folder), home / "model.onnx")

    kept = keep("onnx", [*conversion.hashes_of(folder), *made_by()], save)
    return OnnxNetwork(kept / "model.onnx", n_threads=n_threads)


def convert(network: Any, file: Path) -> None:
    """Write a `torch_engine.TorchNetwork` of float32 on the CPU as one ONNX file.

    Attention, embeddings and normalisations become one operation each where the
    optimizer of ONNX Runtime knows them, as it does BERT's; others stay as they are.
    """
    import onnx
    import torch
    from onnxruntime.transformers.optimizer import optimize_model

    varying = {name: {0: "n", 1: "length"} for name in (*_INPUTS, "hidden")}
    varying |= {name: {0: "n"} for name in ("mean", "cls")}
    config, attention = network.model.config, network.model.config._attn_implementation
    network.model.set_attn_implementation("eager")  # what the optimizer knows
    try:
        with conversion.converting():
            torch.onnx.export(
                _poolings(network.model).eval(),
                conversion.example_inputs(),
                str(file),
                input_names=list(_INPUTS),
                output_names=list(_OUTPUTS),
                dynamic_axes=varying,
                dynamo=False,  # its successor needs one package more
            )
            heads = {
                "num_heads": config.num_attention_heads,
                "hidden_size": network.dim,
            }
            fused = optimize_model(str(file), "bert", opt_level=0, **heads).model
    finally:
        network.model.set_attn_implementation(attention)
    onnx.helper.set_model_props(fused, _facts(network, fused))
    onnx.save(fused, str(file))


def made_by() -> list[str]:
    """Name what turns weights into a model here: this code, the library's version."""
    code = [sha256_of(Path(str(x))) for x in (__file__, conversion.__file__)]
    return [*code, onnxruntime.__version__]


def _poolings(model: Any) -> Any:
    import torch
    from torch.nn.functional import normalize

    class Poolings(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
            found = self.model(input_ids=ids, attention_mask=mask)
            hidden = found.last_hidden_state
            summed = (mask.to(hidden.dtype).unsqueeze(1) @ hidden).squeeze(1)
            return hidden, normalize(summed), normalize(hidden[:, 0])

    return Poolings()


def _facts(network: Any, model: Any) -> dict[str, str]:
    """What the graph does not tell at once."""
    import onnx

    table = network.token_table
    weights = model.graph.initializer
    name = next(
        x.name
        for x in weights
        if list(x.dims) == list(table.shape)
        and np.array_equal(onnx.numpy_helper.to_array(x), table)
    )
    n_bytes = sum(onnx.numpy_helper.to_array(x).nbytes for x in weights)
    facts = {"dim": network.dim, "n_parameters": network.n_parameters}
    facts |= {"size_bytes": n_bytes, "token_table": name}
    return {key: str(value) for key, value in facts.items()}
