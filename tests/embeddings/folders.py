"""Folders of small random models, as sentence-transformers writes them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = [
    "A red dress, a blue skirt",
    "space opera on a far planet",
    "Toy Story (1995)",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 1,
}
_GROUPED = SIZES | {"num_key_value_heads": 1, "head_dim": 8}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
# Model and configuration class are of these names; 62 positions or more can be used.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Bert": SIZES | {"max_position_embeddings": 64},
    "Roberta": SIZES | {"max_position_embeddings": 66},
    "XLMRoberta": SIZES | {"max_position_embeddings": 66},
    "Camembert": SIZES | {"max_position_embeddings": 66},
    "MPNet": SIZES | {"max_position_embeddings": 66},
    "DistilBert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 32,
        "pad_token_id": 1,
        "max_position_embeddings": 64,
    },
    "Albert": SIZES | {"embedding_size": 8, "max_position_embeddings": 64},
    "Electra": SIZES | {"embedding_size": 8, "max_position_embeddings": 64},
    "DebertaV2": SIZES
    | {
        "max_position_embeddings": 64,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
    },
    "ModernBert": SIZES
    | {
        "max_position_embeddings": 64,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "cls_token_id": 0,
        "sep_token_id": 2,
    },
    "T5": _T5 | {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    "Qwen3": _GROUPED | {"max_position_embeddings": 64},
    "Llama": _GROUPED | {"max_position_embeddings": 64},
    "Gemma3Text": _GROUPED | {"max_position_embeddings": 64, "sliding_window": 8},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
}


def small_tokenizer(template: str = "<s> $A </s>") -> Tokenizer:
    """A tokeniser of bytes and a few pairs: every text has tokens of its own."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [(token, i) for i, token in enumerate(SPECIAL)]
    tokenizer.post_processor = processors.TemplateProcessing(template, None, ids)
    return tokenizer


def save_tokenizer(folder: Path, tokenizer: Tokenizer, **options: Any) -> None:
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        **options,
    ).save_pretrained(folder)


def random_model(kind: str, **options: Any) -> Any:
    """A model of an architecture, far from its start: its texts differ."""
    sizes = ARCHITECTURES[kind] | {"vocab_size": 300} | options
    config = getattr(transformers, f"{kind}Config")(**sizes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.15 * torch.randn_like(weight)
    return model


def save_model(folder: Path, kind: str, template: str = "", **options: Any) -> Path:
    """A folder of transformers: weights, configuration and tokeniser."""
    decoder = kind in ("Qwen3", "Llama", "Gemma3Text", "GPT2", "T5")
    template = template or ("$A </s>" if decoder else "<s> $A </s>")
    random_model(kind).save_pretrained(folder, **options)
    side = "left" if kind in ("Qwen3", "Llama") else "right"
    save_tokenizer(
        folder, small_tokenizer(template), padding_side=side, model_max_length=40
    )
    return folder


def say(folder: Path, file: str, content: object) -> Path:
    """Write a JSON file of a folder."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def say_modules(folder: Path, *modules: tuple[str, str]) -> None:
    """Write modules.json: names and folders of modules."""
    content = [
        {
            "idx": i,
            "name": str(i),
            "path": path,
            "type": f"sentence_transformers.{name}",
        }
        for i, (name, path) in enumerate(modules)
    ]
    say(folder, "modules.json", content)
