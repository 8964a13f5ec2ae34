"""`make doctor`: each fault is named, with what to do, by a Python without packages."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from book.pipeline.doctor import __main__ as outside
from book.pipeline.doctor import inside
from book.pipeline.doctor.findings import FAULT, NOTE, OK, Finding, run_checks

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = [ROOT / f"book/pipeline/doctor/{x}.py" for x in ("__main__", "findings")]


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda x: x.stem)
def test_the_outside_needs_an_old_python_and_no_package(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [x.name for x in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert imported <= set(sys.stdlib_module_names) | {"book"}


def test_without_an_environment_it_says_how_to_make_one(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "book.pipeline.doctor", str(tmp_path / "no")]
    # A registry that refuses at once: the test asks nobody.
    env = os.environ | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert "is not there\n       -> `make setup` makes it." in done.stdout
    assert "self-test: not looked at" in done.stdout
    assert not done.stderr


def test_a_broken_and_an_unfinished_environment_are_faults(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(tmp_path / "gone")
    (found,) = outside._check_environment(tmp_path)
    assert (found.state, found.do) == (FAULT, "Run `make clean-env setup`.")
    (tmp_path / "bin/python").unlink()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (found,) = outside._check_environment(tmp_path)
    assert "is not finished" in found.what
    assert "make setup" in found.do


def test_a_full_disk_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 10**8})
    monkeypatch.setattr(outside.shutil, "disk_usage", lambda _: full)
    found = list(outside._check_disk(tmp_path))
    assert {x.state for x in found} == {FAULT}
    assert "0.1 GB free" in found[0].what
    assert f"About {outside.INSTALL_GB} GB" in found[0].do


def test_a_container_with_little_memory_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "_memory_limit_gib", lambda: 2.0)
    found = [x for x in outside._check_machine() if x.what.startswith("memory")]
    assert [x.state for x in found] == [NOTE]
    assert found[0].what == "memory: 2 GiB, the limit of this container"


def test_without_a_chinese_font_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inside, "has_chinese_font", lambda: False)
    *_, found = inside._check_browser()
    assert found.state == NOTE
    assert "fonts-noto-cjk" in found.do


def test_an_old_python_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_output", lambda _: "3.9.18\n")
    (found,) = outside._check_python("python3")
    assert found.state == FAULT
    assert "PYTHON=python3.11" in found.do


@pytest.mark.parametrize("kinds", [(), ("faiss-cpu", "faiss-gpu")])
def test_two_faiss_or_none_is_a_fault(
    kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "_installed", lambda: dict.fromkeys(kinds, "1"))
    (found,) = inside._check_faiss()
    assert found.state == FAULT
    assert "pip uninstall" in found.do


@pytest.mark.parametrize(
    ("kind", "gpus", "driver", "note"),
    [
        ("faiss-cpu", 0, None, ""),
        ("faiss-cpu", 0, "nvidia-smi", "requirements-gpu.lock"),
        ("faiss-gpu", 0, "nvidia-smi", "driver"),
        ("faiss-gpu", 1, "nvidia-smi", ""),
    ],
)
def test_the_doctor_says_why_an_index_is_not_on_the_gpu(
    kind: str, gpus: int, driver: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faiss = SimpleNamespace(get_num_gpus=lambda: gpus)
    monkeypatch.setattr(inside, "_installed", lambda: {kind: "1"})
    monkeypatch.setattr(inside, "import_module", lambda name: faiss)
    monkeypatch.setattr(inside.shutil, "which", lambda name: driver)
    (found,) = inside._check_faiss()
    assert found.state == (NOTE if note else OK)
    assert note in found.do


def test_data_with_another_hash_are_a_fault_and_missing_data_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_lib.data.carried import REVIEWS

    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    (tmp_path / REVIEWS).write_text("other")
    found = list(inside._check_data())
    assert [x.state for x in found] == [FAULT, NOTE]
    assert REVIEWS in found[0].what


def test_a_check_that_raises_does_not_stop_the_others() -> None:
    def _check_first() -> Iterator[Finding]:
        raise OSError("no such thing")

    def _check_second() -> Iterator[Finding]:
        yield Finding(OK, "fine")

    first, second = run_checks([_check_first, _check_second])
    assert first.what == "check first: OSError: no such thing"
    assert first.state == FAULT
    assert str(second) == "ok     fine"
