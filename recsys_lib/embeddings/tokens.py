"""Text to token ids, in batches of similar length."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Sequenced

from recsys_lib.arrays import IntArray
from recsys_lib.embeddings.architecture import usable_positions
from recsys_lib.extras import needs

_SURROGATE = re.compile("[\ud800-\udfff]")
_VOCABULARIES = (  # of tokenisers older than tokenizer.json
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of texts, each padded on the right to the longest.

    Attributes:
        ids: (n, length) token ids.
        mask: (n, length), 1 for a token, 0 for padding.
        n_unpooled: Tokens at the start of each text that are read but not pooled.
    """

    ids: IntArray
    mask: IntArray
    n_unpooled: int = 0

    @property
    def pooled(self) -> IntArray:
        """(n, length), 1 for a token that is pooled."""
        if not self.n_unpooled:
            return self.mask
        pooled = self.mask.copy()
        pooled[:, : self.n_unpooled] = 0
        return pooled

    def each(self) -> "Iterator[Tokens]":
        """Each text alone, (1, its length), without padding."""
        for i, length in enumerate(self.mask.sum(axis=1)):
            row = np.s_[i : i + 1, :length]
            yield Tokens(self.ids[row], self.mask[row], self.n_unpooled)


@dataclass(frozen=True)
class Batching:
    """Limits of one batch; None means no limit.

    Attributes:
        max_texts: Number of texts.
        max_tokens: Number of tokens, padding included.
        chunk: Texts to tokenise at once, in a thread, while the engine runs the
            previous ones; None for all of them.
    """

    max_texts: int | None = 8
    max_tokens: int | None = None
    chunk: int | None = None


def batching_on(device: str) -> Batching:
    """Batches that keep a device busy, "cpu" or a GPU."""
    if device == "cpu":
        return Batching()
    return Batching(max_texts=None, max_tokens=65_536, chunk=4096)


def load_tokenizer(
    source: str | Path, max_length: int, *, lower_case: bool = False
) -> Tokenizer:
    """Load a tokeniser that truncates to ``max_length`` tokens and does not pad.

    Args:
        source: Folder with a tokenizer.json, or a Hugging Face id.
        max_length: Special tokens included, at least 3.
        lower_case: Whether texts are made lower case first.

    Raises:
        ValueError: If max_length leaves no room between the special tokens.
        FileNotFoundError: If the folder holds no tokeniser.
    """
    if max_length < 3:
        raise ValueError(f"max_length must be at least 3; got {max_length}")
    side = "right"
    if Path(source).is_dir():
        config = _tokenizer_config(Path(source))
        tokenizer = _tokenizer_in(Path(source), config)
        side = config.get("truncation_side", side)
    else:
        tokenizer = Tokenizer.from_pretrained(str(source))
    if lower_case:
        first = [Lowercase(), tokenizer.normalizer]
        tokenizer.normalizer = Sequenced([x for x in first if x is not None])
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, direction=side)
    return tokenizer


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}


def _tokenizer_in(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """Read tokenizer.json; transformers builds what is not in that file."""
    file = folder / "tokenizer.json"
    adds = config.get("add_bos_token"), config.get("add_eos_token")
    if file.is_file() and not any(adds):
        return Tokenizer.from_file(str(file))
    if not file.is_file() and not any((folder / x).is_file() for x in _VOCABULARIES):
        raise FileNotFoundError(f"folder must hold tokenizer.json; got {folder}")
    with needs("torch"):
        from transformers import AutoTokenizer
    built = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not getattr(built, "is_fast", False):
        raise ValueError(
            f"folder must hold a fast tokeniser; got {type(built).__name__}"
        )
    tokenizer: Tokenizer = built.backend_tokenizer
    return tokenizer


def load_model_tokenizer(
    folder: Path,
    max_length: int,
    config: Mapping[str, Any],
    *,
    lower_case: bool = False,
) -> Tokenizer:
    """Load the tokeniser of a model and check max_length against its positions."""
    limit = usable_positions(config)
    if limit is not None and max_length > limit:
        raise ValueError(f"max_length must be at most {limit}; got {max_length}")
    return load_tokenizer(folder, max_length, lower_case=lower_case)


def prompt_length(tokenizer: Tokenizer, prompt: str) -> int:
    """Tokens that a prompt puts before a text, with the special ones before it."""
    encoding = tokenizer.encode(prompt)
    return len(encoding.ids) - sum(encoding.special_tokens_mask[-1:])


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
    """Check that texts are a sequence of str and not one str; return them as a list.

    Raises:
        TypeError: If not given a sequence of str.
        ValueError: If a text holds half a surrogate pair, which no encoding can write.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of str; got the str {texts[:40]!r}")
    given = list(texts)
    for i, text in enumerate(given):
        if not isinstance(text, str):
            raise TypeError(f"texts must be str; got {type(text).__name__} at {i}")
        if not text.isascii() and (half := _SURROGATE.search(text)):
            got = f"got {half[0]!r} at character {half.start()} of text {i}"
            raise ValueError(f"texts must be Unicode, in whole surrogate pairs; {got}")
    return given


def length_batches(lengths: Sequence[int], batching: Batching) -> Iterator[list[int]]:
    """Group texts of similar length into batches, the longest first.

    Args:
        lengths: Length of each text, in tokens where ``batching`` limits tokens.
        batching: Limits of a batch, which holds at least one text.

    Returns:
        Positions of the texts of each batch.

    >>> [*length_batches([1, 3, 2], Batching(max_texts=2))]
    [[1, 2], [0]]
    >>> [*length_batches([1, 3, 2], Batching(max_texts=None, max_tokens=4))]
    [[1], [2, 0]]
    """
    order, start = sorted(range(len(lengths)), key=lambda i: -lengths[i]), 0
    while start < len(order):
        size = batching.max_texts or len(order)
        if batching.max_tokens is not None:
            longest = max(lengths[order[start]], 1)
            size = min(size, max(batching.max_tokens // longest, 1))
        yield order[start : start + size]
        start += size


def token_batches(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    batching: Batching,
    *,
    pad_id: int,
    n_unpooled: int = 0,
) -> Iterator[tuple[list[int], Tokens]]:
    """Tokenise texts into padded batches of similar length.

    Args:
        tokenizer: Truncates, does not pad.
        texts: Any number.
        batching: Limits of a batch.
        pad_id: Token id that fills up shorter texts.
        n_unpooled: As of `Tokens`.

    Returns:
        For each batch the positions of its texts, and their tokens.

    Raises:
        TypeError: If not given a sequence of str.
        ValueError: If a text gives no token.
    """
    given = strings(texts)
    size = batching.chunk or max(len(given), 1)
    starts = range(0, len(given), size)
    chunks = [given[start : start + size] for start in starts]
    for start, rows in zip(starts, _tokenized(tokenizer, chunks), strict=True):
        for batch in length_batches([len(row) for row in rows], batching):
            part = [rows[i] for i in batch]
            yield [start + i for i in batch], pad(part, pad_id, n_unpooled=n_unpooled)


def _tokenized(
    tokenizer: Tokenizer, chunks: Sequence[list[str]]
) -> Iterator[list[list[int]]]:
    """Token ids of each chunk; a thread tokenises the next one meanwhile."""
    if len(chunks) < 2:
        yield from (token_ids(tokenizer, chunk) for chunk in chunks)
        return
    with ThreadPoolExecutor(1) as thread:  # the tokeniser releases the GIL
        coming = thread.submit(token_ids, tokenizer, chunks[0])
        for chunk in [*chunks[1:], []]:
            ready, coming = coming, thread.submit(token_ids, tokenizer, chunk)
            yield ready.result()


def pad(rows: Sequence[Sequence[int]], pad_id: int, *, n_unpooled: int = 0) -> Tokens:
    """Pad rows of token ids to the longest one.

    Raises:
        ValueError: If there is no row, or a row is empty.

    >>> pad([[101, 7, 102], [101, 102]], 0).ids.tolist()
    [[101, 7, 102], [101, 102, 0]]
    """
    if len(rows) == 1 and rows[0]:  # ten times faster, for one request
        ids, mask = np.array([rows, [[1] * len(rows[0])]], dtype=np.int64)
        return Tokens(ids, mask, n_unpooled)
    lengths = np.array([len(row) for row in rows])
    if not (lengths.size and lengths.all()):
        got = f"got {len(rows)} texts, {(lengths == 0).sum()} without"
        raise ValueError(f"there must be texts, each with a token; {got}")
    mask = np.arange(lengths.max()) < lengths[:, None]  # (n, length)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(rows), np.int64, lengths.sum())
    return Tokens(ids, mask.astype(np.int64), n_unpooled)
