"""Record results in notebooks.

A result is recorded once. The build collects the records from the executed notebook;
prose, claim rules and downloads all read that one copy.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from recsys_lib.metrics.intervals import Interval

RECORD_MIME = "application/vnd.recsys-lib.record+json"
NARROW_MIME = "application/vnd.recsys-lib.narrow-figure"  # the SVG for a phone
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TIME_UNITS = ("ns", "us", "ms", "s", "min", "h")  # and rates, which end in "/s"


@dataclass(frozen=True)
class Record:
    """One result: `value` in `unit`, its interval, and the sample size `n`.

    It is `timed` if it is a time or a rate or derives from them: it then differs by
    machine and from run to run. All other records are the same wherever the code runs.

    Raises:
        ValueError: If the name is not snake_case, a number is not finite, or the
            interval has only one end, or low exceeds high.

    >>> str(Record("search_ms", 1.25, unit="ms", low=1.2, high=1.31, n=200))
    'search_ms = 1.25 ms [1.2, 1.31] (n = 200)'
    """

    name: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    timed: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a record's name must be snake_case; got {self.name!r}")
        for field in ("value", "low", "high"):
            number = getattr(self, field)
            if number is not None and not math.isfinite(number):
                raise ValueError(
                    f"record {self.name!r}: {field} must be finite; got {number}"
                )
        if (self.low is None) != (self.high is None):
            raise ValueError(f"record {self.name!r}: give both low and high, or none")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"record {self.name!r}: low must not exceed high; "
                f"got [{self.low}, {self.high}]"
            )

    def __str__(self) -> str:
        interval = f" [{self.low:.6g}, {self.high:.6g}]" if self.low is not None else ""
        count = f" (n = {self.n:,})" if self.n is not None else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name} = {self.value:.6g}{unit}{interval}{count}"


def record(
    name: str,
    value: float | Interval,
    *,
    unit: str = "",
    n: int | None = None,
    timed: bool | None = None,
) -> None:
    """Record a result under `name`, for the prose, the claims and the download.

    Args:
        name: snake_case, unique in its chapter.
        value: A finite number, or an `Interval` with its own low, high and n.
        unit: Such as "ms"; empty for a fraction or a count.
        n: Sample size; None for that of the `Interval`, if there is one.
        timed: Whether the value depends on the machine or its load; None for yes if the
            unit is a time or a rate, or the `Interval` derives from times.

    Raises:
        ValueError: As `Record` does.
    """
    if timed is None:
        timed = unit in _TIME_UNITS or unit.endswith("/s")
        timed = timed or (isinstance(value, Interval) and value.timed)
    if isinstance(value, Interval):
        ends = value.low, value.high
        made = Record(name, value.value, unit, *ends, n or value.n, timed)
    else:
        n = None if n is None else int(n)
        made = Record(name, float(value), unit, n=n, timed=timed)
    from IPython import get_ipython  # takes half a second; few processes record
    from IPython.display import display

    if get_ipython() is not None:
        display({RECORD_MIME: asdict(made), "text/plain": str(made)}, raw=True)


def slug(label: str, *, short: Mapping[str, str] | None = None) -> str:
    """Name of a record, or a part of it, from a label that readers see.

    Args:
        label: Such as the name of a model in a figure.
        short: Text to replace first, in lower case -> its replacement.

    Returns:
        Lower-case letters and digits, joined by single underscores.

    Raises:
        ValueError: If no letter and no digit remains.

    >>> slug("1/2 of the units"), slug("TF-IDF", short={"-": ""})
    ('1_2_of_the_units', 'tfidf')
    """
    name = label.lower()
    for text, replacement in (short or {}).items():
        name = name.replace(text, replacement)
    name = re.sub("[^a-z0-9]+", "_", name).strip("_")
    if not name:
        raise ValueError(f"a label must have a letter or a digit; got {label!r}")
    return name
