"""Choose the fastest engine for a model on this processor, measured once and cached.

Which library is fastest depends on the processor's matrix instructions (AMX, for
example). So a forward pass of one text is timed. Its weights are read from memory, as
in a service that does other work between two requests.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.artifacts import cache_files, hashes_of
from recsys_lib.embeddings.architecture import is_plain_bert
from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.latency.timing import measure_interleaved
from recsys_lib.machine import describe_machine

if TYPE_CHECKING:
    from recsys_lib.embeddings.engines.onnxruntime import OnnxNetwork
    from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork

Choice = tuple[str, str]  # engine, precision
_Networks = Mapping[Choice, "OpenVinoNetwork | OnnxNetwork"]

LEAST_COSINE = 0.99  # on average over the texts
MIN_GAIN = 0.05  # fraction of its time by which another must beat the default
N_TOKENS = 16
_FLUSH_BYTES = 96 << 20  # more than the caches of a processor hold


def fastest(
    folder: Path, engine: str, precision: str, calibration: Sequence[Tokens] = ()
) -> Choice:
    """Choose the engine and the precision that take the least time.

    Without calibration no choice loses quality; with it, "auto" may also take "int8"
    where its vectors have a mean cosine of at least 0.99 to the default's.

    Args:
        folder: Folder of a pre-trained model.
        engine: "openvino", "onnxruntime" or "auto".
        precision: "float32", "bfloat16", "int8" or "auto".
        calibration: Texts of the kind to encode, each alone.

    Returns:
        The only candidate, or else the one that was fastest on this processor when this
        model, code and versions of packages were first measured. It is timed with one
        thread, which depends little on the number of cores and on other work.
    """
    config = json.loads((folder / "config.json").read_text())
    onnx = is_plain_bert(config) and find_spec("onnxruntime") is not None
    if engine == "auto" and onnx and not find_spec("openvino"):
        engine = "openvino" if precision == "bfloat16" else "onnxruntime"
    choices = candidates(engine, precision, onnx=onnx, calibrated=bool(calibration))
    if len(choices) == 1:
        return choices[0]

    def measure(home: Path) -> None:
        networks = {
            choice: load_choice(folder, choice, n_threads=1, calibration=calibration)
            for choice in choices
        }
        chosen = faster(close(networks, calibration))
        (home / "choice.json").write_text(json.dumps(chosen))

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
) -> "OpenVinoNetwork | OnnxNetwork":
    """Load a model for an engine and a precision; openvino's "int8" is calibrated."""
    engine, precision = choice
    if engine == "onnxruntime":
        from recsys_lib.embeddings.engines.onnxruntime import load_onnx_network

        return load_onnx_network(folder, precision=precision, n_threads=n_threads)
    from recsys_lib.embeddings.engines.openvino import load_openvino_network

    return load_openvino_network(
        folder, precision=precision, n_threads=n_threads, calibration=calibration
    )


def candidates(
    engine: str, precision: str, *, onnx: bool = True, calibrated: bool = False
) -> list[Choice]:
    """List what may run here, the default first; another must beat it clearly.

    Args:
        engine: As of `fastest`.
        precision: As of `fastest`.
        onnx: Whether "auto" may take onnxruntime for this model.
        calibrated: Whether there are texts to calibrate on: openvino's int8 needs them,
            and only with them may "auto" lose a little quality.

    >>> candidates("openvino", "float32")
    [('openvino', 'float32')]
    >>> candidates("auto", "int8")
    [('onnxruntime', 'int8')]
    """
    if engine == "onnxruntime":
        asked = [precision] if precision != "auto" else ["float32", "int8"]
        return [("onnxruntime", x) for x in asked[: 1 + calibrated]]
    onnx = onnx and engine == "auto"
    if precision == "int8":
        by_openvino = [("openvino", "int8")] if calibrated or not onnx else []
        return by_openvino + [("onnxruntime", "int8")] * onnx
    from recsys_lib.embeddings.engines import openvino

    precisions = ["float32", "bfloat16"] if precision == "auto" else [precision]
    if precision == "auto" and not openvino.has_bfloat16():
        precisions = ["float32"]
    choices = [("openvino", x) for x in precisions]
    if onnx and "float32" in precisions:
        choices.insert(0, ("onnxruntime", "float32"))  # more threads help it more
    if calibrated and precision == "auto":
        choices += candidates("auto" if onnx else "openvino", "int8", calibrated=True)
    return choices


def close(networks: _Networks, texts: Sequence[Tokens]) -> _Networks:
    """Leave out int8 where its vectors are too far from those of the first network.

    Args:
        networks: The candidates, the default first.
        texts: Each alone.
    """
    default = next(iter(networks))
    int8 = [choice for choice in networks if choice[1] == "int8" != default[1]]
    vectors = {
        choice: np.concatenate(networks[choice].encode(texts, "mean"))
        for choice in ([default, *int8] if int8 else [])
    }
    far = [
        choice
        for choice in int8
        if (vectors[choice] * vectors[default]).sum(axis=1).mean() < LEAST_COSINE
    ]
    return {choice: x for choice, x in networks.items() if choice not in far}


def faster(
    networks: _Networks,
    *,
    clock: Callable[[], float] = perf_counter,
) -> Choice:
    """Time one text of 16 tokens, alternating; the fastest wins if it wins clearly.

    Engines are compared by the 10th percentile of their times, because other work on
    the machine can only add to them.

    Args:
        networks: The candidates, the default first.
        clock: Monotonic seconds.
    """
    tokens = Tokens(*np.ones((2, 1, N_TOKENS), np.int64))
    calls = {
        " ".join(choice): partial(network.encode, [tokens], "mean")
        for choice, network in networks.items()
    }
    memory = np.ones(_FLUSH_BYTES // 4, np.float32)

    def rest() -> None:  # the other's threads stop, its weights leave the caches
        memory.sum()
        sleep(0.005)

    samples = measure_interleaved(calls, repeats=50, before=rest, clock=clock)
    times = [float(np.quantile(sample, 0.1)) for sample in samples.values()]
    best = int(np.argmin(times))
    clear = times[best] <= (1 - MIN_GAIN) * times[0]
    return list(networks)[best if clear else 0]
