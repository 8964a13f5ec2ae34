"""A transformer as OpenVINO's graph: converted from torch, in eight bits if asked.

What was converted is kept on disk under a hash of all that it was made of, so that a
stale copy is never found; a damaged one is made again.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import openvino

from recsys_lib import conversion
from recsys_lib.kept import keep, sha256_of
from recsys_lib.tokens import Tokens, pad

NOTE = "recsys_lib"


def convert(network: Any) -> openvino.Model:
    """Convert a `torch_engine.TorchNetwork` of float32 on the CPU, in memory.

    >>> from recsys_lib.torch_engine import random_network
    >>> sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    >>> tiny = random_network(sizes, device="cpu", precision="float32", seed=0)
    >>> convert(tiny).output(0).partial_shape
    <PartialShape: [?,?,8]>
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
        for c in constants(model)
        if list(c.shape) == list(table.shape) and np.array_equal(c.data, table)
    )
    return describe(
        model,
        n_parameters=network.n_parameters,
        n_positions=getattr(network.model.config, "max_position_embeddings", 512),
        token_table=name,
    )


def made_by() -> list[str]:
    """Name what turns weights into a model here: this code, the library's version."""
    code = [sha256_of(Path(str(x))) for x in (__file__, conversion.__file__)]
    return [*code, openvino.__version__]


def describe(
    model: openvino.Model, *, n_parameters: int, n_positions: int, token_table: str
) -> openvino.Model:
    """Note in a model what its graph does not tell; saved with it."""
    model.set_rt_info(n_parameters, [NOTE, "n_parameters"])
    model.set_rt_info(n_positions, [NOTE, "n_positions"])
    model.set_rt_info(token_table, [NOTE, "token_table"])
    return model


def keep_model(
    made_of: Sequence[str], make: Callable[[], openvino.Model]
) -> openvino.Model:
    """Return a converted model made before of the same, or make it now and keep it."""

    def save(folder: Path) -> None:
        openvino.save_model(make(), folder / "model.xml", compress_to_fp16=False)

    return openvino.Core().read_model(keep("openvino", made_of, save) / "model.xml")


def constants(model: openvino.Model) -> list[Any]:
    """Weights and other fixed arrays of a graph."""
    return [op for op in model.get_ops() if op.get_type_name() == "Constant"]


def quantized(model: openvino.Model, calibration: Sequence[Tokens]) -> openvino.Model:
    """Turn matrix products to int8, their ranges learned from single texts."""
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
