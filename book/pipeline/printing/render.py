"""Build the pages from the staged folder; replace the old ones if there is no fault."""

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from book.pipeline.chapters import BookError
from book.pipeline.printing.editions import EVERY, FOLDERS, staged
from book.pipeline.printing.notebooks import write_notebooks
from recsys_lib.artifacts import sha256_of
from recsys_lib.machine import usable_cores

# Without the garbage collector, which takes a third of the time and frees little.
_JUPYTER_BOOK = (
    "import gc; gc.disable(); from jupyter_book.cli.main import main; main()"
)
_NOISE = re.compile(r"\x1b\[[0-9;]*m")
PRINTED = ".printed"  # file beside the pages: digest of what they were made of


def digest(stage: Path, lock: Path) -> str:
    """Hash all that decides the pages: the staged files, the press, the lock file.

    Args:
        stage: What `stage.stage` wrote, not yet built.
        lock: The lock file.
    """
    press = Path(__file__).parents[1]
    files = {f"stage/{x.relative_to(stage)}": x for x in stage.rglob("*")}
    sources = (*press.rglob("*.py"), *press.rglob("templates/*.html"))
    files |= {f"press/{x.relative_to(press)}": x for x in sources}
    files["lock"] = lock
    lines = [f"{n} {sha256_of(x)}" for n, x in sorted(files.items()) if x.is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def is_printed(html: Path, digest: str) -> bool:
    """Whether a folder of pages was made of exactly this."""
    mark = html / PRINTED
    whole = (html / "index.html").exists() and mark.exists()
    return whole and mark.read_text() == digest


def render(stage: Path, root: Path, digest: str, *, strict: bool = True) -> Path:
    """Build the pages with jupyter-book; return the folder of the HTML.

    Every page is built, since pages also show titles and figure numbers of others.

    Args:
        stage: What `stage.stage` wrote.
        root: Of the project; `book.pipeline` is imported from there.
        digest: Of what the pages are made of, stored with them.
        strict: Treat every warning and unresolved reference as an error.

    Raises:
        BookError: With the warnings, if there are any.
    """
    html = sphinx(stage, root, "html", strict=strict)
    write_notebooks(stage, html, html / "notebooks", root)
    (html / PRINTED).write_text(digest)
    return html


def sphinx(stage: Path, root: Path, builder: str, *, strict: bool = False) -> Path:
    """Run one of Sphinx's builders on the staged folder; return what it made.

    Args:
        stage: What `stage.stage` wrote.
        root: Of the project; `book.pipeline` is imported from there.
        builder: "html", "singlehtml" or "epub".
        strict: Treat every warning and unresolved reference as an error.

    Raises:
        BookError: With the warnings, if there are any.
    """
    options = ["--all", "--quiet", *(["-W", "-n", "--keep-going"] if strict else [])]
    if builder != "html":
        options += ["--builder", "custom", "--custom-builder", builder]
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(stage)]
    done = subprocess.run(
        [*command, *options], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = _NOISE.sub("", done.stdout + done.stderr).splitlines()
        faults = [
            _plain(line, stage)
            for line in lines
            if re.search("WARN|ERROR|exception: ", line)
        ]
        raise BookError("\n".join(faults or lines[-15:]))
    return stage / "_build" / builder


def check_links(stage: Path, root: Path) -> str:
    """Ask every address that the staged book links to; say how many there are.

    Raises:
        BookError: With the dead links, or if there is no staged book.
    """
    if not (stage / "_toc.yml").exists():
        raise BookError(f"{stage} must hold a book; run `make book` first")
    found = stage / "_build/linkcheck/output.json"
    with contextlib.suppress(BookError):  # which names the first lines alone
        sphinx(stage, root, "linkcheck")
    if not found.exists():
        raise BookError("the links could not be checked")
    links = [json.loads(line) for line in found.read_text().splitlines()]
    dead = [x for x in links if x["status"] in ("broken", "timeout")]
    if dead:
        lines = (f"{x['filename']}: {x['uri']}: {x['info']}" for x in dead)
        raise BookError("\n".join([f"{len(dead)} of {len(links)} are dead:", *lines]))
    return f"{len(links)} links, none of them dead"


def print_editions(build_folder: Path, root: Path, *, strict: bool = True) -> bool:
    """Print each edition whose staged pages have changed, side by side.

    The pages of an edition that is not staged are deleted.

    Args:
        build_folder: With `stage` and a `stage-<name>` for each other edition.
        root: Of the project.
        strict: As of `render`.

    Returns:
        Whether any was printed; `html` holds all, each other edition in a folder.

    Raises:
        BookError: With the warnings, if there are any; the last good pages stay.
    """
    html = build_folder / "html"
    # The English first: the others are put below its pages.
    places = {staged(build_folder, x): html / folder for x, folder in EVERY.items()}
    for stage in [x for x in places if not x.exists()]:
        shutil.rmtree(places.pop(stage), ignore_errors=True)
    made_of = {stage: digest(stage, root / "requirements.lock") for stage in places}
    new = [x for x, place in places.items() if not is_printed(place, made_of[x])]
    with ThreadPoolExecutor(max_workers=usable_cores()) as printers:
        made = printers.map(
            lambda stage: render(stage, root, made_of[stage], strict=strict), new
        )
        finished = list(made)
    for stage, pages in zip(new, finished, strict=True):
        if places[stage] == html and html.exists():
            _keep_others(html, pages)
        swap(pages, places[stage])
    return bool(new)


def _keep_others(html: Path, new: Path) -> None:
    """Move the other editions below the new pages."""
    for name in FOLDERS.values():
        if (html / name).exists():
            (html / name).rename(new / name)


def swap(new: Path, place: Path) -> None:
    """Replace a folder by a finished new one."""
    old = place.with_name(f"{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _plain(line: str, stage: Path) -> str:
    """Name the cell of a fault: myst-nb counts 10,000 lines for each."""
    line = line.replace(f"{stage}/", "")
    return re.sub(
        r"\.ipynb:(\d+)",
        lambda hit: f", cell {int(hit[1]) // 10_000}, line {int(hit[1]) % 10_000}",
        line,
    )
