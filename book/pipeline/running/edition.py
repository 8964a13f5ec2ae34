"""A reader's edition: the book run on the reader's data, models or both, with notes."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from book.pipeline.chapters import NEEDS, OF_THE_BOOK, BookError, Chapter
from recsys_lib.data.dataset import Dataset
from recsys_lib.data.options import Options, read_options
from recsys_lib.data.own import LARGEST_ITEMS, LARGEST_USERS, lacks, load_dataset
from recsys_lib.embeddings.own import Description, OwnModel, find_models

_LOADERS = {
    "load_movielens": "MovieLens",
    "load_clothing_reviews": "the clothing reviews",
}


@dataclass(frozen=True, eq=False)
class Edition:
    """What a reader puts in place of the book's data and of its language model.

    Attributes:
        data: In place of MovieLens; None for the book's own.
        models: The first is the language model of the chapters; none for the book's.
    """

    data: Dataset | None = None
    models: tuple[OwnModel, ...] = ()

    @property
    def name(self) -> str:
        """Name of its folders, such as `shop-with-minilm`; "/" is not in it."""
        data = self.data.name if self.data else ""
        models = [f"with-{m.name.replace('/', '--')}" for m in self.models]
        return "-".join([data, *models] if data else models)

    @property
    def lacks(self) -> frozenset[str]:
        """What some cells need and it has not, by the tags `needs-...`."""
        missing = lacks(self.data) if self.data else OF_THE_BOOK
        other = self.models and not self.models[0].is_bert
        return missing | {"bert"} if other else missing

    @property
    def names(self) -> dict[str, str]:
        """The parameters `dataset` and `models` with names in place of paths."""
        models = " ".join(model.name for model in self.models)
        given = {"dataset": self.data.name if self.data else "", "models": models}
        return {name: value for name, value in given.items() if value}

    @property
    def sha256(self) -> dict[str, str]:
        """Hashes of the reader's files, by names such as `data items.csv`."""
        data = self.data.sha256 if self.data else {}
        return {f"data {name}": sha for name, sha in data.items()} | {
            f"model {model.name} {name}": sha
            for model in self.models
            for name, sha in model.sha256.items()
        }

    def describe_models(self) -> dict[OwnModel, Description]:
        """Load each model once and say how it is read.

        Raises:
            BookError: If one cannot be loaded.
        """
        try:
            return {model: model.describe() for model in self.models}
        except ValueError as error:
            raise BookError(f"MODELS: {error}") from error


def edition_of(parameters: Mapping[str, object]) -> Edition | None:
    """Find what the parameters `dataset` and `models` name; None if they name nothing.

    Raises:
        BookError: If a file is missing, a row of the data is wrong (with its line), or
            there is no such model.
    """
    folder, models = (str(parameters.get(x) or "") for x in ("dataset", "models"))
    _options()
    if not (folder or models):
        return None
    return Edition(_loaded(folder) if folder else None, _found(models))


def check_options(dataset: str) -> None:
    """Check what the reader says about the data, before they are read.

    Args:
        dataset: The folder of the data; the book's own take no options.

    Raises:
        BookError: If an option cannot be read, or there are no data for it.
    """
    given = ", ".join(_options().given)
    if given and not dataset:
        raise BookError(f"{given}: set DATASET=<folder>, which it is about")


def _options() -> Options:
    try:
        return read_options()
    except ValueError as error:
        raise BookError(str(error)) from error


@cache
def _loaded(folder: str) -> Dataset:
    try:
        with _progress():
            return load_dataset(folder)
    except (OSError, ValueError) as error:
        raise BookError(f"DATASET: {error}") from error


@contextlib.contextmanager
def _progress() -> Iterator[None]:
    """Print how many rows have been read of large files."""
    logger, printer = logging.getLogger("recsys_lib.data"), logging.StreamHandler()
    printer.setStream(sys.stdout)
    logger.addHandler(printer)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(printer)


@cache
def _found(models: str) -> tuple[OwnModel, ...]:
    try:
        return tuple(find_models(models))
    except (OSError, ValueError, ImportError) as error:
        raise BookError(f"MODELS: {error}") from error


def nouns(edition: Edition | None) -> dict[str, str]:
    """What an item is called: the facts `run.noun` and `run.nouns`, for prose."""
    data = edition.data if edition else None
    noun, plural = (data.noun, data.nouns) if data else ("film", "films")
    return {"noun": noun, "nouns": plural}


def output_folder(build_folder: Path, edition: Edition | None) -> Path:
    """Where a book is printed: beside the book's own for an edition."""
    return build_folder / "own" / edition.name if edition else build_folder


def fitting(chapters: Sequence[Chapter], edition: Edition) -> list[Chapter]:
    """Return the chapters that can run in the edition, with what it lacks.

    Raises:
        BookError: If none can.
    """
    able = [
        replace(chapter, lacks=edition.lacks)
        for chapter in chapters
        if not _obstacles(chapter, edition)
    ]
    if not able:
        options = ", ".join(edition.names).upper()
        raise BookError(f"{options}: {left_out(chapters, edition)}")
    return able


def left_out(chapters: Sequence[Chapter], edition: Edition) -> str:
    """Name the chapters that cannot run in the edition, and what each needs."""
    reasons = [
        f"chapter {int(chapter.number)} {' and '.join(obstacles)}"
        for chapter in chapters
        if (obstacles := _obstacles(chapter, edition))
    ]
    return f"left out: {'; '.join(reasons)}" if reasons else "no chapter is left out"


def _obstacles(chapter: Chapter, edition: Edition) -> list[str]:
    """Why a chapter cannot run in the edition; empty if it can."""
    found = []
    if edition.data and "dataset" not in chapter.parameters:
        code = "\n".join(chapter.code)
        needed = [data for loader, data in _LOADERS.items() if loader in code]
        what = f"needs {' and '.join(needed)}" if needed else "takes no other data"
        found.append(what)
    if edition.models and "models" not in chapter.parameters:
        found.append("takes no other model")
    if "bert" in chapter.needs & edition.lacks:
        found.append("needs a BERT, for its engines and precisions")
    return found


def note(edition: Edition, chapters: Sequence[Chapter]) -> str:
    """The box at the top of each page of the edition."""
    missing = [why for need, why in NEEDS.items() if need in edition.lacks]
    if edition.data:
        missing += _of_data(edition.data, edition.lacks, chapters)
    used = [f"your data: {edition.data.name}"] if edition.data else []
    names = ", ".join(model.name for model in edition.models)
    used += [f"your models: {names}"] if len(edition.models) > 1 else []
    used += [f"your model: {names}"] if len(edition.models) == 1 else []
    lines = "\n".join(f"- {x}" for x in [*missing, left_out(chapters, edition)])
    own = [f"{described(edition.data)}\n"] if edition.data else []
    own += [described_models(edition)] if edition.models else []
    return f"""\
:::{{admonition}} This edition was run on {" and ".join(used)}
:class: warning
{"".join(own)}The numbers, figures and tables are of these. The sentences around them
were written for {_written_for(edition)}, and where a sentence and a number
disagree, trust the number. What is left out, or is as in the book:

{lines}
:::
"""


def _of_data(
    own: Dataset, missing: frozenset[str], chapters: Sequence[Chapter]
) -> list[str]:
    """What differs because of the reader's data."""
    lines = []
    if "metadata" in missing:
        lines.append("the control made of tags and years has less to go by")
    if any("load_clothing_reviews" in "".join(c.code) for c in chapters):
        lines.append("parts about clothing reviews still use these, for their labels")
    if own.n_items == LARGEST_ITEMS or own.n_users == LARGEST_USERS:
        lines.append(
            "of a larger set, a random sample of the items, by age, and of the users"
        )
    return lines


def described(own: Dataset) -> str:
    """What was read of the reader's data, and what the book uses of it."""
    read = f" Read: {own.understood}." if own.understood else ""
    return (
        f"{own.n_users:,} users, {own.n_items:,} {own.nouns}, "
        f"{len(own.interactions):,} interactions.{read}"
    )


def described_models(edition: Edition) -> str:
    """A line for each model: what it is, and how it was read."""
    lines = [
        f"- {model.name}: revision {model.revision}, "
        f"{found.n_parameters:,} parameters, vectors of {found.dim:,} dimensions, "
        f"{found.pooling} pooling, texts of at most {found.max_length:,} tokens, "
        f"{_prompts(found)}"
        f"{f' ({found.assumed})' if found.assumed else ''}, on {found.engine}.\n"
        for model, found in edition.describe_models().items()
    ]
    others = "The first is the language model of the chapters, the others are measured "
    others += "beside it in section 1.3 and its sequels.\n"
    return "".join(["\n", *lines, "\n", others if len(lines) > 1 else ""])


def _prompts(found: Description) -> str:
    """The prompts that stand before a query and before a document."""
    if not (found.query_prompt or found.document_prompt):
        return "no prompt"
    both = found.query_prompt, found.document_prompt
    query, document = (f"`{prompt!r}`" if prompt else "none" for prompt in both)
    return f"prompts {query} before a query and {document} before a document"


def _written_for(edition: Edition) -> str:
    noun = edition.data.noun if edition.data else ""
    known = f" (an *item* is one of your {edition.data.nouns})" if edition.data else ""
    parts = [f"MovieLens{known if noun != 'item' else ''}"] if edition.data else []
    first = edition.models[0].name if edition.models else ""
    parts += [f'all-MiniLM-L6-v2: read "{first}" for it'] if first else []
    return ", and for ".join(parts)
