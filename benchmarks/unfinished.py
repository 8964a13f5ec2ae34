"""What a run that is not finished has measured: a stopped `make bench` resumes."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from benchmarks.samples import SAMPLES, Samples
from recsys_lib.metrics.intervals import Interval

ROOT = Path(__file__).resolve().parents[1]


class Unfinished:
    """The rows of benches that are done, and the samples of the one that is not.

    They are in a file that the finished run removes.

    Args:
        folder: Of the results.
        made_of: What else they depend on, such as the machine. Those of other code or
            of another machine are not used.
    """

    def __init__(self, folder: Path, made_of: Sequence[object]) -> None:
        self._file = folder / "unfinished.json"
        self._key = _digest(made_of)
        self._rows: dict[str, list[dict[str, object]]] = {}
        self._samples: dict[str, dict[str, list[list[Any]]]] = {}
        try:
            saved = json.loads(self._file.read_text())
            if saved["key"] == self._key:
                self._rows, self._samples = saved["rows"], saved["samples"]
        except (OSError, ValueError, KeyError):
            pass  # the first run, or one that was stopped while it wrote

    def rows(self, bench: str) -> list[Row] | None:
        """The rows of a bench that is done, or None."""
        found = self._rows.get(bench)
        return None if found is None else [_row(fields) for fields in found]

    @contextmanager
    def samples(self, bench: str) -> Iterator[None]:
        """Let `interleave` resume in the block, and save its rounds as they come."""
        measured = self._samples.setdefault(bench, {})
        token = SAMPLES.set(Samples(measured, self._save))
        try:
            yield
        finally:
            SAMPLES.reset(token)

    def keep(self, bench: str, rows: Sequence[Row]) -> None:
        """Save the rows of a bench that is done; its samples are not needed now."""
        self._rows[bench] = [asdict(row) for row in rows]
        self._samples.pop(bench, None)
        self._save()

    def finish(self) -> None:
        """Forget them: the next run measures anew."""
        self._file.unlink(missing_ok=True)

    def _save(self) -> None:
        saved = {"key": self._key, "rows": self._rows, "samples": self._samples}
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(saved))
        part.replace(self._file)


def _row(fields: dict[str, object]) -> Row:
    value = fields["value"]
    interval = Interval(**value) if isinstance(value, dict) else None
    return Row(**fields | {"value": interval})  # type: ignore[arg-type]


def _digest(made_of: Sequence[object]) -> str:
    files = sorted(
        file
        for part in ("benchmarks", "recsys_lib")
        for file in (ROOT / part).rglob("*")
        if file.suffix in (".py", ".txt")  # requirements of the peers
    )
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return hashlib.sha256(json.dumps([code, list(made_of)]).encode()).hexdigest()
