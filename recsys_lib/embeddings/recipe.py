"""Read how a model was trained from what its folder says: modules, pooling, prompts.

A folder of sentence-transformers names its modules in modules.json. What cannot be run
as it was trained (a custom module, code of the folder's own) is refused by its name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recsys_lib.embeddings.pooling import ACTIVATIONS, POOLINGS, Dense, Pooling
from recsys_lib.embeddings.pretrained import read_weights

Role = Literal["query", "document"]

_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "StaticEmbedding")
_DOCUMENT_NAMES = ("document", "passage", "corpus")  # the first that is not empty
_NO_LENGTH = 1_000_000  # tokenisers without a limit name a number far above
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

# Settings that are not implemented: a folder may only hold the values listed first.
_USUAL_VECTOR = {
    "module_input_name": "sentence_embedding",
    "module_output_name": "sentence_embedding",
    "use_residual": False,
}
_USUAL_TRANSFORMER: dict[str, Any] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "query_expansion": None,
    "query_length": None,
    "document_length": None,
    "tokenizer_name_or_path": None,
    "processing_kwargs": {},
}
_HARMLESS = {"attn_implementation", "dtype", "torch_dtype", "use_cache", "padding_side"}


@dataclass(frozen=True)
class Prompts:
    """What is put before a text.

    Attributes:
        query: Before what is asked.
        document: Before what is searched.
        default: Before a text of no role.
    """

    query: str = ""
    document: str = ""
    default: str = ""

    def before(self, role: Role | None) -> str:
        """Return the prompt of a role.

        Raises:
            ValueError: If it is no role.
        """
        check_role(role)
        of_role = {"query": self.query, "document": self.document, None: self.default}
        return of_role[role]


def check_role(role: Role | None) -> None:
    """Refuse what is no role of a text.

    Raises:
        ValueError: If it is none.
    """
    if role not in ("query", "document", None):
        raise ValueError(f'role must be "query", "document" or None; got {role!r}')


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a folder says that its model was trained.

    Attributes:
        folder: Where the configuration, the tokeniser and the weights are.
        static: Whether the model is a table of token vectors, without layers.
        pooling: How the hidden states of a text become one vector.
        layers: Dense layers after pooling.
        normalized: Whether the model ends with a unit vector. An encoder's vectors are
            unit vectors in either case.
        prompts: What precedes a text.
        pool_prompt: Whether tokens of the prompt are pooled too.
        max_length: Tokens of a text that are read, special ones included; None where
            the folder does not say.
        lower_case: Whether texts are made lower case before they are tokenised.
        skip_unknown: Whether unknown tokens are left out, as model2vec does.
        assumed: What the folder does not say, in one line; "" where it says all.
    """

    folder: Path
    static: bool = False
    pooling: Pooling = "mean"
    layers: tuple[Dense, ...] = ()
    normalized: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    pool_prompt: bool = True
    max_length: int | None = None
    lower_case: bool = False
    skip_unknown: bool = False
    assumed: str = ""


def read_recipe(folder: Path) -> Recipe:
    """Read a model's folder: of sentence-transformers, transformers or model2vec.

    The side on which a tokeniser pads does not matter: texts are padded on the right,
    and their positions counted from the first token.

    Raises:
        FileNotFoundError: If the folder holds no model.
        ValueError: If it asks for what is not implemented, or for code of its own.
    """
    if not (folder / "modules.json").is_file():
        return _plain(folder)
    modules = _modules(folder)
    names = [name for name, _ in modules]
    first, home = modules[0]
    said = _said(folder / "config_sentence_transformers.json")
    _must_be({"model_type": "SentenceTransformer"}, said, folder)
    prompts = _prompts(said)
    if first == "StaticEmbedding":
        if {*names[1:]} - {"Normalize"}:
            got = f"got {', '.join(names)}"
            raise ValueError(
                f"StaticEmbedding may be followed by Normalize alone; {got}"
            )
        _must_be({"truncate_dim": None}, said, folder)
        unit = "Normalize" in names
        return Recipe(home, static=True, normalized=unit, prompts=prompts)
    if names[:2] != ["Transformer", "Pooling"] or {*names[2:]} - {"Dense", "Normalize"}:
        wanted = "modules must be Transformer, Pooling, then Dense and Normalize"
        raise ValueError(f"{wanted}; got {', '.join(names)} in {folder}")
    layers, unit = _layers(modules[2:])
    pooling, pool_prompt, dim = _pooling(modules[1][1], n_layers=len(layers))
    if said.get("truncate_dim"):
        layers += (_truncation(layers, dim, int(said["truncate_dim"])),)
    transformer = _transformer(home)
    return Recipe(
        folder=home,
        pooling=pooling,
        layers=layers,
        normalized=unit,
        prompts=prompts,
        pool_prompt=pool_prompt,
        max_length=transformer.get("max_seq_length") or _tokenizer_length(home),
        lower_case=bool(transformer.get("do_lower_case", False)),
    )


def _plain(folder: Path) -> Recipe:
    """Recipe of a folder that says nothing of pooling, prompts and layers."""
    if not (folder / "config.json").is_file():
        wanted = "model must be a folder with config.json, or with modules.json"
        found = ", ".join(sorted(x.name for x in folder.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"{wanted}; got {folder}, which holds {found}")
    config = _said(folder / "config.json")
    if config.get("model_type") == "model2vec":
        return Recipe(
            folder,
            static=True,
            normalized=bool(config.get("normalize", True)),
            max_length=config.get("max_length", 512),
            skip_unknown=True,
        )
    _check_no_code(folder)
    causal = str((config.get("architectures") or [""])[0]).endswith("ForCausalLM")
    pooling: Pooling = "mean"
    if causal and config.get("is_causal", True):
        pooling = "lasttoken"
    return Recipe(
        folder,
        pooling=pooling,
        max_length=_tokenizer_length(folder),
        assumed=f"no modules.json: {pooling} pooling and no prompt are assumed",
    )


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Name and folder of each module, in their order."""
    modules: list[tuple[str, Path]] = []
    for said in json.loads((folder / "modules.json").read_text("utf-8")):
        package, _, name = said["type"].rpartition(".")
        if name not in _MODULES or not package.startswith("sentence_transformers."):
            known = ", ".join(_MODULES)
            got = f"got {said['type']} in {folder}"
            raise ValueError(f"modules of a model must be {known}; {got}")
        home = folder / said["path"]
        if not home.resolve().is_relative_to(folder.resolve()):
            got = f"got {said['path']}"
            raise ValueError(f"modules of a model must be in its folder; {got}")
        modules.append((name, home))
    if not modules:
        raise ValueError(f"modules.json must name a module; got none in {folder}")
    return modules


def _prompts(said: Mapping[str, Any]) -> Prompts:
    prompts, default = said.get("prompts") or {}, said.get("default_prompt_name")
    if default is not None and default not in prompts:
        got = f"got {default!r} of {sorted(prompts)}"
        raise ValueError(f"default_prompt_name must be that of a prompt; {got}")
    of_documents = (prompts.get(name) for name in _DOCUMENT_NAMES)
    return Prompts(
        query=prompts.get("query") or "",
        document=next((x for x in of_documents if x), ""),
        default=prompts.get(default) or "",
    )


def _transformer(folder: Path) -> dict[str, Any]:
    """What sentence-transformers says of its first module."""
    _check_no_code(folder)
    files = sorted(folder.glob("sentence_*_config.json"))
    said = _said(files[0]) if files else {}
    _must_be(_USUAL_TRANSFORMER, said, folder)
    for name in ("model", "config", "tokenizer", "processor"):
        for end in ("args", "kwargs"):
            options = said.get(f"{name}_{end}") or {}
            _must_be(dict.fromkeys({*options} - _HARMLESS), options, folder)
    for modality, call in said.get("modality_config", {}).items():
        if (modality, call.get("method")) != ("text", "forward"):
            wanted = "inputs of a model must be texts without a chat template"
            raise ValueError(f"{wanted}; got {modality} in {files[0]}")
        _must_be({"method_output_name": "last_hidden_state"}, call, files[0])
    return said


def _check_no_code(folder: Path) -> None:
    """Refuse a model that needs code from its folder, or an adapter."""
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in _said(folder / name):
            got = f"got auto_map in {folder / name}, whose code is not executed"
            raise ValueError(f"a model must be of transformers' own code; {got}")
    if (folder / "adapter_config.json").is_file():
        got = f"got adapter_config.json in {folder}"
        raise ValueError(f"an adapter must be merged into its model; {got}")


def _pooling(folder: Path, *, n_layers: int) -> tuple[Pooling, bool, int]:
    """Kind of pooling, whether the prompt is pooled, and the width."""
    said = _said(folder / "config.json")
    modes = said.get("pooling_mode")
    if modes is None:
        modes = [kind for key, kind in _LEGACY_POOLING.items() if said.get(key)]
    modes = [modes] if isinstance(modes, str) else list(modes) or ["mean"]
    if modes == ["mean_sqrt_len_tokens"] and not n_layers:
        modes = ["mean"]  # of the same direction
    if len(modes) > 1 or modes[0] not in POOLINGS:
        known = ", ".join(POOLINGS)
        got = f"got {' and '.join(modes)} in {folder}"
        raise ValueError(f"pooling must be one of {known}; {got}")
    dim = said.get("embedding_dimension") or said.get("word_embedding_dimension") or 0
    return modes[0], bool(said.get("include_prompt", True)), int(dim)


def _layers(modules: Sequence[tuple[str, Path]]) -> tuple[tuple[Dense, ...], bool]:
    """Dense layers, and whether a Normalize is last."""
    layers: list[Dense] = []
    unit = False
    for name, folder in modules:
        said = _said(folder / "config.json")
        _must_be(_USUAL_VECTOR, said, folder)
        if name == "Dense":
            layers.append(_dense(folder, said, unit_input=unit))
        unit = name == "Normalize"
    return tuple(layers), unit


def _dense(folder: Path, said: Mapping[str, Any], *, unit_input: bool) -> Dense:
    package, _, name = said.get("activation_function", "torch.nn.Tanh").rpartition(".")
    if name not in ACTIVATIONS or not package.startswith("torch.nn"):
        known = ", ".join(ACTIVATIONS)
        got = f"got {package}.{name} in {folder}"
        raise ValueError(f"activation_function of Dense must be {known}; {got}")
    weights = read_weights(folder)
    weight = weights["linear.weight"].astype(np.float32)
    bias = weights.get("linear.bias", np.zeros(len(weight))).astype(np.float32)
    return Dense(weight, bias, name, unit_input)


def _truncation(layers: Sequence[Dense], dim: int, kept: int) -> Dense:
    """A layer that keeps the first dimensions of a vector."""
    n_in = len(layers[-1].weight) if layers else dim
    return Dense(np.eye(kept, n_in, dtype=np.float32), np.zeros(kept, np.float32))


def _tokenizer_length(folder: Path) -> int | None:
    said = _said(folder / "tokenizer_config.json").get("model_max_length")
    return int(said) if said and said < _NO_LENGTH else None


def _must_be(usual: Mapping[str, Any], said: Mapping[str, Any], where: Path) -> None:
    """Refuse settings that are not implemented."""
    for key, value in usual.items():
        if said.get(key, value) not in (value, None):
            got = f"got {said[key]!r} in {where}"
            raise ValueError(f"{key} of a model must be {value!r}; {got}")


def _said(file: Path) -> dict[str, Any]:
    """Content of a JSON file; empty if it is missing.

    Raises:
        ValueError: If it is no JSON object.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"file must be JSON; got {file}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"file must be a JSON object; got {file}")
    return content
