"""ONNX Runtime on a model that was exported already, as a folder carries it."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.engines.converted import run_batches
from recsys_lib.embeddings.engines.onnxruntime import Sessions
from recsys_lib.embeddings.pooling import Dense, Pooling, pool
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores

with needs("onnx"):
    import onnx

_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
_HIDDEN = ("last_hidden_state", "token_embeddings", "hidden_states")
_TABLES = ("word_embeddings.weight", "embed_tokens.weight", "wte.weight")


class OnnxFileNetwork:
    """A transformer in ONNX, exported by others; thread-safe.

    Args:
        file: Takes input_ids and attention_mask, gives hidden states.
        n_threads: Threads of a forward pass; None for all cores.

    Raises:
        ValueError: If it has other inputs, or gives no hidden states.
    """

    engine: ClassVar[str] = "onnxruntime"
    precision: ClassVar[str] = "float32"
    pool = staticmethod(pool)

    def __init__(self, file: Path, *, n_threads: int | None = None) -> None:
        self._file, self._n_threads = file, n_threads or usable_cores()
        self._sessions = Sessions(file)
        session = self._sessions.load(self._n_threads)
        self._inputs = {x.name for x in session.get_inputs()}
        if unknown := self._inputs - _INPUTS:
            got = f"got {', '.join(sorted(unknown))} in {file}"
            raise ValueError(f"inputs must be of {', '.join(sorted(_INPUTS))}; {got}")
        shapes = {x.name: x.shape for x in session.get_outputs() if len(x.shape) == 3}
        self._output = next((x for x in _HIDDEN if x in shapes), "")
        if not self._output or not isinstance(shapes[self._output][2], int):
            got = f"got {[x.name for x in session.get_outputs()]} in {file}"
            raise ValueError(f"outputs must have {_HIDDEN[0]} (n, length, dim); {got}")
        self.dim = int(shapes[self._output][2])

    @property
    def n_parameters(self) -> int:
        """Number of weights in the file."""
        return sum(int(np.prod(x.dims)) for x in self._weights)

    @property
    def size_bytes(self) -> int:
        """Memory of the weights in bytes, for one number of threads."""
        kinds = onnx.helper.tensor_dtype_to_np_dtype
        return sum(
            int(np.prod(x.dims)) * kinds(x.data_type).itemsize for x in self._weights
        )

    @property
    def token_table(self) -> Float32Array:
        """Input embeddings (vocabulary, dim), before any layer.

        Raises:
            ValueError: If the file has none in float32 under a usual name.
        """
        graph = onnx.load(str(self._file)).graph
        for tensor in graph.initializer:
            if tensor.name.endswith(_TABLES) and tensor.data_type == 1:
                return np.array(onnx.numpy_helper.to_array(tensor), dtype=np.float32)
        wanted = f"a token table must be float32, named {' or '.join(_TABLES)}"
        raise ValueError(f"{wanted}; got none in {self._file}")

    def forward(self, tokens: Tokens) -> Float32Array:
        """Run the layers: (n, length, dim) hidden states."""
        return self._run(tokens, self._n_threads)

    def encode(
        self, batches: Iterable[Tokens], kind: Pooling, layers: Sequence[Dense] = ()
    ) -> list[Float32Array]:
        """Run and pool: a single batch with all threads, several side by side."""

        def run(tokens: Tokens, n_threads: int) -> Float32Array:
            return pool(self._run(tokens, n_threads), tokens.pooled, kind, layers)

        return run_batches(run, batches, self._n_threads)

    @cached_property
    def _weights(self) -> list[Any]:
        """Names, shapes and types of the weights, without those in other files."""
        graph = onnx.load(str(self._file), load_external_data=False).graph
        return list(graph.initializer)

    def _run(self, tokens: Tokens, n_threads: int) -> Float32Array:
        session = self._sessions.load(n_threads)
        feed = {"input_ids": tokens.ids, "attention_mask": tokens.mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(tokens.ids)
        if "position_ids" in self._inputs:
            positions = np.arange(tokens.ids.shape[1])
            feed["position_ids"] = np.broadcast_to(positions, tokens.ids.shape).copy()
        return np.asarray(session.run([self._output], feed)[0], dtype=np.float32)
