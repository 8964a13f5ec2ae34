"""Embed a catalogue by the workers of Ray Data, into a folder of Parquet files.

The catalogue is cut into parts. A worker embeds one part at a time and writes its file
whole or not at all, so no vectors wait in memory. A part whose worker died is made
again; a part that has its file is not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_lib.arrays import Float32Array, Float64Array, IntArray
from recsys_lib.embeddings.tokens import Batching, length_batches
from recsys_lib.extras import needs
from recsys_lib.scaling.ray_serving import CPUS_PER_ACTOR, require_ray

with needs("cluster"):
    import ray


if TYPE_CHECKING:
    from recsys_lib.embeddings.transformer import (
        TextEncoder,
    )  # seconds, for every worker

_PATIENCE_S = 300.0  # without any progress
_IN_FLIGHT = 2  # parts at a worker: one in work, one waiting


@dataclass(frozen=True, eq=False)
class EmbedReport:
    """What `embed_catalogue` did; the arrays hold the parts made now, in their order.

    Attributes:
        n_parts: Parts of the catalogue, those made by earlier calls included.
        began_s, ended_s: (n_made,) seconds since the call began.
        worker: (n_made,) process id of the worker that made each part.
    """

    n_parts: int
    began_s: Float64Array
    ended_s: Float64Array
    worker: IntArray


def embed_catalogue(
    ids: Sequence[str],
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    make_encoder: Callable[[], TextEncoder],
    *,
    made_with: str,
    n_workers: int = 2,
    part_size: int = 256,
    batch_size: int = 8,
) -> EmbedReport:
    """Embed the items that the folder lacks, their texts as documents.

    Args:
        ids: (n_items,) different ids.
        texts: (n_items,) one text for each id.
        folder: On storage that all machines share.
        make_encoder: Called once in each worker, as in `load_encoder(n_threads=1)`.
        made_with: Name of the encoder; a folder holds the vectors of one only.
        n_workers: Actors, >= 1. One that dies is replaced.
        part_size: Items in a part, >= 1.
        batch_size: Texts of similar length given to the encoder at once, >= 1: on a
            CPU one pass, which stays on the threads that a worker was given.

    Raises:
        ValueError: If an argument is out of its range, or the folder holds other
            Parquet files.
        RuntimeError: If Ray is not running, an encoder raises, or nothing progresses
            for five minutes.
    """
    start_s = time.time()
    require_ray()
    sizes = (n_workers, part_size, batch_size)
    if min(sizes) < 1:
        names = "n_workers, part_size and batch_size"
        raise ValueError(f"{names} must be >= 1; got {sizes}")
    if not len(ids) == len(set(ids)) == len(texts):
        got = f"got {len(ids)} ids, {len(set(ids))} different, for {len(texts)} texts"
        raise ValueError(f"ids must be different, one for each text; {got}")
    files = _files(Path(folder).absolute(), [*ids], [*texts], made_with, part_size)
    parts = [slice(i, i + part_size) for i in range(0, len(ids), part_size)]
    missing = [
        {"file": str(file), "id": [*ids[part]], "text": [*texts[part]]}
        for file, part in zip(files, parts, strict=True)
        if not file.exists()
    ]
    made = _make(missing, n_workers, make_encoder, batch_size)
    return EmbedReport(
        len(files),
        np.array([row["began_s"] - start_s for row in made]),
        np.array([row["ended_s"] - start_s for row in made]),
        np.array([row["worker"] for row in made], dtype=np.int64),
    )


def read_vectors(folder: str | os.PathLike[str]) -> tuple[list[str], Float32Array]:
    """Read the ids and the (n_items, dim) vectors that `embed_catalogue` wrote.

    Raises:
        ValueError: If there is no part in the folder.
    """
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise ValueError(f"folder must hold parts of a catalogue; got {folder}")
    table = pa.concat_tables(pq.read_table(file) for file in files)
    vectors = table["vector"].combine_chunks()
    rows = vectors.flatten().to_numpy().reshape(len(table), vectors.type.list_size)
    return table["id"].to_pylist(), rows


class _Worker:
    """Embeds one part of the catalogue and writes its Parquet file."""

    def __init__(
        self, make_encoder: Callable[[], TextEncoder], batch_size: int
    ) -> None:
        self._encoder, self._batch_size = make_encoder(), batch_size

    def __call__(self, part: dict[str, Any]) -> dict[str, Any]:
        began_s, file = time.time(), Path(part["file"])
        vectors = self._encode([*part["text"]])
        flat = pa.array(vectors.ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        pq.write_table(pa.table({"id": [*part["id"]], "vector": column}), partial)
        partial.replace(file)
        done = {"file": part["file"], "worker": os.getpid()}
        return {**done, "began_s": began_s, "ended_s": time.time()}

    def _encode(self, texts: list[str]) -> Float32Array:
        lengths = [len(text) for text in texts]
        batches = [*length_batches(lengths, Batching(self._batch_size))]
        encode = self._encoder.encode
        parts = [
            encode([texts[i] for i in batch], role="document") for batch in batches
        ]
        vectors = np.concatenate(parts).astype(np.float32)
        return vectors[np.argsort([i for batch in batches for i in batch])]


def _make(
    parts: list[dict[str, Any]],
    n_workers: int,
    make_encoder: Callable[[], TextEncoder],
    batch_size: int,
) -> list[dict[str, Any]]:
    """Let workers make the parts; what each of them reports, in the order of parts."""
    if not parts:
        return []
    from ray import data  # takes seconds
    from ray.data.exceptions import ExecutionTimeoutError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = _PATIENCE_S
    made = data.from_items(parts, override_num_blocks=len(parts)).map(
        _Worker,  # type: ignore[arg-type]  # it takes classes too
        fn_constructor_args=(make_encoder, batch_size),
        compute=data.ActorPoolStrategy(
            size=min(n_workers, len(parts)), max_tasks_in_flight_per_actor=_IN_FLIGHT
        ),
        num_cpus=CPUS_PER_ACTOR,
    )
    try:
        return sorted(made.iter_rows(), key=lambda row: str(row["file"]))
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise RuntimeError(f"each part must be embedded; got {error}") from error


def _files(
    home: Path, ids: list[str], texts: list[str], made_with: str, size: int
) -> list[Path]:
    """The file of each part, named by a hash of the whole catalogue and its number."""
    home.mkdir(parents=True, exist_ok=True)
    whole = json.dumps([ids, texts, made_with, size]).encode()
    key, n_parts = hashlib.sha256(whole).hexdigest()[:12], -(-len(ids) // size)
    files = [home / f"{key}-{part:06}.parquet" for part in range(n_parts)]
    foreign = {*home.glob("*.parquet")} - {*files}
    if foreign:
        raise ValueError(f"folder must hold these parts only; got {min(foreign)}")
    return files
