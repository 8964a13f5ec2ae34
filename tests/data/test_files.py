import pytest

from recsys_lib.data.files import encoding_of, open_text

TEXT = 'item,text\n1,"Ça va? L’œuvre – 5 €"\n2,naïve Café\n'


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_an_encoding_is_recognised(tmp_path, encoding, found):
    (tmp_path / "x.csv").write_bytes(TEXT.encode(encoding))
    assert encoding_of(tmp_path / "x.csv") == found
    with open_text(tmp_path / "x.csv") as stream:
        assert stream.read() == TEXT


def test_latin_1_is_read_as_the_same_letters(tmp_path):
    text = "1,Amélie und Jürgen, à la carte\n"
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    with open_text(tmp_path / "x.csv") as stream:
        assert stream.read() == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("1,红色连衣裙\n", "gbk"),
        ("1,赤いドレス\n", "shift_jis"),
        ("1,красное платье\n", "cp1251"),
        ("1,красное платье\n", "koi8-r"),
        ("1,κόκκινο φόρεμα\n", "iso8859-7"),
        ("1,빨간 드레스\n", "euc-kr"),
    ],
)
def test_another_encoding_is_refused_and_never_misread(tmp_path, text, encoding):
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    with pytest.raises(
        ValueError, match=r"x\.csv must be in UTF-8, .*save it as UTF-8"
    ):
        encoding_of(tmp_path / "x.csv")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"item,text\n1,a\x00b\n")
    with pytest.raises(ValueError, match="must be text; got a zero byte"):
        encoding_of(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\xd8a\x00")
    with pytest.raises(UnicodeDecodeError), open_text(tmp_path / "x.csv") as stream:
        stream.read()


def test_utf_8_over_the_end_of_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys_lib.data.files._CHUNK", 3)
    (tmp_path / "x.csv").write_text("aaé€é\n" * 3, encoding="utf-8")
    assert encoding_of(tmp_path / "x.csv") == "utf-8"
    (tmp_path / "x.csv").write_bytes("ab €".encode()[:-1])
    with pytest.raises(ValueError, match="must be in UTF-8"):
        encoding_of(tmp_path / "x.csv")
