"""Decide which chapters have to run, and run them: alone, or in smoke side by side."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue

from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.results import Results
from book.pipeline.running.edition import own_data
from book.pipeline.running.execute import Run, execute, load_run, print_line
from book.pipeline.running.fingerprint import Fingerprint, Inputs, fingerprint
from recsys_lib.data.carried import data_folder
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.machine import describe_machine, usable_cores

_KEPT = "The other chapters are kept: the next build runs only what was mended."


def run_chapters(
    chapters: list[Chapter],
    parameters: Mapping[str, object],
    root: Path,
    *,
    again: Collection[str] = (),
    prepare: Callable[[], object] = lambda: None,
    hardware: str = "",
) -> dict[Chapter, Run]:
    """Execute the chapters whose inputs changed; take the others from the store.

    One at a time, with the whole machine; in the smoke profile, whose times nobody
    reads, side by side. A chapter that fails does not stop the others. A chapter with
    a parameter `results` comes after all others, and finds their records there.

    Args:
        chapters: What to run.
        parameters: For every chapter.
        root: Of the project.
        again: Numbers of chapters that run even if nothing changed.
        prepare: Called once before the first chapter runs, if one has to.
        hardware: Of the machine, where this process has a part of it alone.

    Raises:
        BookError: Before anything runs, if a chapter does not take the parameters; at
            the end, naming each chapter that failed, the cell and the reason.
    """
    check_parameters(chapters, parameters)
    late = [c for c in chapters if c.reads_records]
    first = [c for c in chapters if c not in late]
    options = _Options(
        again, cache(prepare), hardware or describe_machine().hardware_class
    )
    runs, faults = _run(first, parameters, root, options)
    if late and not faults:
        records = _save_records(late[0], parameters, root)
        more, faults = _run(late, parameters, root, options, records)
        runs |= more
    elif late:
        waiting = ", ".join(c.stem for c in late)
        faults.append(f"{waiting}: not run, for it reads the records of all others")
    if faults:
        raise BookError("\n".join([*faults, _KEPT]))
    return {chapter: runs[chapter] for chapter in chapters}


@dataclass(frozen=True)
class _Options:
    """As of `run_chapters`."""

    again: Collection[str]
    prepare: Callable[[], object]
    hardware: str


def check_parameters(
    chapters: Collection[Chapter], parameters: Mapping[str, object]
) -> None:
    """Check that each chapter declares the parameters, with values of these types.

    Raises:
        BookError: Naming the chapter, what it declares and what came.
    """
    for chapter in chapters:
        declared = chapter.parameters
        if unknown := sorted(set(parameters) - set(declared)):
            raise BookError(
                f"{chapter.stem}: unknown parameter {', '.join(unknown)}; "
                f"the chapter declares {', '.join(sorted(declared))}"
            )
        for name, value in parameters.items():
            wanted, given = type(declared[name]), type(value)
            if given is not wanted and (wanted, given) != (float, int):
                raise BookError(
                    f"{chapter.stem}: the parameter {name} must be of type "
                    f"{wanted.__name__}, as {name} = {declared[name]!r} is; "
                    f"got {value!r}"
                )


def _save_records(
    reader: Chapter, parameters: Mapping[str, object], root: Path
) -> Path:
    """Put the records of the stored runs into a folder for a chapter that reads them.

    Raises:
        BookError: If another chapter has no stored run.
    """
    store = _store(parameters, root)
    others = [c for c in find_chapters(root / "chapters") if not c.reads_records]
    runs = {c: load_run(store, c) for c in others}
    if missing := [c.number for c in others if runs[c] is None]:
        every = " ".join([*missing, reader.number])
        raise BookError(
            f"{reader.stem} reads the records of all other chapters; {store.name} has "
            f'none yet of {", ".join(missing)}: run CHAPTERS="{every}"'
        )
    folder = store / "records"
    Results({c.key: run.records for c, run in runs.items() if run}).save(folder)
    return folder


def _run(
    chapters: list[Chapter],
    parameters: Mapping[str, object],
    root: Path,
    options: _Options,
    records: Path | None = None,
) -> tuple[dict[Chapter, Run], list[str]]:
    """Execute those that changed; return the runs, and what went wrong.

    `records` are data of the chapters, where there are any.
    """
    store, own = _store(parameters, root), own_data(parameters)
    named = {**parameters, "dataset": own.name} if own else parameters  # not its path
    data = [p for p in data_folder().iterdir() if p.is_file()]
    inputs = Inputs(
        library=root / "recsys_lib",
        data=(*sorted(data), *sorted(records.glob("ch*.json") if records else ())),
        models=(minilm_folder(),),
        lock=root / "requirements.lock",
        hardware=options.hardware,
        own=own.sha256 if own else {},
    )
    wanted = {c: fingerprint(c, named, inputs) for c in chapters}
    runs = {c: load_run(store, c) for c in chapters}
    reasons = {c: _reason(c, wanted[c], runs[c], options.again) for c in chapters}
    changed = [c for c in chapters if reasons[c]]
    for chapter in chapters:
        if not reasons[chapter]:
            print_line(f"{chapter.stem}: unchanged, {wanted[chapter].digest}")
    if changed:
        options.prepare()
    if parameters["profile"] == "smoke" and len(changed) > 1:
        faults = _run_side_by_side(changed, parameters, root, options)
        return {c: run for c in chapters if (run := load_run(store, c))}, faults
    faults = []
    for chapter in changed:
        print_line(f"{chapter.stem}: {reasons[chapter]}")
        last = runs[chapter]
        try:
            runs[chapter] = execute(
                chapter,
                {**parameters, "results": str(records)} if records else parameters,
                wanted[chapter],
                store=store,
                expected_s=last.seconds if last else None,
            )
        except BookError as error:
            print_line(f"{chapter.stem}: failed")
            faults.append(str(error))
    return {chapter: run for chapter, run in runs.items() if run}, faults


def _store(parameters: Mapping[str, object], root: Path) -> Path:
    kinds = [parameters["profile"], parameters["device"]]
    kinds += [own.name] if (own := own_data(parameters)) else []
    return root / "_build/runs" / "-".join(map(str, kinds))


def _reason(
    chapter: Chapter, wanted: Fingerprint, stored: Run | None, again: Collection[str]
) -> str:
    """Why a chapter has to run, or nothing."""
    if stored is None:
        return "first run"
    if changes := wanted.changes(stored.parts):
        return f"changed: {', '.join(changes)}"
    return "measured again" if chapter.number in again else ""


def _run_side_by_side(
    chapters: list[Chapter],
    parameters: Mapping[str, object],
    root: Path,
    options: _Options,
) -> list[str]:
    """Each chapter in a process of its own, on cores of its own where that can be had.

    It then finds a smaller machine, and nobody disturbs its times. Returns what went
    wrong, an entry for each chapter that failed.
    """
    idle: SimpleQueue[set[int]] = SimpleQueue()
    for cores in _shares(len(chapters)):
        idle.put(cores)
    named = [k for k in ("profile", "device", "dataset") if k in parameters]
    given = {k: v for k, v in parameters.items() if k not in named}

    def run(chapter: Chapter) -> str:
        command = [sys.executable, "-m", "book.pipeline", "run"]
        command += ["--chapters", chapter.number, "--hardware", options.hardware]
        if chapter.number in options.again:
            command += ["--again", chapter.number]
        command += [f"--{name}={parameters[name]}" for name in named]
        command += ["--parameters", " ".join(f"{k}={v}" for k, v in given.items())]
        cores = idle.get()
        try:
            with subprocess.Popen(
                command, cwd=root, stderr=subprocess.PIPE, text=True
            ) as process:
                if cores:
                    os.sched_setaffinity(process.pid, cores)
                said = process.communicate()[1].strip()
        finally:
            idle.put(cores)
        if not process.returncode:
            return ""
        said = said.removesuffix(_KEPT).strip()
        return said or f"{chapter.stem}: its process ended with {process.returncode}"

    with ThreadPoolExecutor(idle.qsize()) as pool:
        return [fault for fault in pool.map(run, chapters) if fault]


def _shares(wanted: int) -> list[set[int]]:
    """Split the cores into at most so many sets; empty sets where they have no name."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(min(wanted, usable_cores()))]
    cores = sorted(os.sched_getaffinity(0))
    n = min(wanted, len(cores))
    return [set(cores[i::n]) for i in range(n)]
