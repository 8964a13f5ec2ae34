"""A catalogue embedded in parts by the workers of Ray Data, into a folder of Parquet.

Workers pull: each reads, embeds and writes one part after the other, whole or not at
all, and is handed no more than it may have in flight. So no vector waits in memory; a
part that died with its worker is made again, and what is there is not.
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
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from recsys_lib.arrays import Float32Array
from recsys_lib.embeddings.tokens import Batching, length_batches
from recsys_lib.scaling.ray_serving import CPUS, check_ray

if TYPE_CHECKING:
    from recsys_lib.embeddings.encoder import TextEncoder  # seconds, for every worker

Seconds = npt.NDArray[np.float64]
_PATIENCE_S = 300.0  # without any progress


@dataclass(frozen=True, eq=False)
class EmbedReport:
    """What `embed_catalogue` did; arrays are of the parts made now, in their order.

    Attributes:
        folder: One Parquet file a part, with columns id and vector.
        n_items, n_parts, n_found: Of the catalogue; its parts; those made before.
        total_s: Of the whole call, starting the workers included.
        began_s, ended_s: (n_made,) seconds since the call began.
        worker: (n_made,) process id of the worker that made each.
    """

    folder: Path
    n_items: int
    n_parts: int
    n_found: int
    total_s: float
    began_s: Seconds
    ended_s: Seconds
    worker: npt.NDArray[np.int64]


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
    in_flight: int = 2,
    n_gpus: float = 0,
) -> EmbedReport:
    """Embed what a folder does not hold yet.

    Args:
        ids: (n_items,) each once.
        texts: (n_items,).
        folder: On storage that all machines share.
        make_encoder: Called once in each worker: `load_encoder(n_threads=1)`, say.
        made_with: Names the encoder: vectors of two never meet in one folder.
        n_workers: Actors, >= 1. One that dies is replaced.
        part_size: Items of a part, >= 1.
        batch_size: Texts of like length that the encoder is given at once, >= 1: on a
            CPU one pass, which stays on the threads that a worker was given.
        in_flight: Parts at a worker, in work or waiting, >= 1.
        n_gpus: Of a worker.

    Raises:
        ValueError: If an argument is out of its range, or the folder holds Parquet of
            something else.
        RuntimeError: If Ray does not run, an encoder raises, nothing moves for five
            minutes, or the folder does not hold each item once in the end.
    """
    start_s = time.time()
    check_ray()
    sizes = (n_workers, part_size, batch_size, in_flight)
    if min(sizes) < 1:
        raise ValueError(f"workers, sizes and in_flight must be >= 1; got {sizes}")
    if not len(ids) == len(set(ids)) == len(texts):
        got = f"got {len(ids)}, {len(set(ids))} apart, for {len(texts)}"
        raise ValueError(f"ids must be different, one for each text; {got}")
    files = _files(Path(folder).absolute(), [*ids], [*texts], made_with, part_size)
    missing = [i for i, file in enumerate(files) if not file.exists()]
    source = Path(folder).absolute() / f".source-{os.getpid()}"
    pq.write_table(pa.table({"id": [*ids], "text": [*texts]}), source)
    job = (source, files, part_size, batch_size, make_encoder)
    try:
        made = _make(missing, job, n_workers, in_flight, num_gpus=n_gpus)
    finally:
        source.unlink()
    _check_held(files, [*ids])
    moments = [[row[name] - start_s for row in made] for name in ("began_s", "ended_s")]
    return EmbedReport(
        Path(folder),
        len(ids),
        len(files),
        len(files) - len(missing),
        time.time() - start_s,
        np.array(moments[0]),
        np.array(moments[1]),
        np.array([row["worker"] for row in made], dtype=np.int64),
    )


def read_vectors(
    folder: str | os.PathLike[str],
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read what `embed_catalogue` wrote: ids and vectors (n_items, dim), in its order.

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
    """Takes the number of a part, leaves its file."""

    def __init__(
        self,
        source: Path,
        files: list[Path],
        size: int,
        batch_size: int,
        make_encoder: Callable[[], TextEncoder],
    ) -> None:
        self._catalogue, self._files = pq.read_table(source), files
        self._size, self._batch_size = size, batch_size
        self._encoder = make_encoder()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        began_s, part = time.time(), int(batch["part"][0])
        rows = self._catalogue.slice(part * self._size, self._size)
        vectors = self._encode(rows["text"].to_pylist())
        flat = pa.array(vectors.ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        file = self._files[part]
        torso = file.with_name(f".{file.name}.{os.getpid()}")
        pq.write_table(pa.table({"id": rows["id"], "vector": column}), torso)
        torso.replace(file)
        done = {"part": part, "worker": os.getpid(), "began_s": began_s}
        return {name: [x] for name, x in {**done, "ended_s": time.time()}.items()}

    def _encode(self, texts: list[str]) -> Float32Array:
        lengths = [len(text) for text in texts]
        batches = [*length_batches(lengths, Batching(self._batch_size))]
        encode = self._encoder.encode
        parts = [encode([texts[i] for i in batch]) for batch in batches]
        vectors = np.concatenate(parts).astype(np.float32)
        return vectors[np.argsort([i for batch in batches for i in batch])]


def _make(
    parts: list[int], job: tuple[Any, ...], n_workers: int, in_flight: int, **needs: Any
) -> list[Any]:
    if not parts:
        return []
    from ray import data  # seconds
    from ray.data.exceptions import ExecutionTimeoutError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = _PATIENCE_S
    source = [{"part": part} for part in parts]
    made = data.from_items(source, override_num_blocks=len(parts)).map_batches(
        _Worker,
        fn_constructor_args=job,
        batch_size=1,
        compute=data.ActorPoolStrategy(
            size=min(n_workers, len(parts)), max_tasks_in_flight_per_actor=in_flight
        ),
        num_cpus=CPUS,
        **needs,
    )
    try:
        return sorted(made.iter_rows(), key=lambda row: row["part"])
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise RuntimeError(f"each part must be embedded; got {error}") from error


def _files(
    home: Path, ids: list[str], texts: list[str], made_with: str, size: int
) -> list[Path]:
    """The file of each part; its name tells what is in it."""
    home.mkdir(parents=True, exist_ok=True)
    whole = json.dumps([ids, texts, made_with, size]).encode()
    key, n_parts = hashlib.sha256(whole).hexdigest()[:12], -(-len(ids) // size)
    files = [home / f"{key}-{part:06}.parquet" for part in range(n_parts)]
    foreign = {*home.glob("*.parquet")} - {*files}
    if foreign:
        raise ValueError(f"folder must hold these parts alone; got {min(foreign)}")
    return files


def _check_held(files: list[Path], ids: list[str]) -> None:
    held = [pq.read_table(file, columns=["id"])["id"].to_pylist() for file in files]
    if [x for part in held for x in part] != ids:
        raise RuntimeError(f"each item must be held once; {files[0].parent} differs")
