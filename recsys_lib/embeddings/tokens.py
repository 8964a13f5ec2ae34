"""Text to token ids, through the `tokenizers` library alone: no framework is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of texts, each padded on the right to the longest.

    Attributes:
        ids: (n, length) token ids.
        mask: (n, length), 1 for a token, 0 for padding.
    """

    ids: Ints
    mask: Ints


@dataclass(frozen=True)
class Batching:
    """How many texts make a batch; None sets no limit.

    Attributes:
        texts: Most of them.
        tokens: Most of these, padding included.
        ahead: Texts tokenised at a time, while the engine runs those before.
    """

    texts: int | None = 8
    tokens: int | None = None
    ahead: int | None = None


ON_CPU = Batching()
ON_GPU = Batching(texts=None, tokens=65_536, ahead=4096)


def batching_on(device: str) -> Batching:
    """Batches that keep a device busy, "cpu" or a GPU."""
    return ON_CPU if device == "cpu" else ON_GPU


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


def fitting_tokenizer(
    folder: Path, max_length: int, config: Mapping[str, Any]
) -> Tokenizer:
    """Load the tokeniser of a model that takes texts of this length."""
    limit = config.get("max_position_embeddings", 512)
    if max_length > limit:
        raise ValueError(f"max_length must be at most {limit}; got {max_length}")
    return load_tokenizer(folder, max_length)


def token_ids(
    tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True
) -> list[list[int]]:
    """Cut each text into token ids, between special tokens or without them.

    Raises:
        TypeError: If not given a sequence of str.
    """
    batch = tokenizer.encode_batch_fast(strings(texts), add_special_tokens=special)
    return [encoding.ids for encoding in batch]


def strings(texts: Sequence[str]) -> list[str]:
    """Make sure that texts are some str, not one.

    Raises:
        TypeError: If not given a sequence of str.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of str; got the str {texts[:40]!r}")
    given = list(texts)
    for i, text in enumerate(given):
        if not isinstance(text, str):
            raise TypeError(f"texts must be str; got {type(text).__name__} at {i}")
    return given


def like_lengths(
    rows: Sequence[Sequence[int]], batching: Batching
) -> Iterator[list[int]]:
    """Group rows of token ids into batches of like length, the longest first.

    Returns:
        Positions of the rows of each batch, which holds at least one.

    >>> rows = [[1], [1, 2, 3], [1, 2]]
    >>> [*like_lengths(rows, Batching(texts=2))]
    [[1, 2], [0]]
    >>> [*like_lengths(rows, Batching(texts=None, tokens=4))]
    [[1], [2, 0]]
    """
    order, start = sorted(range(len(rows)), key=lambda i: -len(rows[i])), 0
    while start < len(order):
        most = batching.texts or len(order)
        if batching.tokens is not None:
            longest = max(len(rows[order[start]]), 1)
            most = min(most, max(batching.tokens // longest, 1))
        yield order[start : start + most]
        start += most


def in_batches(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    batching: Batching,
    *,
    pad_id: int,
    cuts: list[list[int]],
) -> Iterator[Tokens]:
    """Tokenise and pad, noting in ``cuts`` which texts each batch is of.

    Args:
        tokenizer: Truncates, does not pad.
        texts: Any number.
        batching: Limits of a batch.
        pad_id: Fills up shorter texts.
        cuts: Gets the positions of the texts of each batch.

    Raises:
        TypeError: If not given a sequence of str.
        ValueError: If a text gives no token.
    """
    given = strings(texts)
    step = batching.ahead or max(len(given), 1)
    starts = range(0, len(given), step)
    parts = [given[start : start + step] for start in starts]
    for start, rows in zip(starts, _each_ahead(tokenizer, parts), strict=True):
        for cut in like_lengths(rows, batching):
            cuts.append([start + i for i in cut])
            yield pad([rows[i] for i in cut], pad_id)


def _each_ahead(
    tokenizer: Tokenizer, parts: Sequence[list[str]]
) -> Iterator[list[list[int]]]:
    """Token ids of each part, cut in a thread while the part before is used."""
    if len(parts) < 2:
        yield from (token_ids(tokenizer, part) for part in parts)
        return
    with ThreadPoolExecutor(1) as thread:  # the interpreter is free meanwhile
        coming = thread.submit(tokenizer.encode_batch_fast, parts[0])
        for part in [*parts[1:], []]:
            ready, coming = coming, thread.submit(tokenizer.encode_batch_fast, part)
            yield [encoding.ids for encoding in ready.result()]


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> Tokens:
    """Fill up rows of token ids to one batch as long as the longest.

    Raises:
        ValueError: If there is no row, or one is empty.

    >>> pad([[101, 7, 102], [101, 102]], 0).ids.tolist()
    [[101, 7, 102], [101, 102, 0]]
    """
    if len(rows) == 1 and rows[0]:  # a tenth of the time, for one request
        ids, mask = np.array([rows, [[1] * len(rows[0])]], dtype=np.int64)
        return Tokens(ids, mask)
    lengths = np.array([len(row) for row in rows])
    if not (lengths.size and lengths.all()):
        got = f"got {len(rows)} texts, {(lengths == 0).sum()} without"
        raise ValueError(f"texts must be some, each with a token; {got}")
    mask = np.arange(lengths.max()) < lengths[:, None]  # (n, length)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(rows), np.int64, lengths.sum())
    return Tokens(ids, mask.astype(np.int64))
