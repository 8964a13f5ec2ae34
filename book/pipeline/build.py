"""A build of the book: run what changed, judge the claims, print the pages."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.language.catalogues import ENGLISH, speaking
from book.pipeline.printing.editions import (
    FOLDERS,
    staged,
    translated_cases,
    translated_claims,
    translated_runs,
)
from book.pipeline.printing.first_page import (
    decision_table,
    find_figure,
    headline,
    load_cases,
    machine_table,
)
from book.pipeline.printing.ledger import as_csv, as_json, entries, ledger
from book.pipeline.printing.provenance import provenance
from book.pipeline.printing.render import print_editions, swap
from book.pipeline.printing.report import Report, write_report
from book.pipeline.printing.stage import check_prose, stage
from book.pipeline.records.claims import (
    Claim,
    Judgement,
    again_command,
    fallen,
    judge_all,
    load_claims,
    timed_in,
)
from book.pipeline.records.compare import judge_recorded, machine_line
from book.pipeline.results import Results
from book.pipeline.running import edition
from book.pipeline.running.edition import Edition, edition_of
from book.pipeline.running.execute import Run, write_atomically
from book.pipeline.running.fetch import fetch_data
from book.pipeline.running.runs import run_chapters
from recsys_lib.artifacts import cache_folder
from recsys_lib.data.carried import data_folder
from recsys_lib.embeddings.carried import missing_packages
from recsys_lib.embeddings.own import book_encoder
from recsys_lib.machine import describe_machine
from recsys_lib.ranking.faiss_store import index_device

RECORDED = "book/results"
DECISIONS = "book/decisions.yml"
HEADLINE = "fig-ch1-buys-and-costs"  # on the first page, too
REPORTED = frozenset({"01", "03"})  # of `make report`, whose page takes minutes


@dataclass(frozen=True)
class Order:
    """What a build is asked for.

    Attributes:
        parameters: For every chapter: profile, device, seed.
        selected: Numbers of the chapters to print; all of them when empty.
        again: Numbers of chapters that run even if nothing changed.
        strict: Whether a verdict that falls, or what a cell writes to stderr, stops the
            build.
        languages: Of the editions to print beside the English.
    """

    parameters: Mapping[str, object]
    selected: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()
    strict: bool = False
    languages: frozenset[str] = frozenset(FOLDERS)


@dataclass(frozen=True)
class _Measured:
    """The runs of a build, their records, and how the claims were judged on them."""

    runs: Mapping[Chapter, Run]
    results: Results
    judgements: Sequence[Judgement]


def build(root: Path, build_folder: Path, order: Order) -> tuple[Path, list[Judgement]]:
    """Run what changed, judge every claim, print the book.

    Args:
        root: Of the project.
        build_folder: `_build`, or another folder for a second book.
        order: What to run and how.

    Returns:
        The first page, and the judgements of the verdicts that fall on this run.

    Raises:
        BookError: Naming what must be repaired; the last good book stays in place.
    """
    claims = check(root)  # before anything runs
    own = edition_of(order.parameters)
    chapters = select_chapters(root, order.selected, own)
    if outside := order.again - {c.number for c in chapters}:
        raise BookError(f"AGAIN: {', '.join(sorted(outside))} is not to be printed")
    measured = _measure(root, order, chapters, claims)
    fell = fallen(measured.judgements)
    if order.strict and fell:
        raise BookError("\n".join([*map(str, fell), *advice(fell)]))
    _stage_all(build_folder, root, measured, claims, own, languages=order.languages)
    html = build_folder / "html"
    if not print_editions(build_folder, root, strict=not (own or order.selected)):
        print("The pages have not changed: nothing to print.")
    measured.results.save(build_folder / "results.new")
    swap(build_folder / "results.new", build_folder / "results")
    return html / "index.html", fell


def report(root: Path, folder: Path, order: Order) -> Path:
    """Run the chapters that the first page needs most, and print that page alone.

    Args:
        root: Of the project.
        folder: Where the page is written.
        order: As of `build`; without chapters, `REPORTED` are run.

    Returns:
        The page, one HTML file.

    Raises:
        BookError: Naming what must be repaired.
    """
    own = edition_of(order.parameters)
    chapters = select_chapters(root, order.selected or REPORTED, own)
    measured = _measure(root, order, chapters, check(root))
    cases, _ = load_cases(root / DECISIONS)
    said = Report(
        title=f"What to build: {own.name if own else 'the book and its data'}",
        about=_about(measured, own),
        figure=find_figure(measured.runs, HEADLINE),
    )
    page = folder / "report.html"
    intro = (root / "book/intro.md").read_text()
    write_atomically(page, write_report(said, cases, measured.results, intro))
    return page


def _about(measured: _Measured, own: Edition | None) -> str:
    """What the report was made of: data, models, machine, chapters."""
    profile = measured.results.facts["profile"]
    seconds = {int(c.number): run.seconds for c, run in measured.runs.items()}
    ran = " and ".join(f"chapter {n} ({s:,.0f} s)" for n, s in seconds.items())
    few = " It measures too little to judge a time: PROFILE=standard measures more."
    few = few if profile == "smoke" else ""
    lines = [edition.described(own.data)] if own and own.data else []
    lines += [edition.described_models(own)] if own and own.models else []
    lines.append(
        f"Measured by {ran} in the profile {profile}, on "
        f"{machine_line(measured.results)}.{few} A gain stands with its 95 % interval; "
        f"a time is the median of one request. `make book` with the same options "
        f"prints every table and figure behind these numbers."
    )
    return "\n\n".join(lines)


def _measure(
    root: Path, order: Order, chapters: list[Chapter], claims: Sequence[Claim]
) -> _Measured:
    """Run what changed; if strict, run chapters again whose timed verdicts fell.

    Raises:
        BookError: If strict, for what a cell wrote to stderr.
    """
    ready = partial(prepare, str(order.parameters.get("models") or ""))

    def measure(again: frozenset[str]) -> _Measured:
        runs = run_chapters(
            chapters, order.parameters, root, again=again, prepare=ready
        )
        _show_stderr(runs, strict=order.strict)
        results = _results(runs, root, order.parameters)
        return _Measured(runs, results, judge_all(claims, results))

    first = measure(order.again)
    doubted = timed_in(fallen(first.judgements))
    if not (order.strict and doubted):
        return first
    print(f"A timed verdict fell: measuring {', '.join(sorted(doubted))} again.")
    return measure(doubted)


def _show_stderr(runs: Mapping[Chapter, Run], *, strict: bool) -> None:
    """Print what cells wrote to stderr: the pages do not show it."""
    written = [
        f"{chapter.stem}: {place} wrote to stderr: {text}"
        for chapter, run in runs.items()
        for place, text in run.stderr.items()
    ]
    if written and strict:
        raise BookError("\n".join(written))
    if written:
        print("\n".join([*written, "The pages leave it out; STRICT=1 stops for it."]))


def _stage_all(
    build_folder: Path,
    root: Path,
    measured: _Measured,
    claims: Sequence[Claim],
    own: Edition | None,
    *,
    languages: frozenset[str],
) -> None:
    """Stage each edition: the same runs and results in its language."""
    english = staged(build_folder, ENGLISH)
    _stage(english, root, measured, claims, own, languages=languages)
    for language in FOLDERS:
        folder = staged(build_folder, language)
        if language not in languages:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        with speaking(language):
            theirs = translated_claims(claims)
            results = measured.results
            again = _Measured(
                translated_runs(measured.runs), results, judge_all(theirs, results)
            )
            _stage(folder, root, again, theirs, own, languages=languages)


def _stage(
    folder: Path,
    root: Path,
    measured: _Measured,
    claims: Sequence[Claim],
    own: Edition | None,
    *,
    languages: frozenset[str],
) -> None:
    results, judgements = measured.results, measured.judgements
    recorded = {} if own else judge_recorded(root / RECORDED, claims, results)
    note = edition.note(own, select_chapters(root)) if own else ""
    cases, compared = translated_cases(*load_cases(root / DECISIONS))
    elsewhere = {name: run.results for name, run in recorded.items()}
    rows = entries(judgements, results, recorded)
    pages = {
        **headline(measured.runs, HEADLINE),
        "decisions": decision_table(cases, results),
        "machines": machine_table(compared, results, elsewhere),
        "ledger": ledger(judgements, results, recorded),
        "ledger.csv": as_csv(rows),
        "ledger.json": as_json(rows),
        "provenance": provenance(
            measured.runs, results, judgements, recorded, note=note
        ),
    }
    fell = fallen(judgements)
    stage(
        folder,
        root,
        measured.runs,
        results,
        pages,
        note=note,
        fallen=fell,
        languages=languages,
    )


def _results(
    runs: Mapping[Chapter, Run], root: Path, parameters: Mapping[str, object]
) -> Results:
    """The records of the runs, and the facts that `run.*` citations may name."""
    own = edition_of(parameters)
    every = {c.key for c in find_chapters(root / "chapters")}
    device = parameters.get("device", "cpu")
    return Results(
        {chapter.key: run.records for chapter, run in runs.items()},
        {
            **parameters,
            **(own.names if own else {}),
            **edition.nouns(own),
            **asdict(describe_machine()),
            "index": "CPU" if index_device(str(device)) == "cpu" else "GPU",
            "not_installed": missing_packages(),
            "absent": sorted(every - {c.key for c in runs}),
            "fingerprints": {c.key: run.fingerprint for c, run in runs.items()},
            "inputs": {c.key: run.parts for c, run in runs.items()},
        },
    )


def advice(fell: Iterable[Judgement]) -> list[str]:
    """What to do about timed verdicts that fall; empty if none of them is timed."""
    command = again_command(fell)
    return [f"A timed one may be luck: {command} measures it again."] * bool(command)


def select_chapters(
    root: Path, numbers: frozenset[str] = frozenset(), own: Edition | None = None
) -> list[Chapter]:
    """Find the chapters with these numbers; all of them if no number is given.

    Args:
        root: Of the project.
        numbers: Such as "04".
        own: The reader's data and models; then only the chapters that take them.

    Raises:
        BookError: If no chapter has a number, or none takes the data and models.
    """
    every = find_chapters(root / "chapters")
    if unknown := numbers - {chapter.number for chapter in every}:
        raise BookError(
            f"no chapter {', '.join(sorted(unknown))} in {root / 'chapters'}"
        )
    chosen = [c for c in every if not numbers or c.number in numbers]
    return edition.fitting(chosen, own) if own else chosen


def check(root: Path) -> list[Claim]:
    """Check the prose of every page, and the claims, without running anything.

    Returns:
        The claims.

    Raises:
        BookError: Listing every fault.
    """
    texts = [
        (f"{chapter.stem}, {place}", text)
        for chapter in find_chapters(root / "chapters")
        for place, text in chapter.prose
    ]
    pages = sorted((root / "book").glob("*.md"))
    pages.append(root / DECISIONS)
    texts += [(path.name, path.read_text()) for path in pages]
    claims = load_claims(root / "book/claims.yml")
    if faults := [fault for where, text in texts for fault in check_prose(where, text)]:
        raise BookError("\n".join(faults))
    return claims


def fetch() -> None:
    """Download the data unless they are there, and say so."""
    fetched = fetch_data(data_folder())
    print(f"data: {'fetched into' if fetched else 'complete in'} {data_folder()}")


def prepare(models: str = "") -> None:
    """Convert the model for this machine and choose its engine, before chapters run.

    Args:
        models: The reader's, of which the first is converted; empty for the book's.

    Raises:
        BookError: If the first cannot be the chapters' language model.
    """
    try:
        book_encoder(models)
    except ValueError as error:
        raise BookError(f"MODELS: {error}" if models else str(error)) from error
    print(f"model: ready in {cache_folder()}")


def choose_device(name: str) -> str:
    """Resolve `auto`: the GPU if there is one.

    Raises:
        BookError: If a GPU is asked for and there is none.
    """
    gpu = describe_machine().gpu
    if name == "cuda" and not gpu:
        raise BookError("DEVICE=cuda: this machine shows no NVIDIA GPU; use DEVICE=cpu")
    return name if name != "auto" else "cuda" if gpu else "cpu"


@contextlib.contextmanager
def only_one(build_folder: Path) -> Iterator[None]:
    """Lock the build folder, until the block or the process ends.

    Raises:
        BookError: If another build holds the lock.
    """
    build_folder.mkdir(parents=True, exist_ok=True)
    with (build_folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BookError(f"another build is writing to {build_folder}") from error
        yield
