import errno
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys_lib import artifacts
from recsys_lib.artifacts import (
    cache_arrays,
    cache_files,
    cache_folder,
    hashes_of,
    remove_unused,
)
from recsys_lib.machine import describe_machine


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
    first = cache_files("models", ["x", "1"], writes("one", calls))
    again = cache_files("models", ["x", "1"], writes("one", calls))
    assert first == again
    assert first.is_relative_to(cache / "models")
    assert (again / "a.txt").read_text() == "one"
    assert calls == ["one"]


INPUTS = [
    ["x", "1"],
    ["x1"],
    [["x", "1"]],
    ["x", 1],
    ["x", None],
    [np.zeros(6)],
    [np.zeros((2, 3))],
    [np.zeros((3, 2))],
    [np.zeros(6, np.float32)],
    [np.zeros(6, np.int64)],
    [{"x": "1"}],
]


def test_other_inputs_are_cached_apart():
    homes = [cache_files("models", x, writes("one")) for x in INPUTS]
    homes.append(cache_files("tables", INPUTS[0], writes("two")))
    assert len(set(homes)) == len(homes)
    assert (homes[0] / "a.txt").read_text() == "one"


def test_equal_inputs_are_the_same_whatever_their_memory():
    table = np.arange(6.0).reshape(2, 3)
    first = cache_files("models", [table, {"a": 1, "b": 2}], writes("one"))
    again = [np.asfortranarray(table), {"b": 2, "a": 1}]
    assert cache_files("models", again, writes("one")) == first


@pytest.mark.parametrize("value", [object(), np.array([None]), Callable])
def test_refuses_inputs_that_have_no_contents(value):
    with pytest.raises(TypeError, match="must be JSON values or arrays of numbers; go"):
        cache_files("models", [value], writes("one"))


def test_refuses_a_function_whose_code_it_cannot_read():
    cell: dict[str, Callable] = {}
    exec(compile("def make(folder): pass", "/tmp/cell.py", "exec"), cell)
    for keeper in (cache_files, cache_arrays):
        with pytest.raises(
            ValueError, match=r"must be defined in a file; got cell\.py"
        ):
            keeper("models", ["x"], cell["make"])


def test_another_machine_finds_no_time_of_this_one(monkeypatch):
    calls = []

    def arrays():
        calls.append("arrays")
        return [[1.0]]

    def make_all():
        cache_arrays("vectors", ["x"], arrays)
        cache_files("choices", ["x"], writes("timed", calls), timed=True)
        cache_files("models", ["x"], writes("not timed", calls))

    make_all()
    assert calls == ["arrays", "timed", "not timed"]
    other = replace(describe_machine(), cpu="another processor")
    monkeypatch.setattr(artifacts, "describe_machine", lambda: other)
    make_all()
    assert calls[3:] == ["arrays", "timed"]
    make_all()
    assert len(calls) == 5


def test_a_model_is_all_of_its_files_by_their_names(tmp_path):
    files = ["config.json", "model.safetensors", "1_Pooling/config.json", "README.md"]
    files += ["onnx/model.onnx"]
    for folder in ("1_Pooling", "checkpoint", "onnx"):
        (tmp_path / folder).mkdir()
    (tmp_path / "checkpoint/config.json").write_text("{}")
    (tmp_path / "onnx/model_quantized.onnx").write_text("{}")
    for name in files:
        (tmp_path / name).write_text("{}")
    first = hashes_of(tmp_path)
    assert set(first) == {*files} - {"README.md"}
    (tmp_path / "README.md").write_text("changed")
    assert hashes_of(tmp_path) == first
    (tmp_path / "1_Pooling/config.json").write_text("changed")
    changed = {name for name, x in hashes_of(tmp_path).items() if x != first[name]}
    assert changed == {"1_Pooling/config.json"}


@pytest.mark.parametrize("damage", ["change", "remove", "add", "list"])
def test_what_is_damaged_is_made_again(damage):
    home = cache_files("models", ["x"], writes("one"))
    if damage == "remove":
        (home / "a.txt").unlink()
    else:
        name = {"change": "a.txt", "add": "b.txt", "list": "files.json"}[damage]
        (home / name).write_text("not it")
    assert cache_files("models", ["x"], writes("one")) == home
    assert [x.name for x in sorted(home.iterdir())] == ["a.txt", "files.json"]
    assert (home / "a.txt").read_text() == "one"


def test_nothing_is_cached_after_an_error(cache):
    def fail(folder):
        (folder / "a.txt").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        cache_files("models", ["x"], fail)
    assert list((cache / "models").iterdir()) == []


def test_two_may_make_the_same_at_once():
    meet = threading.Barrier(2)

    def make(folder):
        meet.wait(120)  # both have looked and found nothing
        writes("one")(folder)

    found = []
    run = [
        threading.Thread(
            target=lambda: found.append(cache_files("models", ["x"], make))
        )
        for _ in range(2)
    ]
    for thread in run:
        thread.start()
    for thread in run:
        thread.join()
    assert found[0] == found[1]
    assert (found[0] / "a.txt").read_text() == "one"


def test_a_place_that_cannot_be_cleared_is_an_error(monkeypatch):
    home = cache_files("models", ["x"], writes("one"))
    (home / "a.txt").unlink()
    (home / "b.txt").write_text("in the way")
    monkeypatch.setattr("recsys_lib.artifacts.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(OSError, match="not empty"):
        cache_files("models", ["x"], writes("one"))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has this folder")
def test_the_cache_folder_follows_the_environment(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("RECSYS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/reader")
    assert str(cache_folder()) == "/home/reader/.cache/recsys_lib"


def test_arrays_come_back_with_the_seconds_of_their_making(cache):
    calls = []

    def make():
        calls.append(1)
        return [[[1.5, 2.0]], [3]]

    first = cache_arrays("vectors", ["x"], make)
    again = cache_arrays("vectors", ["x"], make)
    for found in (first, again):
        assert [x.tolist() for x in found.arrays] == [[[1.5, 2.0]], [3]]
    assert again.seconds == first.seconds >= 0
    assert len(calls) == 1
    assert (first.is_new, again.is_new) == (True, False)
    cache_arrays("vectors", ["y"], make)
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("RECSYS_CACHE", str(file / "inside"))
    with pytest.raises(
        OSError,
        match=r"the cache .*file/inside must be a folder .*"
        r"RECSYS_CACHE=<folder> names another",
    ):
        cache_files("models", ["x"], writes("one"))


def test_a_full_disk_is_named_and_nothing_half_is_left(cache):
    def full(folder):
        (folder / "a.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"has space; got: .*No space left on device"):
        cache_files("models", ["x"], full)
    assert not list((cache / "models").iterdir())


def test_another_error_of_what_is_made_is_passed_on(cache):
    def missing(folder):
        raise FileNotFoundError("no weights")

    with pytest.raises(FileNotFoundError, match="no weights"):
        cache_files("models", ["x"], missing)


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", "~/kept")
    assert cache_folder() == Path.home() / "kept"


def test_what_nothing_used_for_long_is_removed(cache):
    used, unused = (cache_files("models", [x], writes(x)) for x in ("used", "unused"))
    foreign = cache / "photos" / "2020" / "a.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("not of the cache")
    for folder in (used, unused, foreign.parent):
        os.utime(folder, (0, 0))
    cache_files("models", ["used"], writes("used"))
    assert remove_unused() > len("unused")
    assert (used.exists(), unused.exists(), foreign.exists()) == (True, False, True)
