"""`make setup`: pip's output as a line of progress every few seconds.

Needs any Python 3.8 and no package. It reads what pip prints: `pip install ... |
python -m book.pipeline.installing .venv`, and passes on what is no sign of progress,
such as a warning.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from pathlib import Path
from typing import Iterator  # noqa: UP035 (Python 3.8)

EVERY_S = 5.0
_NOISE = (
    *("Requirement already", "Looking in", "Processing", "Obtaining", "Using cached"),
    *("Building ", "Created ", "Stored in", "Preparing ", "Getting requirements"),
    *("Installing build", "Installing backend", "Checking if", "Successfully built"),
    *("Attempting uninstall", "Found existing", "Uninstalling", "Successfully unins"),
    "Downloading ",
)
_SIZE = re.compile(r"Downloading \S+ \(([\d.]+) ([kMG])B")
_BYTES = {"k": 1e3, "M": 1e6, "G": 1e9}


class Progress:
    """What pip has done, by its lines.

    Args:
        environment: That it installs into.
    """

    def __init__(self, environment: Path) -> None:
        self._environment = environment
        self._found, self._bytes = 0, 0.0
        self._wanted: set[str] = set()

    def read(self, line: str) -> str:
        """Take a line of pip's; return it if it should be shown as it is."""
        text = line.strip()
        if text.startswith("Collecting "):
            self._found += 1
        elif size := _SIZE.match(text):
            self._bytes += float(size[1]) * _BYTES[size[2]]
        elif text.startswith("Installing collected packages: "):
            self._wanted = {_plain(x) for x in text.partition(": ")[2].split(", ")}
        elif text.startswith("Successfully installed "):
            return f"packages installed: {len(text.split()) - 2}"
        elif not text.startswith(_NOISE):
            return text
        return ""

    def __str__(self) -> str:
        """Where it is."""
        if self._wanted:
            done = len(self._wanted & _installed(self._environment))
            return f"installing: {done} of {len(self._wanted)} packages"
        return f"{self._found} packages found, {self._bytes / 1e9:.1f} GB downloaded"


def main(environment: str) -> None:
    """Read pip's lines from the standard input until it ends."""
    progress, began = Progress(Path(environment)), time.monotonic()
    said = began
    for line in _lines():
        shown = progress.read(line) if line else ""
        now = time.monotonic()
        if shown:
            print(shown, flush=True)
        elif now - said >= EVERY_S:
            print(f"  {progress}, {now - began:.0f} s", flush=True)
            said = now


def _lines() -> Iterator[str]:
    """Lines of the standard input, and an empty one when none comes for a while."""
    waiting = b""
    while True:
        if not select.select([0], [], [], EVERY_S)[0]:
            yield ""
            continue
        content = os.read(0, 65536)
        if not content:
            break
        *whole, waiting = (waiting + content).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    yield waiting.decode(errors="replace")


def _installed(environment: Path) -> set[str]:
    places = environment.glob("lib/python*/site-packages/*.dist-info")
    return {_plain(place.name.partition("-")[0]) for place in places}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1])
