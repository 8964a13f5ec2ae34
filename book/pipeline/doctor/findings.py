"""A finding of `make doctor`; needs any Python 3.8 and no package."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator  # noqa: UP035 (Python 3.8)

OK, NOTE, FAULT = "ok", "note", "FAULT"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: "ok", "note" (the book can be made all the same) or "FAULT".
        what: What was found.
        do: What to do about it; empty for "ok".
    """

    state: str
    what: str
    do: str = ""

    def __str__(self) -> str:
        """The line, and below it what to do."""
        lines = [f"{self.state:5}  {self.what}"]
        lines += textwrap.wrap(
            self.do,
            78,
            initial_indent=" " * 7 + "-> ",
            subsequent_indent=" " * 10,
            break_on_hyphens=False,
            break_long_words=False,
        )
        return "\n".join(lines)


def run_checks(
    checks: Iterable[Callable[[], Iterable[Finding]]],
) -> Iterator[Finding]:
    """Yield the findings of each check; a check that raises is a finding, too."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # whatever it is, the other checks still run
            name = check.__name__.strip("_").replace("_", " ")
            what = f"{name}: {type(error).__name__}: {error}"
            yield Finding(
                FAULT,
                what.splitlines()[0],
                "If no fault above explains it, report this output as an issue.",
            )
