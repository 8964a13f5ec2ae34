"""Distil a large encoder into a small student: a table of token vectors.

The student starts from the teacher's mean hidden state of each token. It is then
trained on unlabelled texts until its embeddings point where the teacher's do. A trained
student is cached on disk, together with its training time.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from recsys_lib.arrays import Float32Array
from recsys_lib.artifacts import cache_files
from recsys_lib.compression.teacher import TeacherTargets
from recsys_lib.embeddings.static import StaticEncoder
from recsys_lib.extras import needs
from recsys_lib.models.training import LearningCurve, TrainingOptions, train

with needs("torch"):
    import torch
    from torch.nn.functional import cosine_similarity


_SIF = 1e-3  # a in the token weight a / (a + frequency); Arora et al., 3
_VALIDATION_BATCH = 64  # texts


@dataclass(frozen=True, eq=False)
class Student:
    """A trained student.

    Attributes:
        encoder: The table of token vectors.
        curve: The course of its training; the seconds are of this kind of machine.
    """

    encoder: StaticEncoder
    curve: LearningCurve


def static_student(
    targets: TeacherTargets, tokenizer: Tokenizer, *, axes: Float32Array | None = None
) -> StaticEncoder:
    """Make a student before training: the teacher's mean state of each token, weighted.

    Rare tokens get larger weights: a token of frequency p has the weight
    ``.001 / (.001 + p)`` (smooth inverse frequency, SIF).

    Args:
        targets: Of the teacher, on texts like those to encode.
        tokenizer: Of the teacher.
        axes: (dim, dim_out) to project on, such as `principal_axes`; None: no
            projection.

    Source: Arora et al., ICLR 2017 (SIF); Tulkens & van Dongen, Model2Vec, 2024.
    """
    means, counts = targets.token_means, targets.token_counts
    table = means if axes is None else means @ axes
    weight = _SIF / (_SIF + counts / max(counts.sum(), 1))
    return StaticEncoder(tokenizer, (table * weight[:, None]).astype(np.float32))


def principal_axes(vectors: npt.ArrayLike, dim: int) -> Float32Array:
    """Compute the orthonormal axes (dim_in, dim) of largest mean square projection.

    The vectors are not centred, so that projected cosines stay close to the original.

    Raises:
        ValueError: If dim is not in [1, dim_in].

    >>> principal_axes([[3.0, 0.0], [0.0, 1.0]], 1).round(3).tolist()
    [[1.0], [0.0]]
    """
    table = np.asarray(vectors, dtype=np.float64)
    if not 1 <= dim <= table.shape[1]:
        raise ValueError(f"dim must lie in [1, {table.shape[1]}]; got {dim}")
    axes = np.linalg.eigh(table.T @ table)[1][:, ::-1][:, :dim]  # largest first
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), range(dim)])  # same everywhere
    return np.asarray(axes * signs, dtype=np.float32)


def distil_static(
    start: StaticEncoder,
    texts: Sequence[str],
    targets: Float32Array,
    options: TrainingOptions,
    *,
    n_validation: int = 0,
) -> Student:
    """Train a table of token vectors to embed texts as the teacher does.

    The loss is 1 - the mean cosine to the targets. Only the vectors of tokens that
    occur in the texts change.

    Args:
        start: The table to start from; it is not changed.
        texts: Unlabelled texts.
        targets: (n, dim), the teacher's embeddings of the texts.
        options: Of the training.
        n_validation: Texts, from the end, used for validation instead of training.

    Raises:
        ValueError: If there is not one target per text in the dimension of the start,
            or no text is left to train on.
    """
    _check(texts, targets, start.dim, n_validation)
    rows = start.tokenize(texts)

    def make(folder: Path) -> None:
        used = np.unique(np.concatenate([np.array(x, dtype=np.int64) for x in rows]))
        table = torch.nn.EmbeddingBag.from_pretrained(
            torch.from_numpy(start.table[used]), freeze=False, mode="sum"
        )
        bags = [torch.from_numpy(np.searchsorted(used, x)) for x in rows]
        curve = _train(table, bags, torch.from_numpy(targets), options, n_validation)
        trained = start.table.copy()
        trained[used] = table.weight.detach().numpy()
        np.save(folder / "table.npy", trained)
        (folder / "curve.json").write_text(json.dumps(dataclasses.asdict(curve)))

    made_of = [rows, targets, start.table, dataclasses.asdict(options), n_validation]
    folder = cache_files("students", made_of, make, timed=True)
    notes = json.loads((folder / "curve.json").read_text())
    lists = {name: tuple(notes[name]) for name in ("train_loss", "validation")}
    encoder = StaticEncoder(start.tokenizer, np.load(folder / "table.npy"))
    return Student(encoder, LearningCurve(**notes | lists))


def _train(
    table: torch.nn.EmbeddingBag,
    bags: Sequence[torch.Tensor],
    targets: torch.Tensor,
    options: TrainingOptions,
    n_validation: int,
) -> LearningCurve:
    """Train on texts as bags of tokens; the last ones are for validation."""

    def distances(batch: torch.Tensor) -> torch.Tensor:
        chosen = [bags[i] for i in batch.tolist()]
        starts = np.cumsum([0, *(len(x) for x in chosen[:-1])])
        vectors = table(torch.cat(chosen), torch.from_numpy(starts))
        return 1 - cosine_similarity(vectors, targets[batch])

    def validate() -> float:
        parts = torch.split(torch.arange(n_train, len(bags)), _VALIDATION_BATCH)
        return torch.cat([distances(x) for x in parts]).mean().item()

    n_train = len(bags) - n_validation
    return train(
        table,
        lambda batch: distances(batch).mean(),
        n_train,
        options,
        validate=validate if n_validation else None,
    )


def _check(
    texts: Sequence[str], targets: Float32Array, dim: int, n_validation: int
) -> None:
    if np.shape(targets) != (len(texts), dim):
        got = f"got {np.shape(targets)}"
        raise ValueError(f"targets must be ({len(texts)}, {dim}); {got}")
    if not 0 <= n_validation < len(texts):
        got = f"got {n_validation}"
        raise ValueError(f"n_validation must lie in [0, {len(texts)}); {got}")
