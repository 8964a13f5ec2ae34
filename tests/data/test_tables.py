import re

import pandas as pd
import pytest

from recsys_lib.data.tables import read_delimited, read_strings, refuse_rows


@pytest.fixture
def write(tmp_path):
    def _write(name, text, encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding, newline="")
        return tmp_path / name

    return _write


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.dat", '1::Café::Drama\n2::B "q::-\n'),
        ("x.item", '1|Café|Drama\n2|B "q|-\n'),
        ("x.data", '1\tCafé\tDrama\n2\tB "q\t-\n'),
        ("x.csv", 'itemId,name,genres\n1,Café,Drama\n2,"B ""q",-\n'),
    ],
)
def test_the_suffix_tells_the_layout(write, name, text):
    file = write(name, text, "utf-8" if name == "x.csv" else "latin-1")
    table = read_delimited(file, ["id", "title", "genres"], {"id": "int64"})
    assert table.id.tolist() == [1, 2]
    assert table.title.tolist() == ["Café", 'B "q']


@pytest.mark.parametrize(
    ("name", "text", "at"),
    [
        ("u.data", "1\t1\nx\t1\n", ", line 2,"),
        ("u.data", "\t1\n", ", line 1,"),
        ("u.data", "1\t2\n1\t2\t3\n", ", line 2,"),
        ("u.data", "1\n", ", line 1,"),
        ("u.data", "", ""),
        ("r.dat", "1::2\n1::2\n1::\n", ", line 3,"),
        ("r.csv", "user,item\n1,2\n1,b\n", ", line 3,"),
    ],
)
def test_a_table_that_is_not_as_said_is_refused(write, name, text, at):
    file, escaped = write(name, text), re.escape(name + at)
    with pytest.raises(
        ValueError, match=rf"{escaped} must hold \['user', 'item'\]; got"
    ):
        read_delimited(file, ["user", "item"], {"user": "int64", "item": "int64"})


def test_strings_come_with_the_line_each_row_ends_on(write):
    text = '\ufeff\r\nitem,text\r\n01,"two\nlines"\r\n\r\nNA,x\r\n'
    table = read_strings(write("items.csv", text), ["item"])
    assert table.to_dict("list") == {"item": ["01", "NA"], "text": ["two\nlines", "x"]}
    assert table.index.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must have a header with item, text, and rows; got \[\], 0 rows"),
        ("item,text\n", "0 rows"),
        ("item,name\n1,a\n", r"got \['item', 'name'\], 1 rows"),
        ("item,text\n1,a\n2\n", "line 3: must have 2 fields; got 1"),
        ("item,text\n1,a,b\n", "line 2: must have 2 fields; got 3"),
        (
            "item,text\n1,a\n2, \n",
            "line 3: must have something in column text; got ' '",
        ),
        ('item,text\n1,"a\n', "after line 2: must be CSV in UTF-8"),
    ],
)
def test_strings_refuse(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_strings(write("items.csv", text), ["item", "text"])


def test_strings_refuse_another_encoding(write):
    file = write("items.csv", "item,text\n1,Café\n", "latin-1")
    with pytest.raises(ValueError, match="must be CSV in UTF-8"):
        read_strings(file, ["item", "text"])


def test_refuse_rows_lets_good_ones_pass(tmp_path):
    values = pd.Series(["7"], index=[2])
    refuse_rows(tmp_path / "a.csv", values, values == "x", "a number")
