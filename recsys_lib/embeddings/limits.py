"""How many tokens of a text an encoder reads, and how many the text has."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer

from recsys_lib.arrays import IntArray
from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.tokens import strings, token_ids
from recsys_lib.embeddings.transformer import Encoder


def token_limit(encoder: Encoder) -> int:
    """Longest text in tokens, special ones included; the rest of a text is cut off.

    Raises:
        ValueError: If the encoder cuts no text.
    """
    truncation = encoder.tokenizer.truncation
    if truncation is None:
        raise ValueError("the encoder must have a limit; got one that cuts no text")
    return int(truncation["max_length"])


def with_limit(encoder: Encoder, max_length: int) -> Encoder:
    """Return the encoder with another limit; both share the network.

    Args:
        encoder: Is not changed.
        max_length: Special tokens included, at most what the model has positions for.

    Raises:
        ValueError: If max_length leaves no room between the special tokens.
    """
    if max_length < 3:
        raise ValueError(f"max_length must be at least 3; got {max_length}")
    tokenizer = Tokenizer.from_str(encoder.tokenizer.to_str())
    side = (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.enable_truncation(max_length, direction=side)
    return replace(encoder, tokenizer=tokenizer)


def token_counts(
    encoder: Encoder, texts: Sequence[str], *, role: Role | None = None
) -> IntArray:
    """Tokens of each text (n,), special ones and those beyond the limit included.

    Args:
        encoder: Its tokeniser counts.
        texts: n texts.
        role: Whose prompt is put before each text.

    Raises:
        TypeError: If not given a sequence of str.
    """
    tokenizer = Tokenizer.from_str(encoder.tokenizer.to_str())
    tokenizer.no_truncation()
    given, _ = encoder.with_prompt(strings(texts), role)
    return np.array([len(row) for row in token_ids(tokenizer, given)], dtype=np.int64)
