"""Load the book's language model, or the reader's own encoder in its place."""

import json
import math
import re
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.artifacts import cache_files, cache_folder, hashes_of, sha256_of
from recsys_lib.embeddings.architecture import Engine, is_plain_bert
from recsys_lib.embeddings.encoder import load_encoder, trained_length
from recsys_lib.embeddings.pretrained import model_folder, weights_file
from recsys_lib.embeddings.recipe import read_recipe
from recsys_lib.embeddings.static import StaticEncoder
from recsys_lib.embeddings.transformer import Encoder
from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores

LARGE_BYTES = 500_000_000  # of weights; a larger model is announced before it is read
_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")  # of Hugging Face: name, or owner/name
_WEIGHTS = (".safetensors", ".bin", ".onnx")


@dataclass(frozen=True)
class Description:
    """How a model is read.

    Attributes:
        n_parameters: Number of weights.
        dim: Length of a vector.
        pooling: As of `Encoder`.
        max_length: Longest text in tokens; the rest of a text is cut off.
        query_prompt: What is put before a query.
        document_prompt: What is put before a document.
        assumed: What the model's folder does not say; "" where it says all.
        engine: On a CPU, as of `load_encoder`.
    """

    n_parameters: int
    dim: int
    pooling: str
    max_length: int
    query_prompt: str = ""
    document_prompt: str = ""
    assumed: str = ""
    engine: str = ""


@dataclass(frozen=True)
class OwnModel:
    """A reader's model in a folder; its weights are not read until they are needed.

    Attributes:
        folder: With config.json, tokenizer.json and weights.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The Hugging Face id of a download, else the name of the folder."""
        if not self._is_download:
            return self.folder.name
        return self.folder.parents[1].name.removeprefix("models--").replace("--", "/")

    @property
    def revision(self) -> str:
        """The commit of a download, else the hash of the first file of weights."""
        if self._is_download:
            return self.folder.name
        first = sorted(_weights(self.folder))[0]
        return f"sha256 {sha256_of(first)[:16]}"

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Hash of each file that determines the vectors."""
        return hashes_of(self.folder)

    @cached_property
    def is_bert(self) -> bool:
        """Whether it is a BERT, whose heads, units and layers can be removed."""
        return is_plain_bert(self.config)

    @cached_property
    def config(self) -> dict[str, Any]:
        """What its config.json says; empty for a table without one."""
        file = read_recipe(self.folder).folder / "config.json"
        return json.loads(file.read_text("utf-8")) if file.is_file() else {}

    @property
    def _is_download(self) -> bool:
        return self.folder.parent.name == "snapshots"

    def describe(self) -> Description:
        """Load the model once and say how it is read; the answer is cached.

        Raises:
            ValueError: If the model cannot be loaded; the message names it.
        """

        def save(home: Path) -> None:
            text = json.dumps(asdict(_described(self.folder)))
            (home / "description.json").write_text(text)

        try:
            home = cache_files("descriptions", [self.sha256], save)
        except Exception as error:  # of whichever library reads the folder
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ValueError(f"{self.name} cannot be loaded: {reason}") from error
        return Description(**json.loads((home / "description.json").read_text()))


def book_encoder(
    models: str = "",
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    device: str = "cpu",
    max_length: int | None = None,
    n_threads: int | None = None,
    calibration: Sequence[str] | None = None,
) -> Encoder:
    """Load the first of the reader's models, or else the book's all-MiniLM-L6-v2.

    Args:
        models: Folders and Hugging Face ids, separated by spaces, as a shell reads
            them; empty for the book's model.
        engine: As of `load_encoder`. A reader's model that is not a BERT runs on the
            engine that suits it where a chapter asks for OpenVINO.
        precision: As of `load_encoder`.
        device: As of `load_encoder`.
        max_length: Longest text in tokens, or less if a reader's model takes less;
            None for as the model was trained.
        n_threads: As of `load_encoder`.
        calibration: As of `load_encoder`.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If it cannot be loaded, or is a table of tokens: the chapters take
            the layers of their model apart.

    >>> book_encoder().dim
    384
    """
    folder = book_model(models)
    if folder and engine == "openvino" and not OwnModel(folder).is_bert:
        engine = "auto"
    encoder = load_encoder(
        folder,
        engine=engine,
        precision=precision,
        device=device,
        max_length=max_length and shorter(folder, max_length),
        n_threads=n_threads,
        calibration=calibration,
    )
    if isinstance(encoder, StaticEncoder):
        raise ValueError(f"the first model must have layers; got a table in {folder}")
    return encoder


def book_model(models: str = "") -> Path | None:
    """Return the folder of the first of the reader's models; None without any.

    Args:
        models: As of `book_encoder`.

    Raises:
        FileNotFoundError: If there is no such model.

    >>> book_model("") is None
    True
    """
    names = shlex.split(models)
    return find_model(names[0], say=_ignore).folder if names else None


def find_models(models: str, *, say: Callable[[str], None] = print) -> list[OwnModel]:
    """Find each of the reader's models, without reading weights.

    Args:
        models: As of `book_encoder`.
        say: Called with the size of each large model.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If two of them have one name, or the quotes are not closed.
    """
    found = [find_model(name, say=say) for name in shlex.split(models)]
    names = [model.name for model in found]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names of models must differ; got {double[0]} twice")
    return found


def find_model(name: str, *, say: Callable[[str], None] = print) -> OwnModel:
    """Find a model in a folder, or download it from Hugging Face once.

    Args:
        name: Folder or Hugging Face id.
        say: Called with the size of a large model, before it is read.

    Raises:
        FileNotFoundError: If there is no such folder or id, the folder holds no model,
            or Hugging Face cannot be reached.
        ValueError: If its config.json is damaged.
    """
    path = Path(name).expanduser()
    folder = path.resolve() if path.is_dir() else _downloaded(name, say)
    weights_file(read_recipe(folder).folder)  # refuses what cannot be run
    weights = _weights(folder)
    n_bytes = sum(file.stat().st_size for file in weights)
    model = OwnModel(folder)
    if n_bytes > LARGE_BYTES:
        count = sum(map(_n_weights, weights))
        parameters = f"{count:,} parameters, " if count else ""
        gb = f"{n_bytes / 1e9:.1f} GB of weights"
        say(f"{model.name}: {parameters}{gb}; {_free()} for converted copies")
        if count:
            estimate = f"at most about {_text_ms(count):,.0f} ms"
            say(f"{model.name}: {estimate} for a short text")
    return model


def shorter(folder: Path | None, max_length: int) -> int:
    """Return max_length, or the longest text that a model takes if that is less.

    Args:
        folder: Of the model; None for the book's.
        max_length: In tokens, special ones included.

    >>> shorter(None, 64)
    64
    """
    return max_length if folder is None else min(max_length, trained_length(folder))


def _described(folder: Path) -> Description:
    encoder = load_encoder(folder)
    return Description(
        n_parameters=encoder.n_parameters,
        dim=encoder.dim,
        pooling=encoder.pooling,
        max_length=trained_length(folder),
        query_prompt=encoder.prompts.query,
        document_prompt=encoder.prompts.document,
        assumed=encoder.assumed,
        engine=encoder.engine,
    )


def _downloaded(name: str, say: Callable[[str], None]) -> Path:
    if not _ID.fullmatch(name):
        raise FileNotFoundError(f"there is no folder {name}")
    with needs("torch"):
        from huggingface_hub.errors import RepositoryNotFoundError
    try:
        with suppress(OSError):  # without a network a finished download still serves
            _announce_download(name, say)
        return model_folder(name)
    except RepositoryNotFoundError as error:
        neither = f"there is neither a folder {name} nor such a model on Hugging Face"
        raise FileNotFoundError(neither) from error
    except OSError as error:
        offline = f"there is no folder {name}, and Hugging Face cannot be reached"
        raise FileNotFoundError(offline) from error


def _announce_download(name: str, say: Callable[[str], None]) -> None:
    """Say the size of a large download before it begins."""
    from huggingface_hub import snapshot_download

    files = snapshot_download(name, allow_patterns=["*.safetensors"], dry_run=True)
    n_bytes = sum(file.file_size or 0 for file in files if file.will_download)
    if n_bytes > LARGE_BYTES:
        say(f"{name}: {n_bytes / 1e9:.1f} GB to download; {_free()}")


def _text_ms(n_weights: int, n_tokens: int = 16) -> float:
    """Estimate the time of a text, by the speed of a matrix product on these cores.

    A weight of a layer is multiplied and added once for each token; one of the token
    table is not, so the time may be less.
    """
    n = 1024
    factor = np.ones((n, n), np.float32)
    factor @ factor  # warm up
    began = time.perf_counter()
    factor @ factor
    per_s = 2 * n**3 / (time.perf_counter() - began) * usable_cores()
    return 1e3 * 2 * n_weights * n_tokens / per_s


def _ignore(_: str) -> None:
    """Print nothing: a chapter's output is a part of its page."""


def _free() -> str:
    """Free space where converted models are cached."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return f"{shutil.disk_usage(folder).free / 1e9:.0f} GB of disk are free"


def _weights(folder: Path) -> list[Path]:
    """Files of weights, in the folder or in those of its modules."""
    files = [*folder.glob("*"), *folder.glob("*/*")]
    return [file for file in files if file.suffix in _WEIGHTS]


def _n_weights(file: Path) -> int:
    """Number of weights in a safetensors file, by its header; 0 in other files."""
    if file.suffix != ".safetensors":
        return 0
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    return sum(math.prod(tensor["shape"]) for tensor in header.values())
