"""What a service reuses between requests: vectors of texts, and buffers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.recipe import Role
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.extras import needs

with needs("serving"):
    from cachetools import Cache

_Key = str | tuple[Role, str]


class CachedEncoder:
    """An encoder that caches the vectors of texts.

    Threads may share it. Two that miss the same text at the same time both encode it.

    Args:
        encoder: Encodes the texts that the cache lacks, in one call.
        cache: LRUCache, LFUCache or TTLCache of cachetools, used by nothing else. Its
            keys are texts, or (role, text) where a role is given.

    Attributes:
        hits, misses: Texts found and texts encoded; a text that repeats within a call
            is encoded at most once, and its repetitions are hits.

    Raises:
        ValueError: If the cache has no room.
        TypeError: If texts are one string and not a sequence of strings.

    >>> from cachetools import LRUCache
    >>> class Lengths:
    ...     dim = 1
    ...     def encode(self, texts, *, role=None):
    ...         return np.array([[len(text)] for text in texts], np.float32)
    >>> cached = CachedEncoder(Lengths(), LRUCache(100))
    >>> cached.encode(["a", "bc", "a"]).ravel().tolist(), cached.hits, cached.misses
    ([1.0, 2.0, 1.0], 1, 2)
    """

    def __init__(self, encoder: TextEncoder, cache: Cache[_Key, Float32Array]) -> None:
        if cache.maxsize < 1:
            raise ValueError(f"cache must have room for 1 or more; got {cache.maxsize}")
        self._encoder, self._cache, self._lock = encoder, cache, threading.Lock()
        self.hits = self.misses = 0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._encoder.dim

    def encode(self, texts: Sequence[str], *, role: Role | None = None) -> Float32Array:
        """(n, dim) vectors of n texts, in their order; a copy that may be changed."""
        if isinstance(texts, str):
            raise TypeError(f"texts must be a sequence of strings; got {texts!r}")
        with self._lock:
            known = {
                text: self._cache.get(_key(text, role)) for text in dict.fromkeys(texts)
            }
            missing = [text for text, vector in known.items() if vector is None]
            self.misses += len(missing)
            self.hits += len(texts) - len(missing)
        if missing:
            known.update(self._fill(missing, role))
        vectors = [known[text] for text in texts]
        return np.array(vectors, np.float32).reshape(len(texts), self.dim)

    def _fill(self, texts: list[str], role: Role | None) -> dict[str, Float32Array]:
        encoded = self._encoder.encode(texts, role=role)
        rows = [row.copy() for row in encoded]  # frees the batch
        for row in rows:
            row.setflags(write=False)
        fresh = dict(zip(texts, rows, strict=True))
        with self._lock:
            self._cache.update({_key(text, role): fresh[text] for text in fresh})
        return fresh


def _key(text: str, role: Role | None) -> _Key:
    return text if role is None else (role, text)


class BufferPool:
    """Arrays allocated once and reused, so that requests need not allocate.

    When all are in use, `acquire` allocates another one, which `release` drops. A
    buffer holds whatever its last user wrote.

    Args:
        shape: Of every buffer.
        size: Buffers in the pool, >= 0.
        dtype: Of every buffer.

    Attributes:
        requests, fresh: Calls of `acquire`, and those that had to allocate.

    Raises:
        ValueError: If `size` is negative, or `release` gets an array not in use.

    >>> pool = BufferPool((2, 3), size=1)
    >>> with pool.borrow() as first, pool.borrow() as second:
    ...     pool.requests, pool.fresh, second.shape
    (2, 1, (2, 3))
    """

    def __init__(
        self, shape: tuple[int, ...], *, size: int, dtype: DTypeLike = np.float32
    ) -> None:
        if size < 0:
            raise ValueError(f"size must be >= 0; got {size}")
        self._shape, self._dtype = shape, dtype
        self._idle = [np.full(shape, 0, dtype) for _ in range(size)]  # pages touched
        self._pooled = {id(buffer) for buffer in self._idle}
        self._in_use: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()
        self.requests = self.fresh = 0

    def acquire(self) -> NDArray[Any]:
        """Take a buffer; a new one is allocated if none is idle."""
        with self._lock:
            self.requests += 1
            self.fresh += not self._idle
            buffer = (
                self._idle.pop() if self._idle else np.empty(self._shape, self._dtype)
            )
            self._in_use[id(buffer)] = buffer
            return buffer

    def release(self, buffer: NDArray[Any]) -> None:
        """Give a buffer back."""
        with self._lock:
            if self._in_use.pop(id(buffer), None) is None:
                raise ValueError("buffer must come from this pool; got another array")
            if id(buffer) in self._pooled:
                self._idle.append(buffer)

    @contextmanager
    def borrow(self) -> Iterator[NDArray[Any]]:
        """Take a buffer for the length of a `with` block."""
        buffer = self.acquire()
        try:
            yield buffer
        finally:
            self.release(buffer)
