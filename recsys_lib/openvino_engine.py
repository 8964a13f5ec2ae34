"""The OpenVINO engine: a transformer compiled for the CPU; torch only converts it.

What was converted is kept on disk under a hash of all that it was made of, so that a
stale copy is never found; a damaged one is made again.
"""

import hashlib
import io
import os
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import openvino

from recsys_lib import conversion
from recsys_lib.conversion import Vectors
from recsys_lib.kept import keep, sha256_of
from recsys_lib.provenance import usable_cores
from recsys_lib.tokens import Ints, Tokens, pad

BUCKETS = (8, 12, 16, 20, 24, 32)  # lengths of one text with a model of their own
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
_Shape = tuple[int, int]  # length of the one text, or 0, and threads of a pass
_NOTE = "recsys_lib"

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
        self._compiled: dict[_Shape, openvino.CompiledModel] = {}
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
        n: int = self._model.get_rt_info([_NOTE, "n_parameters"]).astype(int)
        return n

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, as the precision keeps them."""
        stored: int = sum(c.get_byte_size() for c in _constants(self._model))
        return stored // 2 if self.precision == "bfloat16" else stored

    @property
    def token_table(self) -> Vectors:
        """Input embeddings (vocabulary, dim), before any layer.

        Raises:
            ValueError: If the model is quantized and holds them no more.
        """
        name = self._model.get_rt_info([_NOTE, "token_table"]).astype(str)
        for constant in _constants(self._model):
            if constant.get_friendly_name() == name and constant.data.dtype.kind == "f":
                return np.array(constant.data, dtype=np.float32)
        raise ValueError("the token table must be of float32; got a quantized model")

    def forward(self, tokens: Tokens) -> Vectors:
        """Run the layers: (n, length, dim) hidden states."""
        with self._hidden(tokens, self._n_threads) as hidden:
            return hidden.copy()

    def pool(self, hidden: Vectors, mask: Ints, pooling: str) -> Vectors:
        """Reduce hidden states to unit vectors (n, dim)."""
        return conversion.pool(hidden, mask, pooling)

    def encode(self, batches: Sequence[Tokens], pooling: str) -> list[Vectors]:
        """Run and pool: one batch with all its threads, several side by side."""
        n_threads = 1 if len(batches) > 1 else self._n_threads

        def run(tokens: Tokens) -> Vectors:
            with self._hidden(tokens, n_threads) as hidden:
                return self.pool(hidden, tokens.mask, pooling)

        if len(batches) < 2:
            return [run(tokens) for tokens in batches]
        with ThreadPoolExecutor(usable_cores()) as pool:
            return list(pool.map(run, batches))

    @contextmanager
    def _hidden(self, tokens: Tokens, n_threads: int) -> Iterator[Vectors]:
        """Hidden states, in memory that is lent to another run afterwards."""
        n, length = tokens.ids.shape
        bucket = min((b for b in BUCKETS if n == 1 and b >= length), default=0)
        idle = self._idle[bucket, n_threads]
        try:
            run = idle.pop()
        except IndexError:
            run = _Run(self._compile(bucket, n_threads), bucket)
        yield run(tokens)[:, :length]
        idle.append(run)

    def _compile(self, length: int, n_threads: int) -> openvino.CompiledModel:
        """For one text of this length, or any batch if 0; compiled once."""
        with self._compiling:
            if (length, n_threads) in self._compiled:
                return self._compiled[length, n_threads]
            model = self._model
            if length:
                model = model.clone()
                model.reshape({port: [1, length] for port in model.inputs})
            made = compiled(model, precision=self.precision, n_threads=n_threads)
            self._compiled[length, n_threads] = made
            return made


class _Run:
    """A compiled model, with memory that it reads one text from."""

    def __init__(self, model: openvino.CompiledModel, bucket: int) -> None:
        self._request, self._feed = model.create_infer_request(), None
        if bucket:  # laid ready once: handing arrays over takes a tenth of a pass
            self._feed = np.zeros((2, 1, bucket), np.int64)
            for i, array in enumerate(self._feed):
                self._request.set_input_tensor(i, openvino.Tensor(array, True))

    def __call__(self, tokens: Tokens) -> Vectors:
        """Hidden states (n, bucket or length, dim), until the next call."""
        feed: Any = [tokens.ids, tokens.mask]
        if self._feed is not None:
            length = tokens.ids.shape[1]
            self._feed[:, :, :length], self._feed[:, :, length:] = feed, 0
            feed = None  # it is there already
        found = self._request.infer(feed, share_inputs=True, share_outputs=True)
        return np.asarray(found[0])


def compiled(
    model: openvino.Model, *, precision: str = "float32", n_threads: int | None = None
) -> openvino.CompiledModel:
    """Compile for the CPU; as many passes run at once as leave each its threads."""
    n_threads = n_threads or usable_cores()
    streams = max(usable_cores() // n_threads, 1)
    options = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * n_threads,
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "ENABLE_CPU_PINNING": False,  # processes would pin to the same core
    }
    return openvino.Core().compile_model(model, "CPU", options)


def load_network(
    folder: Path,
    *,
    precision: str,
    n_threads: int | None = None,
    calibration: Sequence[Tokens] | None = None,
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
    made_of = [*conversion.hashes_of(folder), *made_by()]
    model = keep_model(made_of, lambda: convert(conversion.reference(folder)))
    if precision == "int8":
        if not calibration:
            raise ValueError('calibration must be texts for "int8"; got none')
        ids = b"".join(tokens.ids.tobytes() for tokens in calibration)
        made_of.append(hashlib.sha256(ids).hexdigest())
        plain = model
        model = keep_model(made_of, lambda: _quantized(plain, calibration))
    return OpenVinoNetwork(model, precision=precision, n_threads=n_threads)


def convert(network: Any) -> openvino.Model:
    """Convert a `torch_engine.TorchNetwork` of float32 on the CPU, in memory.

    >>> from recsys_lib.torch_engine import random_network
    >>> sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    >>> tiny = random_network(sizes, device="cpu", precision="float32", seed=0)
    >>> OpenVinoNetwork(convert(tiny), precision="float32").dim
    8
    """
    import torch

    from recsys_lib.torch_engine import quiet_transformers

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network.model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    example = pad([[1, 2, 3], [1, 2]], 0)
    inputs = tuple(torch.from_numpy(x) for x in (example.ids, example.mask))
    with quiet_transformers(), _quiet(), torch.inference_mode():
        model = openvino.convert_model(Hidden().eval(), example_input=inputs)
    table = network.token_table
    name = next(
        c.get_friendly_name()
        for c in _constants(model)
        if list(c.shape) == list(table.shape) and np.array_equal(c.data, table)
    )
    return describe(model, n_parameters=network.n_parameters, token_table=name)


def made_by() -> list[str]:
    """Name what turns weights into a model here: this code, the library's version."""
    code = [sha256_of(Path(str(x))) for x in (__file__, conversion.__file__)]
    return [*code, openvino.__version__]


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 by instructions of its own."""
    abilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in abilities


def describe(
    model: openvino.Model, *, n_parameters: int, token_table: str
) -> openvino.Model:
    """Note in a model what its graph does not tell; saved with it."""
    model.set_rt_info(n_parameters, [_NOTE, "n_parameters"])
    model.set_rt_info(token_table, [_NOTE, "token_table"])
    return model


def keep_model(
    made_of: Sequence[str], make: Callable[[], openvino.Model]
) -> openvino.Model:
    """Return a converted model made before of the same, or make it now and keep it."""

    def save(folder: Path) -> None:
        openvino.save_model(make(), folder / "model.xml", compress_to_fp16=False)

    return openvino.Core().read_model(keep("openvino", made_of, save) / "model.xml")


def _constants(model: openvino.Model) -> list[Any]:
    return [op for op in model.get_ops() if op.get_type_name() == "Constant"]


def _quantized(model: openvino.Model, calibration: Sequence[Tokens]) -> openvino.Model:
    with _quiet():
        import nncf

        rows = nncf.Dataset([[x.ids, x.mask] for x in calibration])
        kind = nncf.ModelType.TRANSFORMER
        # correcting biases moved no vector's cosine by 1e-4, in a third of the time
        options = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
        return nncf.quantize(
            model,
            rows,
            model_type=kind,
            subset_size=len(calibration),
            advanced_parameters=options,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the converters print nothing, and report nothing to their makers."""
    silent = {"CI": "true", "NNCF_CI": "true"}  # how both are told so
    with patch.dict(os.environ, silent), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, on shapes that vary
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
