"""Pre-trained encoders of several sizes side by side, each read as it was trained.

Four are carried by packages, from no layer to twelve; a reader's own join them. They
differ in their training, too, not in their size alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings import carried
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.own import OwnModel, find_models
from recsys_lib.embeddings.pretrained import MINILM_SHA256
from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.static import StaticEncoder
from recsys_lib.embeddings.stored_vectors import stored_vectors
from recsys_lib.embeddings.transformer import Encoder


@dataclass(frozen=True, eq=False)
class Rung:
    """An encoder on the ladder.

    Attributes:
        key: Short name, as in names of records.
        name: What it is, for tables.
        layers: Number of layers; 0 for a table of tokens.
        reading: Pooling, prompts, longest text in tokens, precision and engine.
        encoder: Embeds texts.
        identity: Hashes of its weights.
    """

    key: str
    name: str
    layers: int
    reading: Mapping[str, str]
    encoder: "Encoder | StaticEncoder | carried.E5Encoder"
    identity: object

    def read(self, texts: Sequence[str], *, role: Role = "document") -> Float32Array:
        """Embed each different text once on this kind of machine; vectors are cached.

        Args:
            texts: Any number.
            role: As of `Encoder.encode`.

        Returns:
            (n, dim) unit vectors.
        """
        return stored_vectors(self.encoder, self.identity, texts, role=role).vectors


def load_ladder(
    models: str = "", *, device: str = "cpu"
) -> tuple[list[Rung], dict[str, str]]:
    """Load the carried encoders and the reader's, and say which are left out.

    Args:
        models: Folders and Hugging Face ids, as of `own.book_encoder`.
        device: As of `load_encoder`; the twelve-layer rung runs on a CPU anyway.

    Returns:
        The rungs by their number of layers, and the reason for each that is missing.

    Raises:
        FileNotFoundError: If the reader's models are not found.
        ValueError: If one cannot be loaded.

    >>> [rung.layers for rung in load_ladder()[0]][:3]
    [0, 3, 6]
    """
    rungs, missing = [_minilm(device)], {}
    for key, load in {"table": _table, "l3": _l3, "e5": _e5}.items():
        try:
            rungs.append(load(device))
        except ImportError as error:
            missing[key] = str(error)
    for number, model in enumerate(find_models(models, say=lambda _: None), 1):
        rungs.append(_own(model, number, device))
    return sorted(rungs, key=lambda rung: (rung.layers, rung.key)), missing


def _table(_: str) -> Rung:
    encoder = carried.load_wordllama()
    sha256 = carried.WORDLLAMA_TABLE.sha256
    name = "WordLlama, a table"
    return Rung("table", name, 0, _reading(encoder), encoder, sha256)


def _l3(device: str) -> Rung:
    folder = carried.paraphrase_minilm_folder()
    encoder = load_encoder(folder, pooling="mean", max_length=128, device=device)
    sha256 = carried.PARAPHRASE_MINILM.sha256
    return Rung("l3", "paraphrase-MiniLM-L3-v2", 3, _reading(encoder), encoder, sha256)


def _minilm(device: str) -> Rung:
    encoder = load_encoder(device=device)
    how = _reading(encoder)
    return Rung("l6", "all-MiniLM-L6-v2", 6, how, encoder, MINILM_SHA256)


def _e5(_: str) -> Rung:
    encoder = carried.load_multilingual_e5()
    how = {"pooling": "mean", "prompts": "query: | passage: ", "tokens": "no limit"}
    how |= {"precision": "4 bits", "engine": "its own"}
    sha256 = carried.MULTILINGUAL_E5.sha256
    return Rung("e5", "multilingual-e5-small, 4 bits", 12, how, encoder, sha256)


def _own(model: OwnModel, number: int, device: str) -> Rung:
    encoder = load_encoder(model.folder, device=device)
    layers = 0 if isinstance(encoder, StaticEncoder) else _layers(model)
    how = _reading(encoder)
    return Rung(f"own_{number}", model.name, layers, how, encoder, model.sha256)


def _layers(model: OwnModel) -> int:
    """Number of layers by the names that architectures give it; 0 if there is none."""
    names = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
    found = (model.config.get(name) for name in names)
    return next((int(x) for x in found if x), 0)


def _reading(encoder: Encoder | StaticEncoder) -> dict[str, str]:
    prompts = [encoder.prompts.query, encoder.prompts.document]
    length = (encoder.tokenizer.truncation or {}).get("max_length", "no limit")
    return {
        "pooling": encoder.pooling,
        "prompts": " | ".join(prompts) if any(prompts) else "none",
        "tokens": str(length),
        "precision": getattr(encoder, "precision", "float32"),
        "engine": encoder.engine,
    }
