"""Run one chapter with papermill, check its outputs, and store the run if they pass.

The result gets its final name in one rename, so that a killed run leaves nothing that
a later one could mistake for a finished run.
"""

import contextlib
import json
import logging
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from traitlets.config import Config

from book.pipeline.chapters import BookError, Chapter, Notebook, code_cells
from book.pipeline.running.fingerprint import Fingerprint
from recsys_lib.records import RECORD_MIME

_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")


def print_line(text: str) -> None:
    """Print a line in one write: chapters that run side by side share the terminal."""
    sys.stdout.write(f"{text}\n")


@dataclass(frozen=True)
class Run:
    """An executed chapter.

    Attributes:
        notebook: With its outputs.
        records: By name.
        parts: Of its fingerprint.
        seconds: That it took.
        stderr: What cells wrote to stderr, such as a warning of a library on a machine
            that is new to it: cell -> its start. It is no part of the notebook.
    """

    notebook: Notebook
    records: dict[str, dict[str, Any]]
    parts: dict[str, str]
    seconds: float
    stderr: dict[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Digest of the inputs of this run."""
        return Fingerprint(self.parts).digest


def load_run(store: Path, chapter: Chapter) -> Run | None:
    """Return the last good run of a chapter, or None if there is none, or a torso."""
    path = store / f"{chapter.stem}.json"
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        notebook = nbformat.from_dict(stored.pop("notebook"))
        nbformat.validate(notebook)
        return Run(notebook, **stored)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        print_line(f"{chapter.stem}: {path} is damaged ({type(error).__name__})")
    except nbformat.ValidationError:
        print_line(f"{chapter.stem}: {path} is damaged (its notebook)")
    return None


def execute(
    chapter: Chapter,
    parameters: Mapping[str, object],
    fingerprint: Fingerprint,
    *,
    store: Path,
    expected_s: float | None = None,
    say: Callable[[str], None] = print_line,
) -> Run:
    """Execute a chapter from top to bottom and store the run.

    Args:
        chapter: What to run.
        parameters: Injected by papermill; the chapter declares each of them.
        fingerprint: Of the inputs, stored beside the outputs.
        store: Folder of runs; nothing is written there unless every check passes. A
            notebook of which a cell raises is left in the folder `failed` beside it.
        expected_s: Seconds of the last run, shown with the progress.
        say: Called with each line of progress.

    Raises:
        BookError: For a cell that raises, a kernel that dies, an error in an output, a
            memory address, or a record given twice.
    """
    started = time.perf_counter()
    expected = f", about {expected_s:.0f} s expected" if expected_s else ""
    say(f"{chapter.stem}: {len(chapter.code)} cells{expected}")
    failed = store.parents[1] / f"failed/{chapter.stem}.ipynb"
    failed.unlink(missing_ok=True)
    notebook = _normalise(_papermill(chapter, dict(parameters), say, failed))
    stderr = _take_stderr(notebook)
    _verify(chapter, notebook)
    run = Run(
        notebook=notebook,
        records=_records(chapter, notebook),
        parts=dict(fingerprint.parts),
        seconds=round(time.perf_counter() - started, 1),
        stderr=stderr,
    )
    write_atomically(store / f"{chapter.stem}.json", json.dumps(vars(run), indent=1))
    say(f"{chapter.stem}: done in {run.seconds:.0f} s, {len(run.records)} records")
    return run


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


class _Progress(NBClientEngine):  # type: ignore[misc]
    """papermill's own engine, with a line of progress before each code cell."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        tell: Callable[[Any], None],
        keep: Callable[[Notebook], None],
        **kwargs: Any,
    ) -> Any:
        start = nb_man.cell_start

        def cell_start(cell: Any, *args: Any, **more: Any) -> None:
            tell(cell)
            start(cell, *args, **more)

        nb_man.cell_start = cell_start
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)
        finally:
            keep(nb_man.nb)


papermill_engines.register("book", _Progress)


def _papermill(
    chapter: Chapter,
    parameters: dict[str, object],
    say: Callable[[str], None],
    failed: Path,
) -> Notebook:
    """Execute in a kernel on a private socket; name and keep the cell that raises."""
    reached: list[Notebook] = []
    begun, seen = time.perf_counter(), 0
    logging.getLogger("papermill").setLevel(logging.ERROR)

    def tell(cell: Notebook) -> None:
        nonlocal seen
        if cell.cell_type == "code" and not _injected(cell):
            seen += 1
            at = f"cell {seen} of {len(chapter.code)}"
            say(f"{chapter.stem}: {at}, {time.perf_counter() - begun:.0f} s")

    with _private_socket() as config:
        try:
            return papermill.execute_notebook(
                chapter.notebook,
                None,  # no file: papermill would write it twice for every cell
                parameters,
                engine_name="book",
                language="python",
                progress_bar=False,
                cwd=chapter.path.parent,
                config=config,
                tell=tell,
                keep=reached.append,
                shutdown_kernel="immediate",  # it has nothing to clean up
            )
        except papermill.PapermillExecutionError as error:
            failed.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(reached[-1], failed)
            where = f"{chapter.stem}: cell {seen} raised"
            cell = "\n    ".join(error.source.splitlines()[:6])
            raise BookError(
                f"{where} {error.ename}: {error.evalue}\n    {cell}"
            ) from error
        except DeadKernelError as error:
            raise BookError(
                f"{chapter.stem}: cell {seen}: the kernel died; the system kills a "
                f"process that needs more memory than there is"
            ) from error


@contextlib.contextmanager
def _private_socket() -> Iterator[Config]:
    """Kernel options: a Unix socket in a temporary folder, closed to other users."""
    with tempfile.TemporaryDirectory(prefix="book-kernel-") as folder:
        options = {"transport": "ipc", "ip": f"{folder}/kernel"}
        yield Config({"KernelManager": options})


def _take_stderr(notebook: Notebook) -> dict[str, str]:
    """Take what cells wrote to stderr out of their outputs."""
    taken: dict[str, str] = {}
    for cell, place in _code_cells(notebook):
        wrote = [x for x in cell.outputs if x.get("name") == "stderr"]
        if wrote:
            taken[place] = " ".join(map(_text, wrote))
            cell.outputs = [x for x in cell.outputs if x not in wrote]
    return taken


def _verify(chapter: Chapter, notebook: Notebook) -> None:
    """Refuse error outputs and memory addresses."""
    for cell, place in _code_cells(notebook):
        for output in cell.outputs:
            text = _text(output)
            if output.output_type == "error":
                raise BookError(
                    f"{chapter.stem}: {place} raised {output.ename}: {text}"
                )
            if _ADDRESS.search(text):
                raise BookError(
                    f"{chapter.stem}: {place} prints a memory address, "
                    f"which differs in every run: {text[:80]}"
                )


def _records(chapter: Chapter, notebook: Notebook) -> dict[str, dict[str, Any]]:
    """Collect the records of a notebook by name; a name may be used once."""
    found: dict[str, dict[str, Any]] = {}
    for cell, place in _code_cells(notebook):
        for output in cell.outputs:
            made = output.get("data", {}).get(RECORD_MIME)
            if made and found.setdefault(made["name"], made) is not made:
                raise BookError(
                    f"{chapter.stem}: {place} records {made['name']!r} a second time"
                )
    return found


def _normalise(notebook: Notebook) -> Notebook:
    """Remove what differs between equal runs: times, papermill's metadata, counters."""
    clean = nbformat.from_dict(notebook)
    clean.metadata = {
        "kernelspec": notebook.metadata.kernelspec,
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    clean.cells = [cell for cell in clean.cells if not _injected(cell)]
    for position, cell in enumerate(clean.cells):
        cell["id"] = f"cell-{position:03d}"
        for note in ("papermill", "execution"):
            cell.metadata.pop(note, None)
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = None
    return clean


def _code_cells(notebook: Notebook) -> Iterator[tuple[Notebook, str]]:
    for n, cell in enumerate(code_cells(notebook), start=1):
        yield cell, f"cell {n}"


def _injected(cell: Notebook) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", [])


def _text(output: Notebook) -> str:
    plain = output.get("data", {}).get("text/plain", "")
    return str(output.get("text") or output.get("evalue") or plain).strip()[:300]
