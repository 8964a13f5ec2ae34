"""The examples of the property tests, as conftest.py sets them up for `make test`."""

import importlib

from hypothesis import given, settings
from hypothesis import strategies as st


def drawn():
    seen = []

    @settings(settings.get_profile("test"), max_examples=200)
    @given(st.lists(st.integers() | st.text()))
    def look(values):
        seen.append(values)

    look()
    return seen


def test_the_same_are_drawn_whatever_was_imported(tmp_path, monkeypatch):
    first = drawn()
    (tmp_path / "another.py").write_text("SOME = 123456789, 'a word of its own'")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("another")
    assert drawn() == first


def test_none_is_kept():
    assert settings.get_profile("test").database is None


def test_fuzzing_draws_anew_and_more():
    test, fuzz = map(settings.get_profile, ("test", "fuzz"))
    assert test.derandomize
    assert not fuzz.derandomize
    assert fuzz.max_examples >= 10 * test.max_examples
