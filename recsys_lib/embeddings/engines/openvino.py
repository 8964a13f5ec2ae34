"""The OpenVINO engine: a graph of `openvino_graph`, compiled for the CPU and run."""

import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import openvino

from recsys_lib.embeddings.engines import converted as conversion
from recsys_lib.embeddings.engines.openvino_convert import (
    NOTE,
    constants,
    load_graph,
    load_int8_graph,
)
from recsys_lib.embeddings.pooling import Vectors, pool
from recsys_lib.embeddings.tokens import Ints, Tokens
from recsys_lib.machine import usable_cores

BUCKETS = (12, 16, 20, 32)  # lengths of one text with a model of their own
_STEP = 8  # lengths of a batch are multiples, so that few shapes are met
_MOST_MODELS = 4  # of a shape: each holds weights, and takes time to compile
_Shape = tuple[int, int]  # length of the one text, or 0, and threads of a pass

openvino.Type.i64.to_dtype()  # two threads in its first call would wait for ever


class OpenVinoNetwork:
    """A converted transformer, compiled as shapes are met; threads may share it.

    One text runs in a model of fixed length, a batch in one of any length, many batches
    side by side, one to a core.

    Args:
        model: With inputs ids and mask, and the hidden states as its output.
        precision: "float32", "bfloat16" or (of a quantized model) "int8".
        n_threads: Of a forward pass; None for all cores. With fewer, as many passes as
            there are cores for run at once.
    """

    engine: ClassVar[str] = "openvino"

    def __init__(
        self, model: openvino.Model, *, precision: str, n_threads: int | None = None
    ) -> None:
        self._model, self.precision = model, precision
        self._n_threads = n_threads or usable_cores()
        self._positions: int = model.get_rt_info([NOTE, "n_positions"]).astype(int)
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
        n: int = self._model.get_rt_info([NOTE, "n_parameters"]).astype(int)
        return n

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, as the precision keeps them."""
        stored: int = sum(c.get_byte_size() for c in constants(self._model))
        return stored // 2 if self.precision == "bfloat16" else stored

    @property
    def token_table(self) -> Vectors:
        """Input embeddings (vocabulary, dim), before any layer.

        Raises:
            ValueError: If the model is quantized and holds them no more.
        """
        name = self._model.get_rt_info([NOTE, "token_table"]).astype(str)
        for constant in constants(self._model):
            if constant.get_friendly_name() == name and constant.data.dtype.kind == "f":
                return np.array(constant.data, dtype=np.float32)
        raise ValueError("the token table must be of float32; got a quantized model")

    def forward(self, tokens: Tokens) -> Vectors:
        """Run the layers: (n, length, dim) hidden states."""
        return self._with_hidden(tokens, self._n_threads, np.copy)

    def pool(self, hidden: Vectors, mask: Ints, pooling: str) -> Vectors:
        """Reduce hidden states to unit vectors (n, dim)."""
        return pool(hidden, mask, pooling)

    def encode(self, batches: Iterable[Tokens], pooling: str) -> list[Vectors]:
        """Run and pool: one batch with all its threads, several side by side."""

        def run(tokens: Tokens, n_threads: int) -> Vectors:
            use = partial(pool, mask=tokens.mask, pooling=pooling)
            return self._with_hidden(tokens, n_threads, use)

        return conversion.run_batches(run, batches, self._n_threads)

    def _with_hidden(
        self, tokens: Tokens, n_threads: int, use: Callable[[Vectors], Vectors]
    ) -> Vectors:
        """Run the layers and use the hidden states, before their memory is lent on."""
        n, length = tokens.ids.shape
        bucket = self._bucket(length) if n == 1 else 0
        more = -length % _STEP
        if more and not bucket and length + more <= self._positions:
            tokens = _padded(tokens, more)
        idle = self._idle[bucket, n_threads]
        try:
            run = idle.pop()
        except IndexError:
            run = _Run(self._model_for(bucket, n_threads), bucket)
        found = use(run(tokens)[:, :length])
        idle.append(run)
        return found

    def _bucket(self, length: int) -> int:
        """The shortest that holds a text, or 0."""
        i = bisect_left(self._buckets, length)
        return self._buckets[i] if i < len(self._buckets) else 0

    def _model_for(self, length: int, n_threads: int) -> openvino.CompiledModel:
        """For one text of this length, or any batch if 0.

        Passes through one model of one stream wait for each other, so it is compiled
        for each pass that the cores can run at once; of many, for several.
        """
        at_once = max(usable_cores() // n_threads, 1)
        most = min(at_once, _MOST_MODELS)
        with self._compiling:
            models = self._compiled[length, n_threads]
            if len(models) < most:
                models.append(self._compile(length, n_threads, -(-at_once // most)))
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
        options: dict[str, Any] = {"n_threads": n_threads, "streams": streams}
        return compiled(model, precision=self.precision, **options)


class _Run:
    """A compiled model; a single text has input and output memory of its own."""

    def __init__(self, model: openvino.CompiledModel, bucket: int) -> None:
        self._request = model.create_infer_request()
        self._feed = self._hidden = None
        if bucket:  # laid ready once: handing arrays over takes a tenth of a pass
            self._feed = np.zeros((2, 1, bucket), np.int64)
            for i, array in enumerate(self._feed):
                self._request.set_input_tensor(i, openvino.Tensor(array, True))
        shape = model.output(0).partial_shape
        if shape.is_static:
            self._hidden = np.zeros(shape.to_shape(), np.float32)
            self._request.set_output_tensor(0, openvino.Tensor(self._hidden, True))

    def __call__(self, tokens: Tokens) -> Vectors:
        """Hidden states (n, bucket or length, dim), until the next call."""
        feed: Any = [tokens.ids, tokens.mask]
        if self._feed is not None:
            length = tokens.ids.shape[1]
            self._feed[:, :, :length], self._feed[:, :, length:] = feed, 0
            feed = None  # it is there already
        found = self._request.infer(feed, share_inputs=True, share_outputs=True)
        return np.asarray(found[0]) if self._hidden is None else self._hidden


def compiled(
    model: openvino.Model,
    *,
    precision: str = "float32",
    n_threads: int | None = None,
    streams: int = 1,
) -> openvino.CompiledModel:
    """Compile for the CPU.

    One stream runs a pass in its caller's thread, and n_threads - 1 others. Of more,
    each runs one at the same time, but a pass is handed over to a thread of its own.
    """
    options = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * (n_threads or usable_cores()),
        "INFERENCE_PRECISION_HINT": _hint(precision),
        "ENABLE_CPU_PINNING": False,  # processes would pin to the same core
    }
    return openvino.Core().compile_model(model, "CPU", options)


def _hint(precision: str) -> str:
    """How to compute; of an int8 model that is what was not quantized."""
    wide = precision == "float32" or (precision == "int8" and not has_bfloat16())
    return "f32" if wide else "bf16"


def _padded(tokens: Tokens, more: int) -> Tokens:
    """Lengthen a batch; the mask hides what is added."""
    ids, mask = (np.pad(x, ((0, 0), (0, more))) for x in (tokens.ids, tokens.mask))
    return Tokens(ids, mask)


def load_network(
    folder: Path,
    *,
    precision: str,
    n_threads: int | None = None,
    calibration: Sequence[Tokens] = (),
) -> OpenVinoNetwork:
    """Load a pre-trained model, converted from torch at its first use on this machine.

    Args:
        folder: With config.json and the weights.
        precision: "float32", "bfloat16" or "int8".
        n_threads: Of a forward pass; None for all cores.
        calibration: Texts that "int8" is calibrated on.

    Raises:
        ValueError: If "int8" has no calibration, or weights lack a part of the model.
    """
    if precision == "int8":
        model = load_int8_graph(folder, calibration)
    else:
        model = load_graph(folder)
    return OpenVinoNetwork(model, precision=precision, n_threads=n_threads)


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 by instructions of its own."""
    abilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in abilities
