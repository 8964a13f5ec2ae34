"""What is known of the architectures of encoders, by their config.json."""

from collections.abc import Mapping
from typing import Any, Literal

Engine = Literal["auto", "torch", "openvino", "onnxruntime"]

# The vectors of these have been compared with those of torch, and agree.
OPENVINO = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "deberta-v2",
        "distilbert",
        "electra",
        "mpnet",
        "roberta",
        "xlm-roberta",
    }
)

# Of an encoder with a decoder, the encoder alone is loaded, by this class.
ENCODER_CLASSES = {
    "longt5": "LongT5EncoderModel",
    "mt5": "MT5EncoderModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
}

_WITHOUT_POSITIONS = {*ENCODER_CLASSES, "bloom", "mpt"}  # relative ones, of any length
_COUNT_FROM_PADDING = {  # the first position is pad_token_id + 1
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a BERT encoder with absolute positions and gelu."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )


def usable_positions(config: Mapping[str, Any]) -> int | None:
    """Longest text in tokens that a model has positions for; None for no limit.

    >>> usable_positions({"model_type": "roberta", "max_position_embeddings": 514})
    512
    """
    kind = config.get("model_type")
    if kind in _WITHOUT_POSITIONS:
        return None
    said = config.get("max_position_embeddings") or config.get("n_positions") or 512
    if kind not in _COUNT_FROM_PADDING:
        return int(said)
    pad_id = config.get("pad_token_id")
    return int(said) - (1 if pad_id is None else int(pad_id)) - 1


def engines_for(config: Mapping[str, Any]) -> tuple[tuple[Engine, ...], str]:
    """Engines that run a model, and why the others do not; "" where all do.

    >>> engines_for({"model_type": "qwen3"})[0]
    ('torch',)
    """
    kind = config.get("model_type")
    if is_plain_bert(config):
        return ("openvino", "onnxruntime", "torch"), ""
    if kind in OPENVINO and not config.get("is_decoder", False):
        return ("openvino", "torch"), "onnxruntime takes BERT with gelu alone"
    known = ", ".join(sorted(OPENVINO))
    return ("torch",), f"openvino is known to be right for {known}, not for {kind}"


def check_architecture(config: Mapping[str, Any]) -> None:
    """Refuse what is not an encoder of text that transformers itself can run.

    Raises:
        ValueError: If it has a decoder that cannot be left out, reads images or sound
            too, or says no kind.
    """
    kind = config.get("model_type")
    if not kind or {"text_config", "vision_config", "audio_config"} & config.keys():
        got = f"got {kind or 'no model_type'}"
        raise ValueError(f"config.json must be of an encoder of text alone; {got}")
    if config.get("is_encoder_decoder") and kind not in ENCODER_CLASSES:
        known = ", ".join(sorted(ENCODER_CLASSES))
        wanted = f"an encoder with a decoder must be one of {known}"
        raise ValueError(f"{wanted}; got {kind}")
