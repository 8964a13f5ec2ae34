import pandas as pd
import pytest

from recsys_lib.data.timestamps import read_times

AT = 1_580_472_000  # 2020-01-31 12:00 UTC


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        (f"{AT}", "seconds since 1970"),
        (f"{AT}.5", "seconds since 1970"),
        (f"{AT}000", "milliseconds since 1970"),
        (f"{AT}000000", "microseconds since 1970"),
        (f"{AT}000000000", "nanoseconds since 1970"),
        ("2020-01-31T12:00:00Z", "ISO 8601"),
        ("2020-01-31 12:00:00", "ISO 8601"),
        ("2020-01-31T20:00:00+08:00", "ISO 8601"),
        ("2020-01-31 12:00:00.250000", "ISO 8601"),
    ],
)
def test_one_time_in_many_forms(written, unit):
    times = read_times(pd.Series([written] * 2))
    assert times.seconds.tolist() == [AT, AT]
    assert not times.bad.any()
    assert times.unit == unit


def test_dates_are_not_taken_for_seconds():
    times = read_times(pd.Series(["20200131", "19991231"]))
    assert times.unit == "dates as yyyymmdd"
    assert times.seconds.tolist() == [1_580_428_800, 946_598_400]
    assert read_times(pd.Series(["2020-01-31"])).seconds.tolist() == [1_580_428_800]


def test_small_numbers_are_seconds():
    times = read_times(pd.Series(["0", "5", "20201399", "-7"]))
    assert times.seconds.tolist() == [0, 5, 20201399, -7]
    assert times.unit == "seconds since 1970"


def test_numbers_of_two_units_are_refused():
    with pytest.raises(ValueError, match="one unit; got 1580472000 and 1580472000000"):
        read_times(pd.Series([f"{AT}", f"{AT}000"]))


@pytest.mark.parametrize(
    ("written", "bad"),
    [
        (["noon", f"{AT}"], [True, False]),
        (["nan", f"{AT}", "inf"], [True, False, True]),
        (["", "2020-01-31"], [True, False]),
        (["2020-02-31", "2020-01-31"], [True, False]),
        (["noon"], [True]),
    ],
)
def test_what_is_no_time_is_marked(written, bad):
    times = read_times(pd.Series(written))
    assert times.bad.tolist() == bad
    assert times.seconds[times.bad].tolist() == [0] * sum(bad)
