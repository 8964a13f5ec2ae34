"""Decide which chapters have to run, and run them: alone, or in smoke side by side."""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from book.pipeline.chapters import BookError, Chapter
from book.pipeline.execute import Run, execute, load_run
from book.pipeline.fingerprint import Fingerprint, Inputs, fingerprint
from recsys_lib.datasets import data_folder
from recsys_lib.provenance import describe_machine
from recsys_lib.tokens import minilm_folder


def run_chapters(
    chapters: list[Chapter], parameters: Mapping[str, object], root: Path
) -> dict[Chapter, Run]:
    """Execute the chapters whose inputs changed; take the others from the store.

    One at a time, so that none disturbs another's times; in the smoke profile, whose
    times nobody reads, as many as there are cores.

    Raises:
        BookError: Of the first chapter that fails, after the others have ended.
    """
    store = root / "_build/runs" / f"{parameters['profile']}-{parameters['device']}"
    inputs = Inputs(
        library=root / "recsys_lib",
        data=tuple(sorted(p for p in data_folder().iterdir() if p.is_file())),
        models=(minilm_folder() / "model.safetensors",),
        lock=root / "requirements.lock",
        hardware=describe_machine().hardware_class,
    )
    wanted = {c: fingerprint(c, parameters, inputs) for c in chapters}
    runs = {c: load_run(store, c) for c in chapters}
    reasons = {c: _reason(wanted[c], runs[c]) for c in chapters}
    changed = [c for c in chapters if reasons[c]]
    for chapter in chapters:
        if not reasons[chapter]:
            print(f"{chapter.stem}: unchanged, {wanted[chapter].digest}")
    if parameters["profile"] == "smoke" and len(changed) > 1:
        _run_side_by_side(changed, parameters, root)
        return {c: run for c in chapters if (run := load_run(store, c))}
    for chapter in changed:
        print(f"{chapter.stem}: {reasons[chapter]}")
        last = runs[chapter]
        runs[chapter] = execute(
            chapter,
            parameters,
            wanted[chapter],
            store=store,
            expected_s=last.seconds if last else None,
        )
    return {chapter: run for chapter, run in runs.items() if run}


def _reason(wanted: Fingerprint, kept: Run | None) -> str:
    """Why a chapter has to run, or nothing."""
    if kept is None:
        return "first run"
    changes = wanted.changes(kept.parts)
    return f"changed: {', '.join(changes)}" if changes else ""


def _run_side_by_side(
    chapters: list[Chapter], parameters: Mapping[str, object], root: Path
) -> None:
    """Each chapter in a process of its own: nbclient's loop is not for threads."""
    given = {k: v for k, v in parameters.items() if k not in ("profile", "device")}

    def run(chapter: Chapter) -> str:
        command = [sys.executable, "-m", "book.pipeline", "run"]
        command += ["--chapters", chapter.number]
        command += [f"--{name}={parameters[name]}" for name in ("profile", "device")]
        command += ["--parameters", " ".join(f"{k}={v}" for k, v in given.items())]
        done = subprocess.run(
            command, cwd=root, stderr=subprocess.PIPE, text=True, check=False
        )
        return done.stderr if done.returncode else ""

    with ThreadPoolExecutor(describe_machine().cores) as pool:
        faults = [fault for fault in pool.map(run, chapters) if fault]
    if faults:
        raise BookError(faults[0].split("The book was not made.\n")[-1].strip())
