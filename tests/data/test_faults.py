import pandas as pd
import pytest

from recsys_lib.data.faults import Faults


def test_bad_rows_are_refused_with_their_number(tmp_path):
    values = pd.Series(["7", "x", "y"], index=[2, 5, 9], name="age")
    faults = Faults()
    assert faults.good(tmp_path / "a.csv", values, values == "z", "a number").all()
    faults.settle()
    good = faults.good(tmp_path / "a.csv", values, values > "a", "a number")
    assert good.tolist() == [True, False, False]
    with pytest.raises(ValueError, match=r"5: .*'x' in column age \(and 1 more bad ro"):
        faults.settle()
    values.index.name = "row"
    one = Faults()
    one.good(tmp_path / "a.csv", values, values == "x", "a number")
    with pytest.raises(ValueError, match=r"a\.csv, row 5: .* \(SKIP_BAD_ROWS=1 leav"):
        one.settle()


def test_only_the_first_ten_are_listed(tmp_path):
    faults, values = Faults(skip=True), pd.Series([*map(str, range(25))], name="n")
    assert faults.listed() == ""
    faults.add(tmp_path / "a.csv", 7, "broken")
    faults.good(tmp_path / "a.csv", values, values != "", "no")
    other = Faults()
    other.add(tmp_path / "b.csv", 1, "broken")
    faults.take(other)
    faults.settle()
    assert faults.n_rows == 27
    assert faults.listed().startswith("27 bad rows left out, the first: a.csv, line 7:")
    assert faults.listed().count("a.csv") == 10
    assert "got '8' in" in faults.listed()
    assert "b.csv" not in faults.listed()
    assert str(tmp_path) not in faults.listed(), "pages name no folder of the reader"
