"""Load a pre-trained encoder, as it was trained, on the engine that suits it.

A transformer runs on one of three engines: "openvino" or "onnxruntime" on a CPU;
"torch" on a GPU, and on a CPU as the reference and for what the others cannot run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from recsys_lib.arguments import whole_number
from recsys_lib.embeddings.architecture import (
    Engine,
    check_architecture,
    engines_for,
    usable_positions,
)
from recsys_lib.embeddings.pooling import POOLINGS, Pooling
from recsys_lib.embeddings.pretrained import model_folder, weights_file
from recsys_lib.embeddings.recipe import Recipe, read_recipe
from recsys_lib.embeddings.static import StaticEncoder, load_static
from recsys_lib.embeddings.tokens import (
    Tokens,
    batching_on,
    load_model_tokenizer,
    pad,
    token_ids,
)
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs

if TYPE_CHECKING:
    from recsys_lib.embeddings.engines.onnx_file import OnnxFileNetwork
    from recsys_lib.embeddings.engines.onnxruntime import OnnxNetwork
    from recsys_lib.embeddings.engines.openvino import OpenVinoNetwork
    from recsys_lib.embeddings.engines.torch import TorchNetwork

    _Network = OpenVinoNetwork | OnnxNetwork | OnnxFileNetwork | TorchNetwork

PRECISIONS = {
    "torch": ("float32", "bfloat16", "float16"),
    "openvino": ("float32", "bfloat16", "int8"),
    "onnxruntime": ("float32", "int8"),
}

_CARRIED_LENGTH = 128  # all-MiniLM-L6-v2 was trained on texts of 128 tokens
_DEFAULT_LENGTH = 512  # of a model that names no length and has no positions
_NO_LIMIT = 1_000_000  # tokens of a text: a table has no positions


@overload
def load_encoder(
    model: None = None,
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    pooling: Pooling | None = None,
    device: str = "cpu",
    max_length: int | None = None,
    n_threads: int | None = None,
    calibration: Sequence[str] | None = None,
) -> Encoder: ...


@overload
def load_encoder(
    model: str | Path | None,
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    pooling: Pooling | None = None,
    device: str = "cpu",
    max_length: int | None = None,
    n_threads: int | None = None,
    calibration: Sequence[str] | None = None,
) -> Encoder | StaticEncoder: ...


def load_encoder(
    model: str | Path | None = None,
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    pooling: Pooling | None = None,
    device: str = "cpu",
    max_length: int | None = None,
    n_threads: int | None = None,
    calibration: Sequence[str] | None = None,
) -> Encoder | StaticEncoder:
    """Load a pre-trained encoder, by default the fastest that loses no quality.

    Pooling, prompts, dense layers and the longest text are read from the model's
    folder, as `recipe.read_recipe` finds them. Code that a model carries is never
    executed, and a model that needs it is refused.

    Args:
        model: Hugging Face id or a folder: of sentence-transformers, transformers or
            model2vec; None for the carried all-MiniLM-L6-v2.
        engine: "openvino" or "onnxruntime" (CPU), "torch", or "auto": on a GPU torch;
            on a CPU the faster of the first two, as `engines.choice` measured it, or
            torch where these cannot run the model (`Encoder.engine_reason`).
        precision: "float32", "bfloat16" (torch, openvino), "float16" (torch), "int8"
            (openvino, onnxruntime), or "auto": on a CPU the fastest of float32,
            bfloat16 and, with calibration, int8; on a GPU bfloat16.
        pooling: As of `pooling.pool`; None for as the model was trained.
        device: "cpu" or "cuda[:i]".
        max_length: Longest text in tokens, special tokens included; the rest of a text
            is cut off. None for as the model was trained, 128 for the carried model.
        n_threads: Threads of a forward pass on openvino and onnxruntime; None for all
            cores.
        calibration: A few hundred texts of the kind to encode, which "int8" of
            openvino needs. With them "auto" may choose int8 where its vectors of these
            texts have a mean cosine of at least 0.99 to those of the default.

    Returns:
        An encoder of unit vectors; `static.StaticEncoder` for a table of tokens, which
        has no engine.

    Raises:
        TypeError: If a number of tokens or threads is no whole number.
        ValueError: If an option is out of its range, weights of the model are missing,
            the model asks for what is not implemented, or the carried weights are not
            those of the publication.
        OSError: If the model is not found.
        ImportError: If the engine is not installed.

    Source: Wang et al., MiniLM, NeurIPS 2020, arXiv 2002.10957.

    >>> load_encoder().n_parameters
    22713216
    """
    engine, precision = resolve_options(engine, precision, device)
    _check_numbers(max_length=max_length, n_threads=n_threads)
    recipe = read_recipe(model_folder(model))
    _check_pooling(pooling, recipe)
    if recipe.static:
        return load_static(recipe, max_length=max_length)
    config = json.loads((recipe.folder / "config.json").read_text("utf-8"))
    engine, precision, reason = _engine_for(recipe, config, engine, precision)
    if max_length is None:
        max_length = _CARRIED_LENGTH if model is None else _trained(recipe, config)
    tokenizer = load_model_tokenizer(
        recipe.folder, max_length, config, lower_case=recipe.lower_case
    )
    pad_id = config.get("pad_token_id") or 0
    if engine == "torch":
        network: _Network = _torch_network(recipe.folder, device, precision)
    else:
        rows = [pad([row], pad_id) for row in token_ids(tokenizer, calibration or [])]
        network = _cpu_network(
            recipe.folder, (engine, precision), calibration=rows, n_threads=n_threads
        )
    return Encoder(
        tokenizer,
        network,
        pooling or recipe.pooling,
        pad_id,
        batching_on(device),
        layers=recipe.layers,
        prompts=recipe.prompts,
        pool_prompt=recipe.pool_prompt,
        engine_reason=reason,
        assumed=recipe.assumed if pooling is None else "",
    )


def _check_numbers(**given: int | None) -> None:
    """Refuse options that are neither None nor whole numbers from 1."""
    for name, value in given.items():
        if value is not None:
            whole_number(name, value)


def _check_pooling(pooling: Pooling | None, recipe: Recipe) -> None:
    """Refuse a pooling that is unknown, or that a table of tokens does not have."""
    if pooling not in (None, *POOLINGS):
        wanted = ", ".join(POOLINGS)
        raise ValueError(f"pooling must be one of {wanted}; got {pooling!r}")
    if recipe.static and pooling not in (None, "mean"):
        got = f"got {pooling!r} for {recipe.folder}"
        raise ValueError(f"pooling of a token table must be mean; {got}")


def _torch_network(folder: Path, device: str, precision: str) -> TorchNetwork:
    from recsys_lib.embeddings.engines.torch import load_torch_network  # seconds

    return load_torch_network(folder, device=device, precision=precision)


def _cpu_network(
    folder: Path,
    choice: tuple[str, str],
    *,
    calibration: Sequence[Tokens],
    n_threads: int | None,
) -> OpenVinoNetwork | OnnxNetwork | OnnxFileNetwork:
    """Load weights of ONNX for ONNX Runtime, others for the faster engine."""
    if (weights := weights_file(folder)).suffix == ".onnx":
        from recsys_lib.embeddings.engines.onnx_file import OnnxFileNetwork

        if choice[1] == "int8":
            got = f"got 'int8' for {weights}"
            raise ValueError(f"precision of weights in ONNX must be as they are; {got}")
        return OnnxFileNetwork(weights, n_threads=n_threads)
    from recsys_lib.embeddings.engines.choice import fastest, load_choice

    choice = fastest(folder, *choice, calibration)
    return load_choice(folder, choice, n_threads=n_threads, calibration=calibration)


def trained_length(folder: Path) -> int:
    """Tokens of the longest text that a model was trained on, and has positions for.

    Args:
        folder: Of the model.

    Raises:
        OSError: If it holds no model.
        ValueError: As of `read_recipe`.
    """
    recipe = read_recipe(folder)
    if recipe.static:
        return recipe.max_length or _NO_LIMIT
    config = json.loads((recipe.folder / "config.json").read_text("utf-8"))
    return _trained(recipe, config)


def _trained(recipe: Recipe, config: Mapping[str, Any]) -> int:
    """Longest text as trained, at most what the positions allow."""
    said, limit = recipe.max_length, usable_positions(config)
    if said is None:
        return _DEFAULT_LENGTH if limit is None else limit
    return said if limit is None else min(said, limit)


def _engine_for(
    recipe: Recipe, config: Mapping[str, Any], engine: Engine, precision: str
) -> tuple[Engine, str, str]:
    """Engine and precision for a model, and why no other engine runs it."""
    able, reason = _able(recipe, config)
    if engine not in ("auto", *able):
        wanted = f"engine must be {' or '.join(able)}: {reason}"
        raise ValueError(f"{wanted}; got {engine!r} for {recipe.folder}")
    if engine == "auto" and len(able) == 1:
        (engine,) = able
        engine, precision = resolve_options(engine, precision, "cpu")
    return engine, precision, reason


def _able(recipe: Recipe, config: Mapping[str, Any]) -> tuple[tuple[Engine, ...], str]:
    """Engines that run a model, and why others do not."""
    check_architecture(config)
    if weights_file(recipe.folder).suffix == ".onnx":
        return ("onnxruntime",), "the folder holds weights in ONNX alone"
    return engines_for(config)


def calibration_sample(texts: Sequence[str], *, n: int = 200) -> list[str]:
    """Draw n of the texts for `load_encoder` to calibrate on, the same each time.

    >>> calibration_sample(["a", "b", "c"], n=2) == calibration_sample("abc", n=2)
    True
    """
    rng = np.random.default_rng(0)
    return [texts[i] for i in rng.permutation(len(texts))[:n]]


def resolve_options(engine: Engine, precision: str, device: str) -> tuple[Engine, str]:
    """Check options and replace "auto" where no measurement is needed."""
    if engine == "auto" and (precision == "float16" or device != "cpu"):
        engine = "torch"
    if engine not in ("auto", *PRECISIONS):
        names = ", ".join(PRECISIONS)
        raise ValueError(f"engine must be one of auto, {names}; got {engine!r}")
    offered = PRECISIONS["openvino" if engine == "auto" else engine]
    if precision not in ("auto", *offered):
        allowed = ", ".join(offered)
        raise ValueError(f"precision of {engine} must be {allowed}; got {precision!r}")
    if device != "cpu":
        _check_gpu(engine, device)
    if precision == "auto" and engine == "torch":
        precision = "float32" if device == "cpu" else "bfloat16"
    return engine, precision


def _check_gpu(engine: str, device: str) -> None:
    with needs("torch"):
        import torch
    if engine != "torch" or not torch.cuda.is_available():
        wanted = f'device must be "cpu" for {engine} or without a GPU'
        raise ValueError(f"{wanted}; got {device!r}")
