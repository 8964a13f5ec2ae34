"""A transformer as OpenVINO's graph: converted from torch, in eight bits if asked.

What was converted is kept on disk.
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import openvino

from recsys_lib.artifacts import cache_files, hashes_of
from recsys_lib.embeddings.tokens import Tokens, pad

NOTE = "recsys_lib"


def load_graph(folder: Path) -> openvino.Model:
    """Load a pre-trained model, converted from torch at its first use on this machine.

    Raises:
        ValueError: If the weights lack a part of the model.
    """

    def save(home: Path) -> None:
        from recsys_lib.embeddings.engines import (
            torch as torch_engine,  # seconds, for the one who converts
        )

        network = torch_engine.load_network(folder, device="cpu", precision="float32")
        _save(convert(network), home)

    return _load(cache_files("openvino", [hashes_of(folder)], save))


def load_int8_graph(folder: Path, calibration: Sequence[Tokens]) -> openvino.Model:
    """Load a pre-trained model as `quantized`, at its first use, by these texts.

    Raises:
        ValueError: If there is no text, or the weights lack a part of the model.
    """
    if not calibration:
        raise ValueError('calibration must be texts for "int8"; got none')

    def save(home: Path) -> None:
        _save(quantized(load_graph(folder), calibration), home)

    rows = [tokens.ids.tolist() for tokens in calibration]
    return _load(cache_files("openvino-int8", [hashes_of(folder), rows], save))


def convert(network: Any) -> openvino.Model:
    """Convert a `torch_engine.TorchNetwork` of float32 on the CPU, in memory.

    >>> from recsys_lib.embeddings.engines.torch import random_network
    >>> sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    >>> tiny = random_network(sizes, device="cpu", precision="float32", seed=0)
    >>> convert(tiny).output(0).partial_shape
    <PartialShape: [?,?,8]>
    """
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
    return describe(
        model,
        n_parameters=network.n_parameters,
        n_positions=getattr(network.model.config, "max_position_embeddings", 512),
        token_table=name,
    )


def describe(
    model: openvino.Model, *, n_parameters: int, n_positions: int, token_table: str
) -> openvino.Model:
    """Note in a model what its graph does not tell; saved with it."""
    model.set_rt_info(n_parameters, [NOTE, "n_parameters"])
    model.set_rt_info(n_positions, [NOTE, "n_positions"])
    model.set_rt_info(token_table, [NOTE, "token_table"])
    return model


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


def _save(model: openvino.Model, home: Path) -> None:
    openvino.save_model(model, home / "model.xml", compress_to_fp16=False)


def _load(home: Path) -> openvino.Model:
    return openvino.Core().read_model(home / "model.xml")


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the converters print nothing, and report nothing to their makers."""
    silent = {"CI": "true", "NNCF_CI": "true"}  # how both are told so
    with patch.dict(os.environ, silent), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, on shapes that vary
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
