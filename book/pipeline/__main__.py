"""The press on the command line, `python -m book.pipeline`: build, and other verbs."""

import argparse
import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from book.pipeline import edition
from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.claims import load_claims
from book.pipeline.compare import print_comparison, record_run, recorded_runs
from book.pipeline.edition import own_data
from book.pipeline.fetch import fetch_data
from book.pipeline.pages import ledger, provenance
from book.pipeline.render import render, swap
from book.pipeline.results import Results
from book.pipeline.runs import run_chapters
from book.pipeline.stage import check_prose, stage
from recsys_lib.datasets import Dataset, data_folder
from recsys_lib.embeddings import load_encoder
from recsys_lib.kept import cache_folder
from recsys_lib.provenance import describe_machine

PROFILES = ("smoke", "standard", "full")
RECORDED = "book/results"


def build(
    root: Path,
    build_folder: Path,
    parameters: Mapping[str, object],
    selected: frozenset[str] = frozenset(),
) -> Path:
    """Run what changed, check everything, print the book; return its first page.

    Args:
        root: Of the project.
        build_folder: `_build`, or another for a book beside it.
        parameters: For every chapter: profile, device, seed.
        selected: Numbers of the chapters to print; all of them when empty.

    Raises:
        BookError: Naming what must be mended; the last good book is left in place.
    """
    check(root)  # before anything runs
    every, own = select_chapters(root), own_data(parameters)
    chapters = select_chapters(root, selected, own)
    note, named = "", dict(parameters)
    if own:
        note, named["dataset"] = edition.note(own, every), own.name
    runs = run_chapters(chapters, parameters, root)
    results = Results(
        {chapter.key: run.records for chapter, run in runs.items()},
        facts(named)
        | {
            "absent": sorted({c.key for c in every} - {c.key for c in chapters}),
            "fingerprints": {c.key: run.fingerprint for c, run in runs.items()},
        },
    )
    pages = {
        "ledger": ledger(load_claims(root / "book/claims.yml"), results),
        "provenance": provenance(
            runs,
            describe_machine(),
            recorded="" if own else recorded_runs(results, root / RECORDED),
            note=note,
        ),
    }
    staged = build_folder / "stage"
    stage(staged, root, runs, results, pages, note)
    html = render(staged, root, strict=not (own or selected))
    results.save(build_folder / "results.new")
    swap(build_folder / "results.new", build_folder / "results")
    swap(html, build_folder / "html")
    return build_folder / "html/index.html"


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


def facts(parameters: Mapping[str, object]) -> dict[str, object]:
    """What `run.*` citations may name: the parameters and the machine."""
    return {**parameters, **asdict(describe_machine())}


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
    verbs.add_parser("run", help="execute what changed", parents=[runner])
    builder = verbs.add_parser(
        "build", help="execute what changed and print the book", parents=[runner]
    )
    builder.add_argument("--build-folder", type=Path, default=Path("_build"))
    verbs.add_parser("check", help="check the prose without running anything")
    verbs.add_parser("data", help="get the data, and the model ready to run")
    comparer = verbs.add_parser("compare", help="this run beside a recorded one")
    comparer.add_argument("--recorded", default="", help="its name; else the newest")
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
        fetched = fetch_data(data_folder())
        print(f"data: {'fetched into' if fetched else 'complete in'} {data_folder()}")
        load_encoder()  # converts the model for this machine once
        print(f"model: ready in {cache_folder()}")
        return None
    if chosen.verb == "compare":
        return print_comparison(root / "_build", root / RECORDED, chosen.recorded)
    if chosen.verb == "record":
        kept = record_run(chosen.name, root / "_build/results", root / RECORDED)
        print(f"recorded in {kept}: commit it")
        return None
    if chosen.verb == "picture":
        from book.pipeline.picture import take_picture  # its browser is for developers

        return take_picture(root / "_build/html", root / "book/_static/book.png")
    began = time.perf_counter()
    selected = frozenset(chosen.chapters.split())
    device = choose_device(chosen.device)
    parameters = {"profile": chosen.profile, "device": device, "seed": 0}
    parameters |= dict(_parse_parameter(p) for p in chosen.parameters.split())
    if chosen.dataset:
        parameters["dataset"] = str(Path(chosen.dataset).resolve())
    own = own_data(parameters)
    if chosen.verb == "run":
        run_chapters(select_chapters(root, selected, own), parameters, root)
        return None
    folder = chosen.build_folder
    if own:
        print(f"{own.name}: {edition.left_out(select_chapters(root))}")
        folder = folder / "own" / own.name
    folder = folder / "partial" if selected else folder
    with only_one(folder):
        page = build(root, root / folder, parameters, selected)
    print(f"The book is ready after {time.perf_counter() - began:.0f} s: open {page}")
    return None


def _parse_parameter(text: str) -> tuple[str, object]:
    name, sign, value = text.partition("=")
    if not sign:
        raise BookError(f"a parameter must read name=value; got {text!r}")
    return name, int(value) if value.lstrip("-").isdigit() else value


if __name__ == "__main__":
    sys.exit(main())
