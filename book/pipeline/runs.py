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
    changed = [c for c in chapters if _has_changed(c, wanted[c], store)]
    if parameters["profile"] == "smoke" and len(changed) > 1:
        _run_side_by_side(changed, parameters, root)
        changed = []
    for chapter in changed:
        kept = load_run(store, chapter)
        expected_s = kept.seconds if kept else None
        execute(
            chapter, parameters, wanted[chapter], store=store, expected_s=expected_s
        )
    runs = {chapter: load_run(store, chapter) for chapter in chapters}
    return {chapter: run for chapter, run in runs.items() if run}


def _has_changed(chapter: Chapter, wanted: Fingerprint, store: Path) -> bool:
    kept = load_run(store, chapter)
    if kept and not (changes := wanted.changes(kept.parts)):
        print(f"{chapter.stem}: unchanged, {wanted.digest}")
        return False
    why = f"changed: {', '.join(changes)}" if kept else "first run"
    print(f"{chapter.stem}: {why}")
    return True


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
