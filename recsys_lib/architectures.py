"""Encoders of exact architecture and random weights: for time and memory only."""

from collections.abc import Mapping

from recsys_lib import openvino_engine, torch_engine
from recsys_lib.embeddings import Encoder, Engine, fitting_tokenizer, resolve_options
from recsys_lib.tokens import minilm_folder

ARCHITECTURES: dict[str, dict[str, int]] = {
    name: {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }
    for name, layers, hidden, heads in [
        ("minilm-l6", 6, 384, 12),
        ("bert-base", 12, 768, 12),
        ("bert-large", 24, 1024, 16),
    ]
}
_VOCABULARY = 30522  # of every BERT in lower case


def random_encoder(
    dimensions: Mapping[str, int],
    *,
    engine: Engine = "auto",
    precision: str = "auto",
    device: str = "cpu",
    max_length: int = 128,
    seed: int = 0,
) -> Encoder:
    """Make a BERT of exact architecture and random weights.

    Args:
        dimensions: As `BertConfig` calls them, such as ``ARCHITECTURES["bert-base"]``.
        engine: As of `load_encoder`, like precision, device and max_length.
        precision: Of the weights; "auto" is float32 on the CPU.
        device: "cpu" or "cuda[:i]".
        max_length: Tokens kept of a text, by the carried tokeniser.
        seed: Of the weights.

    Raises:
        ValueError: If the vocabulary is too small, or an option is out of its range.

    Source: Devlin et al., BERT, NAACL 2019, doi 10.18653/v1/N19-1423.

    >>> random_encoder(ARCHITECTURES["bert-base"] | {"num_hidden_layers": 1}).dim
    768
    """
    engine, precision = resolve_options(engine, precision, "mean", device)
    tokenizer = fitting_tokenizer(minilm_folder(), max_length, dimensions)
    size = dimensions.get("vocab_size", _VOCABULARY)
    if size < (least := tokenizer.get_vocab_size()):
        raise ValueError(f"vocab_size must be at least {least}; got {size}")
    made = torch_engine.random_network(
        dimensions,
        device=device,
        precision=precision if engine == "torch" else "float32",
        seed=seed,
    )
    if engine == "torch":
        return Encoder(tokenizer, made)
    converted = openvino_engine.convert(made)
    if precision == "auto":
        precision = "float32"
    network = openvino_engine.OpenVinoNetwork(converted, precision=precision)
    return Encoder(tokenizer, network)
