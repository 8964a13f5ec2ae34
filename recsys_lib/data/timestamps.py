"""Times of interactions: seconds since 1970, however they were written."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_lib.arrays import BoolArray, FloatArray, IntArray

_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6}
_PER_SECOND |= {"nanoseconds": 10**9}
_FROM, _TO = 1e8, 1e11  # seconds: from March 1973 to the year 5138
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*"


@dataclass(frozen=True, eq=False)
class Times:
    """Times that were read.

    Attributes:
        seconds: (n,) since 1970; 0 where `bad`.
        bad: (n,) True where a time could not be read.
        unit: How they were written, for a message.
    """

    seconds: IntArray
    bad: BoolArray
    unit: str


def read_times(written: "pd.Series[str]") -> Times:
    """Read times: numbers since 1970, ISO 8601 with or without a zone, or yyyymmdd.

    The unit of numbers follows from their size: all those of a column have the same.
    Without a zone a time is UTC.

    Args:
        written: (n,) strings.

    Raises:
        ValueError: If the numbers are of more than one unit.

    >>> read_times(pd.Series(["2001-09-09T01:46:40Z"])).seconds.tolist()
    [1000000000]
    """
    numbers = read_numbers(written)
    no_number = np.isnan(numbers)
    if no_number.all() or (
        no_number.any() and written.str.fullmatch(_DATE).mean() > 0.5
    ):
        return _iso(written)
    finite = np.isfinite(numbers)
    sizes = np.abs(numbers[finite & (numbers != 0)])
    if sizes.size and _are_dates(sizes):
        return _dates(written)
    unit = _unit(sizes)
    bad = ~finite | (np.abs(np.where(finite, numbers, 0)) >= _TO * _PER_SECOND[unit])
    seconds = np.where(bad, 0, numbers) // _PER_SECOND[unit]
    return Times(seconds.astype(np.int64), bad, f"{unit} since 1970")


def read_numbers(written: "pd.Series[str]") -> FloatArray:
    """Read strings as numbers; NaN where one is none.

    >>> read_numbers(pd.Series(["1e3", "x"])).tolist()
    [1000.0, nan]
    """
    try:  # without objects of Python
        numbers: FloatArray = pc.cast(pa.array(written), pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(written, errors="coerce").to_numpy(float)
    return numbers


def _unit(sizes: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    """Unit of numbers by their size; of small ones it is seconds."""
    units = np.digitize(sizes, [_TO, _TO * 10**3, _TO * 10**6])
    large = sizes >= _FROM  # smaller ones say nothing
    found = sorted({list(_PER_SECOND)[n] for n in np.unique(units[large]) if n < 4})
    if len(found) > 1:
        rows = [float(sizes[large & (units == n)][0]) for n in np.unique(units[large])]
        shown = " and ".join(f"{x:.15g}" for x in rows)
        raise ValueError(
            f"timestamps must have one unit; got {shown}, which are "
            f"{' and '.join(found)} since 1970"
        )
    return found[0] if found else "seconds"


def _are_dates(sizes: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> bool:
    """Whether all numbers are dates such as 20200131."""
    whole = np.minimum(sizes, 1e9).astype(np.int64)
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    good = (whole == sizes) & (year >= 1900) & (year < 2200)
    return bool(np.all(good & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)))


def _dates(written: "pd.Series[str]") -> Times:
    times = pd.to_datetime(written, format="%Y%m%d", errors="coerce", utc=True)
    return _from(times, "dates as yyyymmdd")


def _iso(written: "pd.Series[str]") -> Times:
    times = pd.to_datetime(written, format="ISO8601", errors="coerce", utc=True)
    return _from(times, "ISO 8601")


def _from(times: "pd.Series[pd.Timestamp]", unit: str) -> Times:
    bad = times.isna().to_numpy()
    seconds = times.fillna(pd.Timestamp(0, tz="UTC")).dt.as_unit("s").astype("int64")
    return Times(np.asarray(seconds, dtype=np.int64), bad, unit)
