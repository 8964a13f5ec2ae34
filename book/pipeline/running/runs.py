"""Decide which chapters have to run, and run them: alone, or in smoke side by side."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from queue import SimpleQueue

from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.results import Results
from book.pipeline.running.edition import edition_of, fitting
from book.pipeline.running.execute import Run, execute, load_run, print_line
from book.pipeline.running.fingerprint import (
    Fingerprint,
    Inputs,
    enumerate_inputs,
    fingerprint,
)
from recsys_lib.data.carried import data_folder
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.machine import describe_machine, usable_cores

_STORED = "The other chapters are stored: the next build runs only what changed."


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

    One at a time, with the whole machine; in the smoke profile, whose times are not
    used, side by side. A chapter that fails does not stop the others. A chapter with
    a parameter `results` runs after all others, and finds their records there.

    Args:
        chapters: What to run.
        parameters: For every chapter.
        root: Of the project.
        again: Numbers of chapters that run even if nothing changed.
        prepare: Called once before the first chapter runs, if any has to.
        hardware: Class of the machine, if this process is one of several that share it;
            it then starts no others.

    Raises:
        BookError: Before anything runs, if a chapter does not take the parameters; at
            the end, naming each chapter that failed, the cell and the reason.
    """
    check_parameters(chapters, parameters)
    late = [c for c in chapters if c.reads_records]
    first = [c for c in chapters if c not in late]
    order = _Order(
        parameters,
        root,
        again,
        cache(prepare),
        hardware or describe_machine().hardware_class,
        side_by_side=parameters["profile"] == "smoke" and not hardware,
    )
    runs, faults = order.run(first)
    if late and not faults:
        more, faults = order.run(late, order.save_records(late[0]))
        runs |= more
    elif late:
        waiting = ", ".join(c.stem for c in late)
        faults.append(f"{waiting}: not run, for it reads the records of all others")
    if faults:
        raise BookError("\n".join([*faults, _STORED]))
    return {chapter: runs[chapter] for chapter in chapters}


def check_parameters(
    chapters: Collection[Chapter], parameters: Mapping[str, object]
) -> None:
    """Check that each chapter declares the parameters, with values of these types.

    Raises:
        BookError: Naming the chapter, what it declares and what it got.
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


@dataclass(frozen=True)
class _Order:
    """What is asked of `run_chapters`."""

    parameters: Mapping[str, object]
    root: Path
    again: Collection[str]
    prepare: Callable[[], object]
    hardware: str
    side_by_side: bool

    @cached_property
    def store(self) -> Path:
        """Folder of the stored runs."""
        kinds = [self.parameters["profile"], self.parameters["device"]]
        kinds += [own.name] if (own := edition_of(self.parameters)) else []
        return self.root / "_build/runs" / "-".join(map(str, kinds))

    def run(
        self, chapters: list[Chapter], records: Path | None = None
    ) -> tuple[dict[Chapter, Run], list[str]]:
        """Execute those that changed; return the runs, and a message for each failure.

        Args:
            chapters: What to run.
            records: Folder of the other chapters' records, for chapters that read them.
        """
        wanted = self._fingerprints(chapters, records)
        runs = {c: load_run(self.store, c) for c in chapters}
        reasons = {c: self._reason(c, wanted[c], runs[c]) for c in chapters}
        changed = [c for c in chapters if reasons[c]]
        for chapter in chapters:
            if not reasons[chapter]:
                print_line(f"{chapter.stem}: unchanged, {wanted[chapter].digest}")
        if changed:
            self.prepare()
        if self.side_by_side and len(changed) > 1:
            faults = self._run_side_by_side(changed)
            runs = {c: load_run(self.store, c) for c in chapters}
            return {c: run for c, run in runs.items() if run}, faults
        faults = []
        for chapter in changed:
            print_line(f"{chapter.stem}: {reasons[chapter]}")
            try:
                runs[chapter] = self._execute(
                    chapter, wanted[chapter], runs[chapter], records
                )
            except BookError as error:
                print_line(f"{chapter.stem}: failed")
                faults.append(str(error))
        return {chapter: run for chapter, run in runs.items() if run}, faults

    def save_records(self, reader: Chapter) -> Path:
        """Write the records of the stored runs into a folder; return it.

        Args:
            reader: The chapter that reads them, for the message.

        Raises:
            BookError: If another chapter has no stored run.
        """
        every = find_chapters(self.root / "chapters")
        own = edition_of(self.parameters)
        able = fitting(every, own) if own else every
        others = [c for c in able if not c.reads_records]
        runs = {c: load_run(self.store, c) for c in others}
        if missing := [c.number for c in others if runs[c] is None]:
            raise BookError(
                f"{reader.stem} reads the records of all other chapters; "
                f"{self.store.name} has none yet of {', '.join(missing)}: "
                f'run CHAPTERS="{" ".join([*missing, reader.number])}"'
            )
        folder = self.store / "records"
        Results({c.key: run.records for c, run in runs.items() if run}).save(folder)
        return folder

    def _fingerprints(
        self, chapters: list[Chapter], records: Path | None
    ) -> dict[Chapter, Fingerprint]:
        own = edition_of(self.parameters)
        names = own.names if own else {}  # not paths
        parameters = {**self.parameters, **names}
        data = [p for p in data_folder().iterdir() if p.is_file()]
        inputs = Inputs(
            library=self.root / "recsys_lib",
            data=(*sorted(data), *sorted(records.glob("ch*.json") if records else ())),
            models=(minilm_folder(),),
            lock=self.root / "requirements.lock",
            hardware=self.hardware,
            own=own.sha256 if own else {},
        )
        return {c: fingerprint(c, parameters, inputs) for c in chapters}

    def _reason(self, chapter: Chapter, wanted: Fingerprint, stored: Run | None) -> str:
        """Why a chapter has to run; empty if it does not."""
        if stored is None:
            return "first run"
        if changes := wanted.changes(stored.parts):
            return f"changed: {enumerate_inputs(changes)}"
        return "measured again" if chapter.number in self.again else ""

    def _execute(
        self,
        chapter: Chapter,
        wanted: Fingerprint,
        last: Run | None,
        records: Path | None,
    ) -> Run:
        given = {"results": str(records)} if records else {}
        return execute(
            chapter,
            {**self.parameters, **given},
            wanted,
            store=self.store,
            expected_s=last.seconds if last else None,
        )

    def _run_side_by_side(self, chapters: list[Chapter]) -> list[str]:
        """Run each chapter in its own process, on its own cores if they can be set.

        The chapters then do not disturb each other's times. Returns a message for each
        chapter that failed.
        """
        idle: SimpleQueue[set[int]] = SimpleQueue()
        for cores in _shares(len(chapters)):
            idle.put(cores)

        def run(chapter: Chapter) -> str:
            cores = idle.get()
            try:
                with subprocess.Popen(
                    self._command(chapter),
                    cwd=self.root,
                    stderr=subprocess.PIPE,
                    text=True,
                ) as process:
                    if cores:
                        os.sched_setaffinity(process.pid, cores)
                    printed = process.communicate()[1].strip()
            finally:
                idle.put(cores)
            if not process.returncode:
                return ""
            ended = f"{chapter.stem}: its process ended with {process.returncode}"
            return printed.removesuffix(_STORED).strip() or ended

        with ThreadPoolExecutor(idle.qsize()) as pool:
            return [fault for fault in pool.map(run, chapters) if fault]

    def _command(self, chapter: Chapter) -> list[str]:
        """The command line that runs one chapter in this order's way."""
        options = ("profile", "device", "dataset", "models")
        named = [k for k in options if k in self.parameters]
        given = {k: v for k, v in self.parameters.items() if k not in named}
        command = [sys.executable, "-m", "book.pipeline", "run"]
        command += ["--chapters", chapter.number, "--hardware", self.hardware]
        if chapter.number in self.again:
            command += ["--again", chapter.number]
        command += [f"--{name}={self.parameters[name]}" for name in named]
        return [
            *command,
            "--parameters",
            " ".join(f"{k}={v}" for k, v in given.items()),
        ]


def _shares(wanted: int) -> list[set[int]]:
    """Split the cores into at most `wanted` sets, empty if cores cannot be set."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(min(wanted, usable_cores()))]
    cores = sorted(os.sched_getaffinity(0))
    n = min(wanted, len(cores))
    return [set(cores[i::n]) for i in range(n)]
