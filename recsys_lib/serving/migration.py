"""Change the encoder of a service without downtime.

The catalogue is embedded anew in the background, in batches that are kept on disk. The
old encoder and its index answer until the new index is complete; then one assignment
switches both. Killed in the middle, it resumes after the last complete batch.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np

from recsys_lib.arguments import whole_number
from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.ranking.faiss_store import Kind
from recsys_lib.ranking.fingerprint import Fingerprint
from recsys_lib.ranking.index import Index, build_index, load_index
from recsys_lib.serving.recommender import SwitchingRecommender


@dataclass(frozen=True, eq=False)
class Migration:
    """Embeds a catalogue with a new encoder, batch by batch, in a folder.

    Attributes:
        texts: Of the items, in the order of their codes.
        encoder: The new one.
        folder: Of the batches and, at the end, of the index; made if needed. Batches of
            other texts, or of another encoder, are not used.
        kind: As of `build_index`.
        device: Of the index, as of `build_index`.
        batch_size: Items of a batch, which is what a kill may lose.
        name: Of the encoder's model, for messages.

    Raises:
        TypeError, ValueError: If ``batch_size`` is no whole number of at least 1.
    """

    texts: Sequence[str]
    encoder: TextEncoder
    folder: Path
    kind: Kind = "flat"
    device: str = "cpu"
    batch_size: int = 256
    name: str = ""

    def __post_init__(self) -> None:
        whole_number("batch_size", self.batch_size)

    def run(self, on_batch: Callable[[int, int], object] | None = None) -> Index:
        """Embed what is not embedded yet, and build and save the index.

        Args:
            on_batch: Called before each batch with the number of complete ones and of
                all; a pause in it leaves the cores to requests.

        Returns:
            The index, that of the folder if it is complete already.
        """
        by = fingerprint_of(self.encoder, name=self.name)
        home = self._home(by)
        complete = home / "index"
        if complete.exists():
            return load_index(complete, device=self.device)
        starts = range(0, len(self.texts), self.batch_size)
        parts = []
        for number, start in enumerate(starts):
            if on_batch:
                on_batch(number, len(starts))
            batch = self.texts[start : start + self.batch_size]
            parts.append(self._batch(home / f"{number:06}.npy", batch))
        vectors = np.concatenate([np.empty((0, self.encoder.dim), np.float32), *parts])
        index = build_index(vectors, kind=self.kind, device=self.device, filled_by=by)
        index.save(complete)
        return index

    def _home(self, by: Fingerprint) -> Path:
        """Folder of these texts, empty if it held vectors of another encoder."""
        said = json.dumps([[*self.texts], self.kind, self.batch_size])
        home = self.folder / hashlib.sha256(said.encode()).hexdigest()[:16]
        file = home / "encoder.npz"
        if file.exists():
            with np.load(file, allow_pickle=False) as saved:
                before = Fingerprint.from_json(saved["said"].item(), saved["probes"])
            if by.agrees(before):
                return home
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _write(file, lambda x: np.savez(x, said=by.to_json(), probes=by.probes))
        return home

    def _batch(self, file: Path, texts: Sequence[str]) -> Float32Array:
        """Vectors (n, dim) of a batch: read where they are complete, else made."""
        if file.exists():
            found: Float32Array = np.load(file)
            return found
        vectors = self.encoder.encode(list(texts), role="document")
        _write(file, lambda stream: np.save(stream, vectors))
        return vectors


def migrate(
    service: SwitchingRecommender,
    migration: Migration,
    on_batch: Callable[[int, int], object] | None = None,
) -> None:
    """Embed the catalogue anew while the service answers, then switch it.

    Raises:
        ValueError: If the texts are not one for each item; the service is unchanged,
            as it is after any other error.
    """
    old = service.current
    if len(migration.texts) != len(old.item_ids):
        got = f"got {len(migration.texts)} for {len(old.item_ids)} items"
        raise ValueError(f"texts must be one for each item; {got}")
    index = migration.run(on_batch)
    service.current = replace(old, encoder=migration.encoder, index=index)


def migrate_in_background(
    service: SwitchingRecommender,
    migration: Migration,
    on_batch: Callable[[int, int], object] | None = None,
) -> "Future[None]":
    """Run `migrate` in a thread that ends with the process; return its future."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            migrate(service, migration, on_batch)
        except Exception as error:  # handed to the one who waits
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=work, daemon=True).start()
    return future


def _write(file: Path, save: Callable[[BinaryIO], object]) -> None:
    """Write a file that appears under its name when it is complete."""
    part = file.with_name(f".{file.name}.{uuid4().hex}.part")
    try:
        with part.open("wb") as stream:
            save(stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
