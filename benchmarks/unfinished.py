"""Rows of a run that is not finished: a stopped `make bench` goes on where it was."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Row
from recsys_lib.metrics.intervals import Interval

ROOT = Path(__file__).resolve().parents[1]


class Unfinished:
    """The rows of the benches that are done, in a file that the finished run removes.

    Args:
        folder: Of the results.
        made_of: What else the rows depend on, such as the machine. Rows of other code
            or of another machine are not used.
    """

    def __init__(self, folder: Path, made_of: Sequence[object]) -> None:
        self._file = folder / "unfinished.json"
        self._key = _digest(made_of)
        self._rows: dict[str, list[dict[str, object]]] = {}
        try:
            saved = json.loads(self._file.read_text())
            if saved["key"] == self._key:
                self._rows = saved["rows"]
        except (OSError, ValueError, KeyError):
            pass  # the first run, or one that was stopped while it wrote

    def rows(self, bench: str) -> list[Row] | None:
        """The rows of a bench that is done, or None."""
        found = self._rows.get(bench)
        return None if found is None else [_row(fields) for fields in found]

    def keep(self, bench: str, rows: Sequence[Row]) -> None:
        """Save the rows of a bench."""
        self._rows[bench] = [asdict(row) for row in rows]
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps({"key": self._key, "rows": self._rows}))
        part.replace(self._file)

    def finish(self) -> None:
        """Forget them: the next run measures anew."""
        self._file.unlink(missing_ok=True)


def _row(fields: dict[str, object]) -> Row:
    value = fields["value"]
    interval = Interval(**value) if isinstance(value, dict) else None
    return Row(**fields | {"value": interval})  # type: ignore[arg-type]


def _digest(made_of: Sequence[object]) -> str:
    files = sorted(
        file
        for part in ("benchmarks", "recsys_lib")
        for file in (ROOT / part).rglob("*.py")
    )
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return hashlib.sha256(json.dumps([code, list(made_of)]).encode()).hexdigest()
