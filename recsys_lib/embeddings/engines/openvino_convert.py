"""Convert a transformer from torch to OpenVINO, quantise it to int8, cache both."""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from recsys_lib.artifacts import cache_files, hashes_of
from recsys_lib.embeddings.architecture import usable_positions
from recsys_lib.embeddings.tokens import Tokens, pad
from recsys_lib.extras import needs

with needs("openvino"):
    import openvino

if TYPE_CHECKING:
    from recsys_lib.embeddings.engines.torch import TorchNetwork

METADATA = "recsys_lib"  # section of a model's runtime info


def load_graph(folder: Path) -> openvino.Model:
    """Load a pre-trained model; its first use on this machine converts it from torch.

    Raises:
        ValueError: If weights of the model are missing.
    """

    def save(home: Path) -> None:
        from recsys_lib.embeddings.engines.torch import load_torch_network  # seconds

        _save(convert_to_openvino(load_torch_network(folder)), home)

    return _load(cache_files("openvino", [hashes_of(folder)], save))


def load_int8_graph(folder: Path, calibration: Sequence[Tokens]) -> openvino.Model:
    """Load a pre-trained model in int8; its first use quantises it on these texts.

    Raises:
        ValueError: If there is no text, or weights of the model are missing.
    """
    if not calibration:
        raise ValueError('calibration must be texts for "int8"; got none')

    def save(home: Path) -> None:
        _save(_quantised(load_graph(folder), calibration), home)

    rows = [tokens.ids.tolist() for tokens in calibration]
    return _load(cache_files("openvino-int8", [hashes_of(folder), rows], save))


def convert_to_openvino(network: "TorchNetwork") -> openvino.Model:
    """Convert a network of float32 on the CPU, in memory.

    >>> from recsys_lib.embeddings.engines.torch import random_torch_network
    >>> sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    >>> convert_to_openvino(random_torch_network(sizes)).output(0).partial_shape
    <PartialShape: [?,?,8]>
    """
    with needs("torch"):
        import torch

    from recsys_lib.embeddings.engines.torch import quiet_transformers

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
    return add_metadata(
        model,
        n_parameters=network.n_parameters,
        n_positions=usable_positions(network.model.config.to_dict()) or 512,
        token_table=name,
    )


def add_metadata(
    model: openvino.Model, *, n_parameters: int, n_positions: int, token_table: str
) -> openvino.Model:
    """Store metadata in the model's runtime info, which is saved with it."""
    model.set_rt_info(n_parameters, [METADATA, "n_parameters"])
    model.set_rt_info(n_positions, [METADATA, "n_positions"])
    model.set_rt_info(token_table, [METADATA, "token_table"])
    return model


def constants(model: openvino.Model) -> list[Any]:
    """Weights and other fixed arrays of a graph."""
    return [op for op in model.get_ops() if op.get_type_name() == "Constant"]


def _quantised(model: openvino.Model, calibration: Sequence[Tokens]) -> openvino.Model:
    """Quantise matrix products to int8, their ranges measured on single texts."""
    with _quiet():
        with needs("openvino"):
            import nncf

        # without bias correction: a third of the time, no cosine changed by 1e-4
        options = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
        return nncf.quantize(
            model,
            nncf.Dataset([[x.ids, x.mask] for x in calibration]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calibration),
            advanced_parameters=options,
        )


def _save(model: openvino.Model, home: Path) -> None:
    openvino.save_model(model, home / "model.xml", compress_to_fp16=False)


def _load(home: Path) -> openvino.Model:
    return openvino.Core().read_model(home / "model.xml")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters from printing, and from sending telemetry."""
    silent = {"CI": "true", "NNCF_CI": "true"}  # switch off the telemetry of both
    with patch.dict(os.environ, silent), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of variable shapes
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
