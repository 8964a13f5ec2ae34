import os
import subprocess
import sys

import numpy as np
import pytest

from recsys_lib.arguments import ends_in_a_sentence, sentence, whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), True + 2])
def test_whole_numbers_of_python_and_numpy(value):
    number = whole_number("k", value)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [2.0, "2", None, np.float32(2), np.nan])
def test_what_is_no_whole_number(value):
    with pytest.raises(TypeError, match="k must be a whole number; got "):
        whole_number("k", value)


def test_the_least():
    assert whole_number("n", 0, least=0) == 0
    with pytest.raises(ValueError, match="n must be at least 0; got -1"):
        whole_number("n", -1, least=0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a.csv, line 3: no"), "a.csv, line 3: no"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (KeyError("a"), "KeyError: 'a' (VERBOSE=1 shows where)"),
        (ValueError(), "ValueError:  (VERBOSE=1 shows where)"),
    ],
)
def test_an_error_in_a_sentence(error, said):
    assert sentence(error) == said


def test_a_command_ends_in_a_sentence(monkeypatch):
    monkeypatch.delenv("VERBOSE", raising=False)
    with pytest.raises(SystemExit) as ended, ends_in_a_sentence("make serve"):
        raise KeyError("a")
    assert ended.value.code == "make serve: KeyError: 'a' (VERBOSE=1 shows where)"


def test_a_trace_on_request(monkeypatch):
    monkeypatch.setenv("VERBOSE", "1")
    with pytest.raises(KeyError), ends_in_a_sentence("make serve"):
        raise KeyError("a")


def test_an_interrupted_command_says_so(capsys):
    with pytest.raises(SystemExit) as ended, ends_in_a_sentence("make serve"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert "make serve: stopped" in capsys.readouterr().err


def test_the_status_of_a_failed_command_is_one():
    code = "from recsys_lib.arguments import *\n"
    code += "with ends_in_a_sentence('x'): raise OSError('no space')"
    environment = {k: v for k, v in os.environ.items() if k != "VERBOSE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (1, "x: no space\n")
