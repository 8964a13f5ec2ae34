import gzip
import json
import zipfile

import pandas as pd
import pytest

from recsys_lib.data.tables import kind_of, read_table


@pytest.fixture
def write(tmp_path):
    def _write(name, text, encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding, newline="")
        return tmp_path / name

    return _write


@pytest.mark.parametrize(
    ("text", "separator"),
    [('1::Café::Drama\n2::B "q::-\n', "::"), ('1|Café|Drama\r\n2|B "q|-\n', "|")],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_a_table_without_a_header_or_quotes(write, text, separator, encoding):
    file = write("x.dat", text, encoding)
    table = read_table(file, names=["id", "title", "genres"], separator=separator)
    assert table.id.tolist() == ["1", "2"]
    assert table.title.tolist() == ["Café", 'B "q']
    assert table.index.tolist() == [1, 2]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_strings_come_with_the_line_each_row_ends_on(write, separator):
    text = '\ufeff\r\nitem,text\r\n01,"two\nlines"\r\n\r\nNA,x\r\n \r\n'
    table = read_table(write("items.csv", text.replace(",", separator)))
    assert table.to_dict("list") == {"item": ["01", "NA"], "text": ["two\nlines", "x"]}
    assert table.index.tolist() == [4, 6]


def test_columns_that_nobody_asked_for_are_left_out(write):
    file = write("x.csv", ",item,mood,mood,text\n0,1,a,b,x\n")
    table = read_table(file, wanted=lambda header: [header[-1], header[0]])
    assert table.to_dict("list") == {"text": ["x"], "item": ["1"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a header and rows; got nothing"),
        ("\n\n", "must have a header and rows; got nothing"),
        ("item,text\n", "must have rows below its header; got none"),
        ("item,text\n1,a\n2\n", r"line 3: must have 2 fields \(item, text\); got 1"),
        ("item,text\n1,a,b\n", "line 2: must have 2 fields .*; got 3"),
        ("item,text\n1,a\n(2 rows)\n", "line 3: must have 2 fields .*; got 1"),
        ('item,text\n1,"a\n', "after line 2: must be CSV; got: unexpected end"),
        ('item,text\n1,"a"b\n', "after line 2: must be CSV; got: ',' expected after"),
        ("item,text,item\n1,a,2\n", "must have each column once; got item again in"),
    ],
)
def test_what_is_no_table_is_refused(write, text, message):
    with pytest.raises(ValueError, match=rf"items\.csv.*{message}"):
        read_table(write("items.csv", text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")


def test_json_lines(write):
    lines = [{"item": 1, "text": "x", "tags": ["a", "b"]}, {"text": None, "item": 2.0}]
    text = "\n".join(map(json.dumps, lines))
    table = read_table(write("x.jsonl", text))
    assert table.to_dict("list") == {
        "item": ["1", "2"],
        "text": ["x", ""],
        "tags": ["a|b", ""],
    }
    with pytest.raises(ValueError, match=r"x\.json, line 2: must be a JSON object"):
        read_table(write("x.json", '{"a": 1}\n[1]\n'))
    with pytest.raises(ValueError, match="line 1: must be a JSON object; got 'Expect"):
        read_table(write("x.json", "{a: 1}\n"))


def test_parquet_has_rows_and_exact_numbers(tmp_path):
    frame = pd.DataFrame(
        {
            "item": pd.array([2**60 + 1, None], dtype="Int64"),
            "rating": [4.0, 2.5],
            "tags": [["a", "b"], None],
            "at": pd.to_datetime(["2020-01-31 12:00", "2021-01-01 00:00"]),
            "none": [None, "x"],
        }
    )
    frame.to_parquet(tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    assert table.item.tolist() == [str(2**60 + 1), ""]
    assert [float(x) for x in table.rating] == [4.0, 2.5]
    assert table.tags.tolist() == ["a|b", ""]
    assert table["at"].str.startswith("2020-01-31 12:00:00").tolist() == [True, False]
    assert table.none.tolist() == ["", "x"]
    assert (table.index.tolist(), table.index.name) == ([1, 2], "row")
    (tmp_path / "bad.parquet").write_text("item,text\n")
    with pytest.raises(ValueError, match=r"bad\.parquet must be Parquet; got"):
        read_table(tmp_path / "bad.parquet")
    frame[:0].to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet must have rows; got none"):
        read_table(tmp_path / "x.parquet")


def test_packed_tables(tmp_path):
    content = "item,text\n1,Café\n".encode()
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/x.csv", content)
    frame = pd.DataFrame({"item": ["1"], "text": ["Café"]})
    (tmp_path / "x.parquet.gz").write_bytes(gzip.compress(frame.to_parquet()))
    for name in ("x.csv.gz", "x.zip", "x.parquet.gz"):
        assert read_table(tmp_path / name).text.tolist() == ["Café"], name
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("y.csv", content)
    with pytest.raises(ValueError, match=r"x\.zip must hold one file; got folder/x"):
        read_table(tmp_path / "x.zip")
    for name in ("x.csv.gz", "x.zip"):
        packed = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
        with pytest.raises(ValueError, match=rf"{name} is packed and damaged"):
            read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("a.TSV.gz", "csv"),
        ("a", "csv"),
        ("a.jsonl.gz", "jsonl"),
        ("a.b.parquet", "parquet"),
        ("a.parquet.zip", "parquet"),
    ],
)
def test_the_name_says_the_kind(tmp_path, name, kind):
    assert kind_of(tmp_path / name) == kind
