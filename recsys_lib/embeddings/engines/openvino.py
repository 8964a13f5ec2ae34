"""The OpenVINO engine: compiles a converted transformer for the CPU and runs it."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.engines.converted import run_batches
from recsys_lib.embeddings.engines.openvino_convert import (
    METADATA,
    constants,
    load_graph,
    load_int8_graph,
)
from recsys_lib.embeddings.pooling import Dense, Pooling, pool
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores

with needs("openvino"):
    import openvino

BUCKETS = (12, 16, 20, 32)  # a single text is padded to one of these lengths
_STEP = 8  # a batch is padded to a multiple: fewer shapes to compile
_MAX_MODELS = 4  # compiled for one shape: each holds weights and takes time to compile
_Use = Callable[[Float32Array], Float32Array]  # of hidden states
_Shape = tuple[int, int]  # bucket of a single text, or 0; threads of a pass

openvino.Type.i64.to_dtype()  # two threads in its first call would deadlock


class OpenVinoNetwork:
    """A converted transformer, compiled for each shape on first use; thread-safe.

    A single text runs in a model of fixed length, a batch in one of any length. Several
    batches run side by side, one per core.

    Args:
        model: Takes ids and mask, gives the hidden states.
        precision: "float32", "bfloat16" or (a quantised model) "int8".
        n_threads: Threads of a forward pass; None for all cores. With fewer, several
            passes run at once.
    """

    engine: ClassVar[str] = "openvino"
    pool = staticmethod(pool)

    def __init__(
        self, model: openvino.Model, *, precision: str, n_threads: int | None = None
    ) -> None:
        self._model, self.precision = model, precision
        self._n_threads = n_threads or usable_cores()
        self._positions: int = model.get_rt_info([METADATA, "n_positions"]).astype(int)
        self._buckets = [b for b in BUCKETS if b <= self._positions]
        self._compiled: defaultdict[_Shape, deque[openvino.CompiledModel]]
        self._compiled = defaultdict(deque)
        self._compiling = threading.Lock()
        self._idle: defaultdict[_Shape, list[_Run]] = defaultdict(list)

    @property
    def dim(self) -> int:
        """Length of a hidden state."""
        length = self._model.output(0).partial_shape[2].get_length()
        return int(length)

    @property
    def n_parameters(self) -> int:
        """Number of weights of the model that was converted."""
        n: int = self._model.get_rt_info([METADATA, "n_parameters"]).astype(int)
        return n

    @property
    def size_bytes(self) -> int:
        """Memory of the weights in this precision, in bytes."""
        stored: int = sum(c.get_byte_size() for c in constants(self._model))
        return stored // 2 if self.precision == "bfloat16" else stored

    @property
    def token_table(self) -> Float32Array:
        """Input embeddings (vocabulary, dim), before any layer.

        Raises:
            ValueError: If the model is quantised, and its table with it.
        """
        name = self._model.get_rt_info([METADATA, "token_table"]).astype(str)
        for constant in constants(self._model):
            if constant.get_friendly_name() == name and constant.data.dtype.kind == "f":
                return np.array(constant.data, dtype=np.float32)
        raise ValueError("the token table must be float32; got a quantised model")

    def forward(self, tokens: Tokens) -> Float32Array:
        """Run the layers: (n, length, dim) hidden states."""
        return self._with_hidden(tokens, self._n_threads, np.copy)

    def encode(
        self, batches: Iterable[Tokens], kind: Pooling, layers: Sequence[Dense] = ()
    ) -> list[Float32Array]:
        """Run and pool: a single batch with all threads, several side by side."""

        def run(tokens: Tokens, n_threads: int) -> Float32Array:
            use = partial(pool, mask=tokens.pooled, kind=kind, layers=layers)
            return self._with_hidden(tokens, n_threads, use)

        return run_batches(run, batches, self._n_threads)

    def _with_hidden(self, tokens: Tokens, n_threads: int, use: _Use) -> Float32Array:
        """Run the layers; hand hidden states to `use` before their buffer is reused."""
        n, length = tokens.ids.shape
        bucket = next((b for b in self._buckets if n == 1 and b >= length), 0)
        more = -length % _STEP
        if more and not bucket and length + more <= self._positions:
            added = ((0, 0), (0, more))  # the mask hides it
            tokens = Tokens(np.pad(tokens.ids, added), np.pad(tokens.mask, added))
        idle = self._idle[bucket, n_threads]
        try:
            run = idle.pop()
        except IndexError:
            run = _Run(self._model_for(bucket, n_threads), bucket)
        found = use(run(tokens)[:, :length])
        idle.append(run)
        return found

    def _model_for(self, length: int, n_threads: int) -> openvino.CompiledModel:
        """A model for a single text of this length, or for any batch if 0.

        Passes through a model of one stream wait for each other. So up to four models
        are compiled, which share the passes that the cores can run at once.
        """
        at_once = max(usable_cores() // n_threads, 1)
        n_models = min(at_once, _MAX_MODELS)
        with self._compiling:
            models = self._compiled[length, n_threads]
            if len(models) < n_models:
                models.append(self._compile(length, n_threads, -(-at_once // n_models)))
            else:
                models.rotate()
            return models[-1]

    def _compile(
        self, length: int, n_threads: int, streams: int
    ) -> openvino.CompiledModel:
        model = self._model
        if length:
            model = model.clone()
            model.reshape({port: [1, length] for port in model.inputs})
        return compile_for_cpu(
            model, precision=self.precision, n_threads=n_threads, streams=streams
        )


class _Run:
    """An inference request; for a single text its buffers are fixed."""

    def __init__(self, model: openvino.CompiledModel, bucket: int) -> None:
        self._request = model.create_infer_request()
        self._feed = self._hidden = None
        if bucket:  # bound once: passing arrays takes a tenth of a pass
            self._feed = np.zeros((2, 1, bucket), np.int64)
            for i, array in enumerate(self._feed):
                self._request.set_input_tensor(i, openvino.Tensor(array, True))
        shape = model.output(0).partial_shape
        if shape.is_static:
            self._hidden = np.zeros(shape.to_shape(), np.float32)
            self._request.set_output_tensor(0, openvino.Tensor(self._hidden, True))

    def __call__(self, tokens: Tokens) -> Float32Array:
        """Return hidden states (n, length, dim), valid until the next call."""
        feed: Any = [tokens.ids, tokens.mask]
        if self._feed is not None:
            length = tokens.ids.shape[1]
            self._feed[:, :, :length], self._feed[:, :, length:] = feed, 0
            feed = None  # the inputs are bound already
        found = self._request.infer(feed, share_inputs=True, share_outputs=True)
        return np.asarray(found[0]) if self._hidden is None else self._hidden


def compile_for_cpu(
    model: openvino.Model,
    *,
    precision: str = "float32",
    n_threads: int | None = None,
    streams: int = 1,
) -> openvino.CompiledModel:
    """Compile a model for the CPU.

    With one stream, a pass runs in the caller's thread and n_threads - 1 others. With
    more, each stream runs one pass at a time, in threads of its own.
    """
    options = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * (n_threads or usable_cores()),
        "INFERENCE_PRECISION_HINT": _hint(precision),
        "ENABLE_CPU_PINNING": False,  # several processes would pin to the same core
    }
    return openvino.Core().compile_model(model, "CPU", options)


def _hint(precision: str) -> str:
    """Precision to compute in; in an int8 model, for what is not quantised."""
    wide = precision == "float32" or (precision == "int8" and not has_bfloat16())
    return "f32" if wide else "bf16"


def load_openvino_network(
    folder: Path,
    *,
    precision: str,
    n_threads: int | None = None,
    calibration: Sequence[Tokens] = (),
) -> OpenVinoNetwork:
    """Load a pre-trained model; its first use on this machine converts it from torch.

    Args:
        folder: Holds config.json and the weights.
        precision: "float32", "bfloat16" or "int8".
        n_threads: Threads of a forward pass; None for all cores.
        calibration: Texts to calibrate "int8" on.

    Raises:
        ValueError: If "int8" has no calibration, or weights of the model are missing.
    """
    int8 = precision == "int8"
    model = load_int8_graph(folder, calibration) if int8 else load_graph(folder)
    return OpenVinoNetwork(model, precision=precision, n_threads=n_threads)


def has_bfloat16() -> bool:
    """Whether the processor has instructions that multiply in bfloat16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
