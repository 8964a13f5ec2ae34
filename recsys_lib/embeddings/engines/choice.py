"""Which engine runs a model on this processor: measured once, and kept on disk.

Matrix units of a kind (AMX, say) favour one library, their absence another: no name of
a processor decides it, a pass of one text does, its weights fetched from memory as they
are in a service that does other work between two requests.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from recsys_lib.artifacts import cache_files, hashes_of
from recsys_lib.embeddings.engines import onnxruntime as onnx_engine
from recsys_lib.embeddings.engines import openvino as openvino_engine
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.latency.timing import measure_interleaved
from recsys_lib.machine import describe_machine

Choice = tuple[str, str]  # engine, precision
Network = openvino_engine.OpenVinoNetwork | onnx_engine.OnnxNetwork

ENGINES = {"openvino": openvino_engine, "onnxruntime": onnx_engine}
LEAST_GAIN = 0.05  # of its time, below which the first candidate stays
N_TOKENS = 16
_CACHES_BYTES = 96 << 20  # more than a processor keeps to itself


def fastest(
    folder: Path,
    engine: str,
    precision: str,
    calibration: Sequence[Tokens] = (),
) -> Choice:
    """Choose the engine and the precision that take least time.

    Without calibration, no choice loses anything; with it, "auto" may also take "int8".

    Args:
        folder: Of a pre-trained model.
        engine: "openvino", "onnxruntime" or "auto".
        precision: "float32", "bfloat16" or "auto".
        calibration: Texts of the kind to encode, each alone.

    Returns:
        What no measurement has to decide, or what the first one decided on this
        processor, for this model, code and versions of the packages. It ran with one
        thread: neither the number of cores nor other work has much to do with it.
    """
    config = json.loads((folder / "config.json").read_text())
    onnx, int8 = onnx_engine.fits(config), bool(calibration)
    choices = candidates(engine, precision, onnx=onnx, int8=int8)
    if len(choices) == 1:
        return choices[0]

    def measure(home: Path) -> None:
        networks = {
            choice: load_choice(folder, choice, n_threads=1, calibration=calibration)
            for choice in choices
        }
        (home / "choice.json").write_text(json.dumps(faster(networks)))

    rows = [tokens.ids.tolist() for tokens in calibration]
    made_of = [hashes_of(folder), choices, rows, describe_machine().cpu]
    home = cache_files("choice", made_of, measure)
    engine, precision = json.loads((home / "choice.json").read_text())
    return engine, precision


def load_choice(
    folder: Path,
    choice: Choice,
    *,
    n_threads: int | None,
    calibration: Sequence[Tokens] = (),
) -> Network:
    """Load a model for an engine and a precision; "int8" alone is calibrated."""
    engine, precision = choice
    options: dict[str, Any] = {"precision": precision, "n_threads": n_threads}
    if precision == "int8":
        options["calibration"] = calibration
    network: Network = ENGINES[engine].load_network(folder, **options)
    return network


def candidates(
    engine: str, precision: str, *, onnx: bool = True, int8: bool = False
) -> list[Choice]:
    """List what may run here, the one that others must beat first.

    Args:
        engine: As of `fastest`.
        precision: As of `fastest`.
        onnx: Whether the model is of a kind that onnxruntime runs; named, it is asked.
        int8: Whether "auto" may lose a little: OpenVINO's int8 comes in.

    >>> candidates("openvino", "float32")
    [('openvino', 'float32')]
    """
    if precision not in ("auto", "float32", "bfloat16"):
        return [("openvino", precision)]
    precisions = ["float32", "bfloat16"] if precision == "auto" else [precision]
    if precision == "auto" and not openvino_engine.has_bfloat16():
        precisions = ["float32"]
    choices = [("openvino", x) for x in precisions]
    choices += [("openvino", "int8")] if int8 and precision == "auto" else []
    if onnx or engine == "onnxruntime":  # at par it stays: more threads help it more
        choices = [("onnxruntime", x) for x in precisions if x == "float32"] + choices
    return [x for x in choices if engine in ("auto", x[0])]


def faster(
    networks: Mapping[Choice, Network], *, clock: Callable[[], float] = perf_counter
) -> Choice:
    """Time one text of 16 tokens, by turns: the fastest if it wins clearly.

    Engines are compared by the 10th percentile of their times: other work on the
    machine can only add to them.

    Args:
        networks: To choose from, the one that others must beat first.
        clock: Seconds, monotonic.
    """
    tokens = Tokens(*np.ones((2, 1, N_TOKENS), np.int64))
    calls = {
        " ".join(choice): partial(network.encode, [tokens], "mean")
        for choice, network in networks.items()
    }
    memory = np.ones(_CACHES_BYTES // 4, np.float32)

    def rest() -> None:  # the threads of the one before stop, its weights leave
        memory.sum()
        sleep(0.005)

    samples = measure_interleaved(calls, repeats=50, before=rest, clock=clock)
    times = [float(np.quantile(sample, 0.1)) for sample in samples.values()]
    best = int(np.argmin(times))
    clear = times[best] <= (1 - LEAST_GAIN) * times[0]
    return list(networks)[best if clear else 0]
