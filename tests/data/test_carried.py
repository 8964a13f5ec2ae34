import pytest

from recsys_lib.data.carried import REVIEWS, SHA256, checked_file, data_folder


def test_the_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_DATA", raising=False)
    assert (data_folder() / REVIEWS).exists()
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    assert data_folder() == tmp_path


@pytest.mark.parametrize("name", SHA256)
def test_a_missing_or_changed_file_names_the_command(tmp_path, name):
    assert checked_file(data_folder() / name) == data_folder() / name
    with pytest.raises(FileNotFoundError, match=r"must exist; got no file.*make data"):
        checked_file(tmp_path / name)
    (tmp_path / name).write_bytes(b"part of it")
    message = f"must have sha256 {SHA256[name]}; got .*`make data`"
    with pytest.raises(ValueError, match=message):
        checked_file(tmp_path / name)
