"""The press on the command line, `python -m book.pipeline`: build, and other verbs."""

import argparse
import ast
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from book.pipeline.build import (
    RECORDED,
    Order,
    advice,
    build,
    check,
    choose_device,
    fetch,
    only_one,
    prepare,
    report,
    select_chapters,
)
from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import ENGLISH
from book.pipeline.printing.editions import FOLDERS
from book.pipeline.records.claims import Judgement
from book.pipeline.records.compare import print_comparison, record_run
from book.pipeline.running import edition
from book.pipeline.running.changed import changed_pages
from book.pipeline.running.edition import edition_of
from book.pipeline.running.runs import run_chapters
from book.pipeline.translating.update import check_translation, translate
from recsys_lib.arguments import is_verbose, sentence

PROFILES = ("smoke", "standard", "full")
# Parameters with an option of their own.
_OPTIONS = ("profile", "device", "dataset", "models")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do it; whatever fails ends in a message and exit 1.

    With VERBOSE=1 in the environment, an error that is no BookError shows its trace.
    """
    chosen = _parser().parse_args(arguments)
    try:
        _do(chosen, Path.cwd())
    except BookError as error:
        print(f"{_before(chosen)}\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What was finished is stored.", file=sys.stderr)
        return 130
    except Exception as error:
        if is_verbose():
            raise
        print(f"{_before(chosen)}\n{sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _before(chosen: argparse.Namespace) -> str:
    made = chosen.verb in ("build", "check", "data", "publish")
    return "\nThe book was not made." if made else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="book.pipeline", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    reader = argparse.ArgumentParser(add_help=False)
    reader.add_argument("--dataset", default="", help="a folder with your own data")
    reader.add_argument(
        "--models", default="", help="folders or Hugging Face ids of your encoders"
    )
    runner = argparse.ArgumentParser(add_help=False, parents=[reader])
    runner.add_argument("--profile", choices=PROFILES, default="standard")
    runner.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    runner.add_argument("--chapters", default="", help='numbers, such as "01 04"')
    runner.add_argument("--parameters", default="", help='more, such as "seed=1"')
    runner.add_argument("--again", default="", help="chapters to measure again")
    part = verbs.add_parser("run", help="execute what changed", parents=[runner])
    part.add_argument(
        "--hardware", default="", help="class of the machine, if this uses a part of it"
    )
    builder = verbs.add_parser(
        "build", help="execute what changed and print the book", parents=[runner]
    )
    builder.add_argument("--build-folder", type=Path, default=Path("_build"))
    builder.add_argument("--editions", default="", help='such as "en"; else all')
    builder.add_argument(
        "--strict",
        action="store_true",
        help="a verdict that falls, or a warning, stops it",
    )
    publisher = verbs.add_parser(
        "publish", help="build the book, then every form of it", parents=[runner]
    )
    publisher.add_argument("--build-folder", type=Path, default=Path("_build"))
    publisher.add_argument("--strict", action="store_true")
    publisher.add_argument("--editions", default="", help='such as "en"; else all')
    publisher.add_argument("--formats", default="", help='such as "html epub"')
    verbs.add_parser(
        "report", help="print the first page alone, in minutes", parents=[runner]
    )
    verbs.add_parser(
        "results", help="print the folder of a book's results", parents=[reader]
    )
    checker = verbs.add_parser("check", help="check the prose and its translation")
    checker.add_argument(
        "--complete", action="store_true", help="fail unless all is translated"
    )
    verbs.add_parser("translate", help="write what a translator has to do")
    verbs.add_parser("data", help="get the data, and the model ready to run")
    comparer = verbs.add_parser(
        "compare", help="compare this run with a recorded one", parents=[reader]
    )
    comparer.add_argument(
        "--recorded", default="", help="its name; else that of the most similar machine"
    )
    comparer.add_argument("--all", action="store_true", help="a line for each record")
    recorder = verbs.add_parser("record", help="save this run in book/results")
    recorder.add_argument("--name", default="", help="such as two-core-laptop")
    changer = verbs.add_parser("changed", help="name the pages that a change concerns")
    changer.add_argument("--since", default="HEAD", help="a commit")
    verbs.add_parser("linkcheck", help="find dead links in the last book")
    runner = verbs.add_parser("clean-run", help="run notebooks.zip in a clean folder")
    runner.add_argument("--chapters", default="", help='numbers, such as "01 04"')
    runner.add_argument("--pins", default="", help='such as "numpy==2.0.2"')
    verbs.add_parser("picture", help="photograph the built book for the README")
    return parser


def _do(chosen: argparse.Namespace, root: Path) -> None:
    match chosen.verb:
        case "run":
            _run(chosen, root)
        case "build":
            _build(chosen, root)
        case "report":
            _report(chosen, root)
        case "publish":
            _publish(chosen, root)
        case "results":
            own = edition_of(_named(chosen))
            print(_results_in(edition.output_folder(Path("_build"), own)))
        case "check":
            check(root)
            check_translation(root, complete=chosen.complete)
        case "translate":
            for line in translate(root, root / "_build"):
                print(line)
        case "data":
            fetch()
            prepare()
        case "compare":
            own = edition_of(_named(chosen))
            print_comparison(
                _results_in(edition.output_folder(root / "_build", own)),
                root / RECORDED,
                root / "book/claims.yml",
                name=chosen.recorded,
                every=chosen.all,
            )
        case "record":
            saved = record_run(chosen.name, root / "_build/results", root / RECORDED)
            print(f"recorded in {saved}: commit it")
        case "changed":
            print("\n".join(changed_pages(root, chosen.since)) or "no page")
        case "linkcheck":
            from book.pipeline.printing.render import check_links

            print(check_links(root / "_build/stage", root))
        case "clean-run":
            from book.pipeline.printing.clean_run import run_archive

            archive = root / "_build/publish/notebooks.zip"
            run_archive(archive, chosen.chapters.split(), chosen.pins.split())
        case "picture":  # its browser is installed for developers only
            from book.pipeline.printing.picture import take_picture

            take_picture(root / "_build/html", root / "book/_static/book.png")


def _results_in(folder: Path) -> Path:
    """The results of a book; if there are none, those of a build of some chapters."""
    places = [folder / "results", folder / "partial/results"]
    return next((x for x in places if (x / "run.json").exists()), places[0])


def _order(chosen: argparse.Namespace) -> Order:
    parameters: dict[str, object] = {
        "profile": chosen.profile,
        "device": choose_device(chosen.device),
        "seed": 0,
    }
    parameters |= dict(_parse_parameter(p) for p in chosen.parameters.split())
    parameters |= _named(chosen)
    selected, again = (frozenset(x.split()) for x in (chosen.chapters, chosen.again))
    return Order(
        parameters,
        selected,
        again,
        strict=getattr(chosen, "strict", False),
        languages=_languages(getattr(chosen, "editions", "").split()),
    )


def _languages(editions: Sequence[str]) -> frozenset[str]:
    """Languages of the editions beside the English, which is always printed.

    Raises:
        BookError: If there is no such edition.
    """
    known = {name: language for language, name in FOLDERS.items()}
    if unknown := {*editions} - {*known, ENGLISH}:
        raise BookError(
            f"EDITIONS: {unknown.pop()!r} is none of {', '.join([ENGLISH, *known])}"
        )
    chosen = {known[x] for x in editions if x in known}
    return frozenset(chosen if editions else known.values())


def _named(chosen: argparse.Namespace) -> dict[str, str]:
    """The parameters `dataset` and `models`, with whole paths; none that is empty.

    Raises:
        BookError: If there is no such model, or an option about the data is wrong.
    """
    edition.check_options(chosen.dataset)
    data = str(Path(chosen.dataset).resolve()) if chosen.dataset else ""
    own = edition_of({"models": chosen.models})
    models = shlex.join(str(model.folder) for model in own.models) if own else ""
    return {k: v for k, v in {"dataset": data, "models": models}.items() if v}


def _run(chosen: argparse.Namespace, root: Path) -> None:
    order = _order(chosen)
    chapters = select_chapters(root, order.selected, edition_of(order.parameters))
    hardware = chosen.hardware
    run_chapters(chapters, order.parameters, root, again=order.again, hardware=hardware)


def _publish(chosen: argparse.Namespace, root: Path) -> None:
    from book.pipeline.printing.publish import FORMATS, publish

    if chosen.strict and _languages(chosen.editions.split()):
        check_translation(root, complete=True)
    made = _build(chosen, root)
    folder = publish(root, root / made, chosen.formats.split() or FORMATS)
    print(f"Published in {folder.relative_to(root)}")


def _build(chosen: argparse.Namespace, root: Path) -> Path:
    """Build the book; return the folder that it is in."""
    began = time.perf_counter()
    order, folder = _order(chosen), chosen.build_folder
    own = edition_of(order.parameters)
    fetch()
    if own:
        if own.data:
            print(f"{own.data.name}: {edition.described(own.data)}")
        print(f"{own.name}: {edition.left_out(select_chapters(root), own)}")
        own.describe_models()  # a model that cannot be loaded stops here
    folder = edition.output_folder(folder, own)
    folder = folder / "partial" if order.selected else folder
    with only_one(folder):
        page, fell = build(root, root / folder, order)
    for line in _findings(fell, order.parameters):
        print(line)
    print(f"The book is ready after {time.perf_counter() - began:.0f} s: open {page}")
    return folder


def _report(chosen: argparse.Namespace, root: Path) -> None:
    began = time.perf_counter()
    order = _order(chosen)
    own = edition_of(order.parameters)
    fetch()
    if own and own.data:
        print(f"{own.data.name}: {edition.described(own.data)}")
    folder = edition.output_folder(Path("_build"), own)
    with only_one(folder):
        page = report(root, root / folder, order)
    print(f"The report is ready after {time.perf_counter() - began:.0f} s: open {page}")


def _findings(fell: Sequence[Judgement], parameters: Mapping[str, object]) -> list[str]:
    """The last lines of a build in which verdicts fall."""
    if not fell:
        return []
    some = "1 verdict falls" if len(fell) == 1 else f"{len(fell)} verdicts fall"
    smoke = parameters["profile"] == "smoke"
    few = "A smoke run measures too little to judge a time." if smoke else ""
    return [
        f"{some} on this run; the ledger shows where else. {few}".strip(),
        *(f"  {judgement}" for judgement in fell),
        *advice(fell),
    ]


def _parse_parameter(text: str) -> tuple[str, object]:
    """Read `seed=1`: a Python number, or else a string.

    Raises:
        BookError: If it is no assignment, or the name has an option of its own.
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
