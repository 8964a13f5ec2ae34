"""Small students of a large encoder: a table of tokens, or some of its layers.

A student starts from what the teacher holds, and is trained on texts that nobody
labelled until its vectors point where the teacher's do. It is kept on disk under a hash
of all that it was made of, with the seconds that it took; training that was killed goes
on where it stood.
"""

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cosine_similarity

from recsys_lib import training
from recsys_lib.embeddings import Encoder, StaticEncoder, load_encoder
from recsys_lib.kept import cache_folder, keep, sha256_of
from recsys_lib.teachers import Lessons, digest
from recsys_lib.tokens import pad, token_ids
from recsys_lib.torch_engine import TorchNetwork, load_network, quiet_transformers
from recsys_lib.training import LearningCurve, Report, train
from recsys_lib.training_options import TrainingOptions

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Student:
    """A trained encoder.

    Attributes:
        encoder: A table, or a transformer on the torch engine.
        curve: How it was trained, and how long.
        folder: Where it is kept; of a transformer, `load_encoder` takes it on any
            engine.
    """

    encoder: StaticEncoder | Encoder
    curve: LearningCurve
    folder: Path


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
    used = np.unique(np.concatenate([np.array(x, dtype=np.int64) for x in rows]))
    bags = [torch.from_numpy(np.searchsorted(used, x)) for x in rows]
    bag = torch.nn.EmbeddingBag.from_pretrained(
        torch.from_numpy(start.table[used]), freeze=False, mode="sum"
    )

    def embed(batch: Iterable[int]) -> torch.Tensor:
        chosen = [bags[i] for i in batch]
        starts = np.cumsum([0, *(len(x) for x in chosen[:-1])])
        vectors: torch.Tensor = bag(torch.cat(chosen), torch.from_numpy(starts))
        return vectors

    def write(folder: Path) -> None:
        table = start.table.copy()
        table[used] = bag.weight.detach().numpy()
        np.save(folder / "table.npy", table)

    job = _Job(bag, embed, targets, n_validation, options, report)
    made_of = [digest(rows), digest(targets), digest(start.table)]
    folder, curve = job.done(made_of, write)
    table = np.load(folder / "table.npy")
    return Student(StaticEncoder(start.tokenizer, table), curve, folder)


def layer_student(
    layers: Sequence[int], *, model: str | Path | None = None, max_length: int = 128
) -> Encoder:
    """Keep some layers of a teacher, on the torch engine: a student before training.

    Args:
        layers: Their numbers, from 0, in order.
        model: Folder of the teacher; None for the carried all-MiniLM-L6-v2.
        max_length: Tokens kept of a text, special ones included.

    Raises:
        ValueError: If the teacher lacks such a layer, or none is kept.

    Source: Sanh et al., DistilBERT, 2019, arXiv 1910.01108.

    >>> layer_student([0, 5]).n_parameters < layer_student([0, 3, 5]).n_parameters
    True
    """
    encoder = load_encoder(model, engine="torch", max_length=max_length)
    network = encoder.network.model  # type: ignore[union-attr]
    stack = network.encoder.layer
    if not layers or not all(0 <= i < len(stack) for i in layers):
        raise ValueError(f"layers must be some of 0..{len(stack) - 1}; got {layers}")
    network.encoder.layer = torch.nn.ModuleList([stack[i] for i in layers])
    network.config.num_hidden_layers = len(layers)
    return encoder


def distil_layers(
    start: Encoder,
    texts: Sequence[str],
    targets: Vectors,
    options: TrainingOptions,
    *,
    n_validation: int = 0,
    report: Report | None = None,
) -> Student:
    """Train a transformer until its texts point where the targets do.

    Its input embeddings stay. Arguments and errors as of `distil_static`; ``start`` is
    on the torch engine, pools by the mean, and is left as it was.

    Raises:
        TypeError: If the start is on another engine.
    """
    _check(texts, targets, start.dim, n_validation)
    if not isinstance(start.network, TorchNetwork):
        raise TypeError(f"start must be on torch; got {type(start.network).__name__}")
    network = copy.deepcopy(start.network.model)
    network.get_input_embeddings().weight.requires_grad_(False)
    rows = token_ids(start.tokenizer, texts)

    def embed(batch: Iterable[int]) -> torch.Tensor:
        tokens = pad([rows[i] for i in batch], start.pad_id)
        ids, mask = (torch.from_numpy(x) for x in (tokens.ids, tokens.mask))
        hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state
        summed: torch.Tensor = (hidden * mask[:, :, None]).sum(dim=1)
        return summed

    def write(folder: Path) -> None:
        with quiet_transformers():
            network.save_pretrained(folder)
        start.tokenizer.save(str(folder / "tokenizer.json"))

    job = _Job(network, embed, targets, n_validation, options, report)
    weights = [digest(x) for x in network.state_dict().values()]
    made_of = [digest(rows), digest(targets), *weights]
    folder, curve = job.done(made_of, write)
    trained = load_network(folder, device="cpu", precision="float32")
    return Student(dataclasses.replace(start, network=trained), curve, folder)


@dataclass(frozen=True, eq=False)
class _Job:
    """A student's training, the same for all kinds."""

    model: torch.nn.Module
    embed: Callable[[Iterable[int]], torch.Tensor]
    targets: Vectors
    n_validation: int
    options: TrainingOptions
    report: Report | None

    def done(
        self, made_of: list[str], write: Callable[[Path], None]
    ) -> tuple[Path, LearningCurve]:
        """Train, or find what was trained before; go on with what was killed."""
        options = json.dumps([dataclasses.asdict(self.options), self.n_validation])
        code = [sha256_of(Path(str(x))) for x in (__file__, training.__file__)]
        made_of = [*made_of, options, *code, torch.__version__]
        unfinished = cache_folder() / "unfinished" / f"{digest(made_of)}.pt"

        def make(folder: Path) -> None:
            curve = self._train(unfinished)
            write(folder)
            (folder / "notes.json").write_text(json.dumps(dataclasses.asdict(curve)))

        folder = keep("students", made_of, make)
        unfinished.unlink(missing_ok=True)
        notes = json.loads((folder / "notes.json").read_text())
        lists = {name: tuple(notes[name]) for name in ("train_loss", "validation")}
        return folder, LearningCurve(**notes | lists)

    def _train(self, checkpoint: Path) -> LearningCurve:
        n_train = len(self.targets) - self.n_validation
        kept_apart = range(n_train, len(self.targets))
        cuts = [kept_apart[i : i + 64] for i in range(0, len(kept_apart), 64)]

        def validate() -> float:
            parts = [self._distances(cut) for cut in cuts]
            return torch.cat(parts).mean().item()

        return train(
            self.model,
            lambda batch: self._distances(batch.tolist()).mean(),
            n_train,
            self.options,
            validate=validate if cuts else None,
            report=self.report,
            checkpoint=checkpoint,
        )

    def _distances(self, batch: Sequence[int]) -> torch.Tensor:
        """1 - cosine with the teacher, of each text."""
        vectors = self.embed(batch)
        wanted = torch.from_numpy(self.targets[list(batch)]).to(vectors.device)
        return 1 - cosine_similarity(vectors, wanted)


def _check(texts: Sequence[str], targets: Vectors, dim: int, n_validation: int) -> None:
    if np.shape(targets) != (len(texts), dim):
        got = f"got {np.shape(targets)}"
        raise ValueError(f"targets must be ({len(texts)}, {dim}); {got}")
    if not 0 <= n_validation < len(texts):
        got = f"got {n_validation}"
        raise ValueError(f"n_validation must lie in [0, {len(texts)}); {got}")
