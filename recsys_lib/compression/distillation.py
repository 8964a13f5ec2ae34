"""A small student of a large encoder: a table of tokens.

It starts from what the teacher holds, and is trained on texts that nobody labelled
until its vectors point where the teacher's do. It is kept on disk, with the seconds
that it took.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cosine_similarity

from recsys_lib.artifacts import cache_files
from recsys_lib.compression.teacher import Lessons
from recsys_lib.embeddings.static import StaticEncoder
from recsys_lib.models.training import LearningCurve, Report, train
from recsys_lib.models.training_options import TrainingOptions

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Student:
    """A trained table.

    Attributes:
        encoder: The table.
        curve: How it was trained, and how long on a machine of this kind.
    """

    encoder: StaticEncoder
    curve: LearningCurve


def static_student(
    lessons: Lessons,
    tokenizer: Tokenizer,
    *,
    axes: Vectors | None = None,
    sif: float | None = 1e-3,
) -> StaticEncoder:
    """Make a table of what the teacher says of each token: a student before training.

    Args:
        lessons: Of the teacher, on texts like those to encode.
        tokenizer: Of the teacher.
        axes: (dim, smaller) to project on, such as `principal_axes`; None for none.
        sif: A token of frequency p weighs ``sif / (sif + p)``; None for all alike.

    Raises:
        ValueError: If sif is not positive.

    Source: Arora et al., ICLR 2017 (SIF); Tulkens & van Dongen, Model2Vec, 2024.
    """
    if not (sif is None or sif > 0):
        raise ValueError(f"sif must be positive or None; got {sif}")
    table = lessons.token_means if axes is None else lessons.token_means @ axes
    share = lessons.token_counts / max(lessons.token_counts.sum(), 1)
    weight = np.ones(len(table)) if sif is None else sif / (sif + share)
    return StaticEncoder(tokenizer, (table * weight[:, None]).astype(np.float32))


def principal_axes(vectors: npt.ArrayLike, dim: int) -> Vectors:
    """Orthonormal axes (dim_in, dim) that keep most of the vectors' square lengths.

    Not centred: cosines between projected vectors stay near those before.

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
    targets: Vectors,
    options: TrainingOptions,
    *,
    n_validation: int = 0,
    report: Report | None = None,
) -> Student:
    """Train a table of tokens until its texts point where the targets do.

    Only tokens of the texts change. The last ``n_validation`` texts are not trained on,
    but give the validation value: 1 - the mean cosine, like the loss.

    Args:
        start: The table to start from.
        texts: Unlabelled.
        targets: (n, dim) the teacher's vectors of the texts.
        options: Of the training loop.
        n_validation: Texts kept apart.
        report: Called after each step.

    Raises:
        ValueError: If targets are not one a text, in the dimension of the start.
    """
    _check(texts, targets, start.dim, n_validation)
    rows = start.tokenize(texts)

    def make(folder: Path) -> None:
        used = np.unique(np.concatenate([np.array(x, dtype=np.int64) for x in rows]))
        bag = torch.nn.EmbeddingBag.from_pretrained(
            torch.from_numpy(start.table[used]), freeze=False, mode="sum"
        )
        bags = [torch.from_numpy(np.searchsorted(used, x)) for x in rows]
        curve = _Task(bag, bags, targets).train(n_validation, options, report)
        table = start.table.copy()
        table[used] = bag.weight.detach().numpy()
        np.save(folder / "table.npy", table)
        (folder / "curve.json").write_text(json.dumps(dataclasses.asdict(curve)))

    made_of = [rows, targets, start.table, dataclasses.asdict(options), n_validation]
    folder = cache_files("students", made_of, make, timed=True)
    notes = json.loads((folder / "curve.json").read_text())
    lists = {name: tuple(notes[name]) for name in ("train_loss", "validation")}
    encoder = StaticEncoder(start.tokenizer, np.load(folder / "table.npy"))
    return Student(encoder, LearningCurve(**notes | lists))


@dataclass(frozen=True, eq=False)
class _Task:
    """Texts as bags of tokens, and the vectors that they should point to."""

    table: torch.nn.EmbeddingBag
    bags: list[torch.Tensor]
    targets: Vectors

    def train(
        self, n_validation: int, options: TrainingOptions, report: Report | None
    ) -> LearningCurve:
        n, n_train = len(self.bags), len(self.bags) - n_validation
        parts = [range(i, min(i + 64, n)) for i in range(n_train, n, 64)]

        def validate() -> float:
            return torch.cat([self._distances(x) for x in parts]).mean().item()

        return train(
            self.table,
            lambda batch: self._distances(batch.tolist()).mean(),
            n_train,
            options,
            validate=validate if parts else None,
            report=report,
        )

    def _distances(self, batch: Sequence[int]) -> torch.Tensor:
        """1 - cosine with the target, of each text."""
        chosen = [self.bags[i] for i in batch]
        starts = np.cumsum([0, *(len(x) for x in chosen[:-1])])
        vectors = self.table(torch.cat(chosen), torch.from_numpy(starts))
        wanted = torch.from_numpy(self.targets[list(batch)])
        return 1 - cosine_similarity(vectors, wanted)


def _check(texts: Sequence[str], targets: Vectors, dim: int, n_validation: int) -> None:
    if np.shape(targets) != (len(texts), dim):
        got = f"got {np.shape(targets)}"
        raise ValueError(f"targets must be ({len(texts)}, {dim}); {got}")
    if not 0 <= n_validation < len(texts):
        got = f"got {n_validation}"
        raise ValueError(f"n_validation must lie in [0, {len(texts)}); {got}")
