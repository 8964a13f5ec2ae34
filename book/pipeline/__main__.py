"""The press on the command line, `python -m book.pipeline`: build, and other verbs."""

import argparse
import ast
import contextlib
import fcntl
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.printing.pages import ledger, provenance
from book.pipeline.printing.render import digest, is_printed, render, swap
from book.pipeline.printing.stage import check_prose, stage
from book.pipeline.records.claims import (
    Judgement,
    again_command,
    fallen,
    judge_all,
    load_claims,
    timed_in,
)
from book.pipeline.records.compare import (
    judge_recorded,
    print_comparison,
    record_run,
    recorded_table,
)
from book.pipeline.results import Results
from book.pipeline.running import edition
from book.pipeline.running.edition import own_data
from book.pipeline.running.execute import Run
from book.pipeline.running.fetch import fetch_data
from book.pipeline.running.runs import run_chapters
from recsys_lib.artifacts import cache_folder
from recsys_lib.data.carried import data_folder
from recsys_lib.data.dataset import Dataset
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.machine import describe_machine

PROFILES = ("smoke", "standard", "full")
RECORDED = "book/results"
_OPTIONS = ("profile", "device", "dataset")  # parameters with an option of their own


@dataclass(frozen=True)
class Order:
    """What a build is asked for.

    Attributes:
        parameters: For every chapter: profile, device, seed.
        selected: Numbers of the chapters to print; all of them when empty.
        again: Numbers of chapters that run even if nothing changed.
        strict: Whether a verdict that falls stops the build.
    """

    parameters: Mapping[str, object]
    selected: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()
    strict: bool = False


def build(root: Path, build_folder: Path, order: Order) -> tuple[Path, list[Judgement]]:
    """Run what changed, judge every claim, print the book.

    Args:
        root: Of the project.
        build_folder: `_build`, or another for a book beside it.
        order: What to run and how.

    Returns:
        The first page, and the judgements of the verdicts that fall on this run.

    Raises:
        BookError: Naming what must be mended; the last good book is left in place.
    """
    check(root)  # before anything runs
    own = own_data(order.parameters)
    chapters = select_chapters(root, order.selected, own)
    if outside := order.again - {c.number for c in chapters}:
        raise BookError(f"AGAIN: {', '.join(sorted(outside))} is not to be printed")
    claims = load_claims(root / "book/claims.yml")

    def measure(anew: frozenset[str]) -> tuple[dict[Chapter, Run], Results]:
        runs = run_chapters(
            chapters, order.parameters, root, again=anew, prepare=_prepare
        )
        return runs, _results(runs, root, order.parameters)

    runs, results = measure(order.again)
    judgements = judge_all(claims, results)
    if order.strict and (doubted := timed_in(fallen(judgements))):
        print(f"A timed verdict fell: measuring {', '.join(sorted(doubted))} again.")
        runs, results = measure(doubted)
        judgements = judge_all(claims, results)
    fell = fallen(judgements)
    if order.strict and fell:
        raise BookError("\n".join([*map(str, fell), *_advice(fell)]))
    recorded = {} if own else judge_recorded(root / RECORDED, claims, results)
    note = edition.note(own, select_chapters(root)) if own else ""
    pages = {
        "ledger": ledger(judgements, results, recorded),
        "provenance": provenance(
            runs,
            describe_machine(),
            recorded="" if own else recorded_table(results, recorded),
            note=note,
        ),
    }
    staged = build_folder / "stage"
    stage(staged, root, runs, results, pages, note=note, fallen=fell)
    html, made_of = build_folder / "html", digest(staged, root / "requirements.lock")
    if is_printed(html, made_of):
        print("The pages are as they were: nothing to print.")
    else:
        swap(render(staged, root, made_of, strict=not (own or order.selected)), html)
    results.save(build_folder / "results.new")
    swap(build_folder / "results.new", build_folder / "results")
    return html / "index.html", fell


def _results(
    runs: Mapping[Chapter, Run], root: Path, parameters: Mapping[str, object]
) -> Results:
    """The records of the runs, and the facts that `run.*` citations may name."""
    own = own_data(parameters)
    every = {c.key for c in find_chapters(root / "chapters")}
    return Results(
        {chapter.key: run.records for chapter, run in runs.items()},
        {
            **parameters,
            **({"dataset": own.name} if own else {}),
            **asdict(describe_machine()),
            "absent": sorted(every - {c.key for c in runs}),
            "fingerprints": {c.key: run.fingerprint for c, run in runs.items()},
            "inputs": {c.key: run.parts for c, run in runs.items()},
        },
    )


def _advice(fell: Iterable[Judgement]) -> list[str]:
    """What to do about timed verdicts that fall; nothing where there is none."""
    command = again_command(fell)
    return [f"A timed one may be bad luck: {command} measures anew."] if command else []


def select_chapters(
    root: Path, numbers: frozenset[str] = frozenset(), own: Dataset | None = None
) -> list[Chapter]:
    """Find the chapters of these numbers; all of them when there is none.

    Args:
        root: Of the project.
        numbers: Such as "04".
        own: The reader's data; then only the chapters that can run on them.

    Raises:
        BookError: If a number is of no chapter, or no chapter can run on the data.
    """
    every = find_chapters(root / "chapters")
    if unknown := numbers - {chapter.number for chapter in every}:
        raise BookError(
            f"no chapter {', '.join(sorted(unknown))} in {root / 'chapters'}"
        )
    chosen = [c for c in every if not numbers or c.number in numbers]
    return edition.fitting(chosen, own) if own else chosen


def prose_faults(chapter: Chapter) -> list[str]:
    """Faults of a chapter's sentences, found before anything runs."""
    return [
        fault
        for place, text in chapter.prose
        for fault in check_prose(f"{chapter.stem}, {place}", text)
    ]


def check(root: Path) -> None:
    """Check the prose of every page without running anything.

    Raises:
        BookError: Listing every fault.
    """
    faults = [f for c in find_chapters(root / "chapters") for f in prose_faults(c)]
    for path in sorted((root / "book").glob("*.md")):
        faults += check_prose(path.name, path.read_text())
    load_claims(root / "book/claims.yml")
    if faults:
        raise BookError("\n".join(faults))


def choose_device(name: str) -> str:
    """Resolve `auto`: the GPU when there is one.

    Raises:
        BookError: If a GPU is asked for and there is none.
    """
    gpu = describe_machine().gpu
    if name == "cuda" and not gpu:
        raise BookError("DEVICE=cuda: this machine shows no NVIDIA GPU; use DEVICE=cpu")
    return name if name != "auto" else "cuda" if gpu else "cpu"


@contextlib.contextmanager
def only_one(build_folder: Path) -> Iterator[None]:
    """Hold the build folder; a second build says so and stops. Released on any end."""
    build_folder.mkdir(parents=True, exist_ok=True)
    with (build_folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BookError(f"another build is writing to {build_folder}") from error
        yield


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, do it, and turn a BookError into a message and exit 1."""
    parser = argparse.ArgumentParser(prog="book.pipeline", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner = argparse.ArgumentParser(add_help=False)
    runner.add_argument("--profile", choices=PROFILES, default="standard")
    runner.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    runner.add_argument("--chapters", default="", help='numbers, such as "01 04"')
    runner.add_argument("--dataset", default="", help="a folder with your own data")
    runner.add_argument("--parameters", default="", help='more, such as "seed=1"')
    runner.add_argument("--again", default="", help="chapters to measure anew")
    part = verbs.add_parser("run", help="execute what changed", parents=[runner])
    part.add_argument("--hardware", default="", help="of which this has a part alone")
    builder = verbs.add_parser(
        "build", help="execute what changed and print the book", parents=[runner]
    )
    builder.add_argument("--build-folder", type=Path, default=Path("_build"))
    builder.add_argument(
        "--strict", action="store_true", help="a verdict that falls stops the build"
    )
    verbs.add_parser("check", help="check the prose without running anything")
    verbs.add_parser("data", help="get the data, and the model ready to run")
    comparer = verbs.add_parser("compare", help="this run beside a recorded one")
    comparer.add_argument(
        "--recorded", default="", help="its name; else that of the likest machine"
    )
    comparer.add_argument("--all", action="store_true", help="a line for each record")
    recorder = verbs.add_parser("record", help="keep this run in book/results")
    recorder.add_argument("--name", default="", help="such as two-core-laptop")
    verbs.add_parser("picture", help="photograph the built book for the README")
    chosen = parser.parse_args(arguments)
    try:
        _do(chosen, Path.cwd())
    except BookError as error:
        made = chosen.verb in ("build", "check", "data")
        print("\nThe book was not made." if made else "", file=sys.stderr)
        print(error, file=sys.stderr)
        return 1
    return 0


def _do(chosen: argparse.Namespace, root: Path) -> None:
    if chosen.verb == "check":
        return check(root)
    if chosen.verb == "data":
        _fetch()
        return _prepare()
    if chosen.verb == "compare":
        return print_comparison(
            root / "_build",
            root / RECORDED,
            root / "book/claims.yml",
            name=chosen.recorded,
            every=chosen.all,
        )
    if chosen.verb == "record":
        kept = record_run(chosen.name, root / "_build/results", root / RECORDED)
        print(f"recorded in {kept}: commit it")
        return None
    if chosen.verb == "picture":
        from book.pipeline.printing.picture import (
            take_picture,  # its browser is for developers
        )

        return take_picture(root / "_build/html", root / "book/_static/book.png")
    _build(chosen, root)
    return None


def _fetch() -> None:
    fetched = fetch_data(data_folder())
    print(f"data: {'fetched into' if fetched else 'complete in'} {data_folder()}")


def _prepare() -> None:
    """Convert the model for this machine, and choose its engine, while it is quiet."""
    load_encoder()
    print(f"model: ready in {cache_folder()}")


def _build(chosen: argparse.Namespace, root: Path) -> None:
    """Do `run` and `build`: the chapters, and for a build the pages, too."""
    began = time.perf_counter()
    device = choose_device(chosen.device)
    parameters = {"profile": chosen.profile, "device": device, "seed": 0}
    parameters |= dict(_parse_parameter(p) for p in chosen.parameters.split())
    if chosen.dataset:
        parameters["dataset"] = str(Path(chosen.dataset).resolve())
    selected, again = (frozenset(x.split()) for x in (chosen.chapters, chosen.again))
    own = own_data(parameters)
    if chosen.verb == "run":
        chapters = select_chapters(root, selected, own)
        run_chapters(chapters, parameters, root, again=again, hardware=chosen.hardware)
        return
    _fetch()
    folder = chosen.build_folder
    if own:
        print(f"{own.name}: {edition.left_out(select_chapters(root))}")
        folder = folder / "own" / own.name
    folder = folder / "partial" if selected else folder
    order = Order(parameters, selected, again, chosen.strict)
    with only_one(folder):
        page, fell = build(root, root / folder, order)
    for line in _findings(fell, parameters):
        print(line)
    print(f"The book is ready after {time.perf_counter() - began:.0f} s: open {page}")


def _findings(fell: Sequence[Judgement], parameters: Mapping[str, object]) -> list[str]:
    """The last lines of a build whose verdicts do not all stand."""
    if not fell:
        return []
    some = "1 verdict falls" if len(fell) == 1 else f"{len(fell)} verdicts fall"
    smoke = parameters["profile"] == "smoke"
    few = "A smoke run measures too little to judge a time." if smoke else ""
    return [
        f"{some} on this run; the ledger shows where else. {few}".strip(),
        *(f"  {judgement}" for judgement in fell),
        *_advice(fell),
    ]


def _parse_parameter(text: str) -> tuple[str, object]:
    """Read `seed=1`: a Python number, or else a string.

    Raises:
        BookError: If it is no assignment, or names what has an option of its own.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise BookError(f"a parameter must read name=value; got {text!r}")
    if name in _OPTIONS:
        raise BookError(f"PARAMETERS: set {name} by {name.upper()}=, got {text!r}")
    try:
        number = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value
    return name, number if isinstance(number, int | float) else value


if __name__ == "__main__":
    sys.exit(main())
