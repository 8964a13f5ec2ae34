import threading

import pytest

from recsys_lib.kept import cache_folder, keep, keep_arrays


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    return tmp_path


def writes(text, calls=None):
    def make(folder):
        if calls is not None:
            calls.append(text)
        (folder / "a.txt").write_text(text)

    return make


def test_is_made_once_for_the_same_inputs(cache):
    calls = []
    first = keep("models", ["x", "1"], writes("one", calls))
    again = keep("models", ["x", "1"], writes("one", calls))
    assert first == again
    assert first.is_relative_to(cache / "models")
    assert (again / "a.txt").read_text() == "one"
    assert calls == ["one"]


@pytest.mark.parametrize("other", [("models", ["x1"]), ("tables", ["x", "1"])])
def test_other_inputs_are_kept_apart(other):
    first = keep("models", ["x", "1"], writes("one"))
    assert keep(*other, writes("two")) != first
    assert (first / "a.txt").read_text() == "one"


@pytest.mark.parametrize("damage", ["change", "remove", "add", "list"])
def test_what_is_damaged_is_made_again(damage):
    home = keep("models", ["x"], writes("one"))
    if damage == "remove":
        (home / "a.txt").unlink()
    else:
        name = {"change": "a.txt", "add": "b.txt", "list": "files.json"}[damage]
        (home / name).write_text("not it")
    assert keep("models", ["x"], writes("one")) == home
    assert [x.name for x in sorted(home.iterdir())] == ["a.txt", "files.json"]
    assert (home / "a.txt").read_text() == "one"


def test_an_error_keeps_nothing(cache):
    def fail(folder):
        (folder / "a.txt").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        keep("models", ["x"], fail)
    assert list((cache / "models").iterdir()) == []


def test_two_at_once_do_no_harm():
    meet = threading.Barrier(2)

    def make(folder):
        meet.wait(5)  # both have looked and found nothing
        writes("one")(folder)

    found = []
    run = [
        threading.Thread(target=lambda: found.append(keep("models", ["x"], make)))
        for _ in range(2)
    ]
    for thread in run:
        thread.start()
    for thread in run:
        thread.join()
    assert found[0] == found[1]
    assert (found[0] / "a.txt").read_text() == "one"


def test_a_place_that_cannot_be_cleared_is_an_error(monkeypatch):
    home = keep("models", ["x"], writes("one"))
    (home / "a.txt").unlink()
    (home / "b.txt").write_text("in the way")
    monkeypatch.setattr("recsys_lib.kept.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(OSError, match="not empty"):
        keep("models", ["x"], writes("one"))


def test_the_cache_folder_follows_the_environment(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("RECSYS_CACHE")
    monkeypatch.setenv("HOME", "/home/reader")
    assert str(cache_folder()) == "/home/reader/.cache/recsys_lib"


def test_arrays_come_back_with_the_seconds_of_their_making(cache):
    calls = []

    def make():
        calls.append(1)
        return [[[1.5, 2.0]], [3]]

    first = keep_arrays("vectors", ["x"], make)
    again = keep_arrays("vectors", ["x"], make)
    for kept in (first, again):
        assert [x.tolist() for x in kept.arrays] == [[[1.5, 2.0]], [3]]
    assert again.seconds == first.seconds >= 0
    assert len(calls) == 1
    keep_arrays("vectors", ["y"], make)
    assert len(calls) == 2
