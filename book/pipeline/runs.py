"""Decide which chapters have to run, and run them: alone, or in smoke side by side."""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.edition import own_data
from book.pipeline.execute import Run, execute, load_run, print_line
from book.pipeline.fingerprint import Fingerprint, Inputs, fingerprint
from book.pipeline.results import Results
from recsys_lib.datasets import data_folder
from recsys_lib.provenance import describe_machine, usable_cores
from recsys_lib.tokens import minilm_folder


def run_chapters(
    chapters: list[Chapter], parameters: Mapping[str, object], root: Path
) -> dict[Chapter, Run]:
    """Execute the chapters whose inputs changed; take the others from the store.

    One at a time, with the whole machine; in the smoke profile, whose times nobody
    reads, side by side. A chapter with a parameter `results` comes after all others,
    and finds their records in that folder.

    Raises:
        BookError: Of the first chapter that fails, after the others have ended; or
            naming chapters whose records another one asks for and nobody made.
    """
    late = [c for c in chapters if c.reads_records]
    runs = _run([c for c in chapters if c not in late], parameters, root)
    if late:
        runs |= _run(late, parameters, root, _save_records(late[0], parameters, root))
    return {chapter: runs[chapter] for chapter in chapters}


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
    records: Path | None = None,
) -> dict[Chapter, Run]:
    """Execute those that changed; `records` are data of theirs, where there are any."""
    store, own = _store(parameters, root), own_data(parameters)
    named = {**parameters, "dataset": own.name} if own else parameters  # not its path
    data = [p for p in data_folder().iterdir() if p.is_file()]
    inputs = Inputs(
        library=root / "recsys_lib",
        data=(*sorted(data), *sorted(records.glob("ch*.json") if records else ())),
        models=(minilm_folder() / "model.safetensors",),
        lock=root / "requirements.lock",
        hardware=describe_machine().hardware_class,
        own=own.sha256 if own else {},
    )
    wanted = {c: fingerprint(c, named, inputs) for c in chapters}
    runs = {c: load_run(store, c) for c in chapters}
    reasons = {c: _reason(wanted[c], runs[c]) for c in chapters}
    changed = [c for c in chapters if reasons[c]]
    for chapter in chapters:
        if not reasons[chapter]:
            print_line(f"{chapter.stem}: unchanged, {wanted[chapter].digest}")
    if parameters["profile"] == "smoke" and len(changed) > 1:
        _run_side_by_side(changed, parameters, root)
        return {c: run for c in chapters if (run := load_run(store, c))}
    for chapter in changed:
        print_line(f"{chapter.stem}: {reasons[chapter]}")
        last = runs[chapter]
        runs[chapter] = execute(
            chapter,
            {**parameters, "results": str(records)} if records else parameters,
            wanted[chapter],
            store=store,
            expected_s=last.seconds if last else None,
        )
    return {chapter: run for chapter, run in runs.items() if run}


def _store(parameters: Mapping[str, object], root: Path) -> Path:
    kinds = [parameters["profile"], parameters["device"]]
    kinds += [own.name] if (own := own_data(parameters)) else []
    return root / "_build/runs" / "-".join(map(str, kinds))


def _reason(wanted: Fingerprint, kept: Run | None) -> str:
    """Why a chapter has to run, or nothing."""
    if kept is None:
        return "first run"
    changes = wanted.changes(kept.parts)
    return f"changed: {', '.join(changes)}" if changes else ""


def _run_side_by_side(
    chapters: list[Chapter], parameters: Mapping[str, object], root: Path
) -> None:
    """Each chapter in a process of its own, on cores of its own where that can be had.

    It then finds a smaller machine, and nobody disturbs its times.
    """
    idle: SimpleQueue[set[int]] = SimpleQueue()
    for cores in _shares(len(chapters)):
        idle.put(cores)
    options = [k for k in ("profile", "device", "dataset") if k in parameters]
    given = {k: v for k, v in parameters.items() if k not in options}

    def run(chapter: Chapter) -> str:
        command = [sys.executable, "-m", "book.pipeline", "run"]
        command += ["--chapters", chapter.number]
        command += [f"--{name}={parameters[name]}" for name in options]
        command += ["--parameters", " ".join(f"{k}={v}" for k, v in given.items())]
        cores = idle.get()
        with subprocess.Popen(
            command, cwd=root, stderr=subprocess.PIPE, text=True
        ) as process:
            if cores:
                os.sched_setaffinity(process.pid, cores)
            said = process.communicate()[1]
        idle.put(cores)
        return said if process.returncode else ""

    with ThreadPoolExecutor(idle.qsize()) as pool:
        faults = [fault for fault in pool.map(run, chapters) if fault]
    if faults:
        raise BookError(faults[0].strip())


def _shares(wanted: int) -> list[set[int]]:
    """Split the cores into at most so many sets; empty sets where they have no name."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(min(wanted, usable_cores()))]
    cores = sorted(os.sched_getaffinity(0))
    n = min(wanted, len(cores))
    return [set(cores[i::n]) for i in range(n)]
