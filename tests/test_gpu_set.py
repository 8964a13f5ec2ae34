"""Whether the GPU set resolves: pip's answers are played, no registry is asked."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from book.pipeline.doctor import gpu_set

ROOT = Path(__file__).resolve().parents[1]
LOCK, GPU_LOCK = (ROOT / name for name in (gpu_set.LOCK, gpu_set.GPU_LOCK))


def plays(monkeypatch, *, registry: int = 0, conflict: int = 0, pins=(), late=False):
    """Answer for pip: return codes of its download and of the resolution."""

    def python(arguments, folder):
        if late:
            raise subprocess.TimeoutExpired(arguments, gpu_set.SECONDS)
        download = "download" in arguments
        pairs = [pin.split("==") for pin in pins]
        found = [{"metadata": {"name": x, "version": y}} for x, y in pairs]
        report = {"install": found}
        (folder / "report.json").write_text(json.dumps(report))
        code = registry if download else conflict
        return subprocess.CompletedProcess(arguments, code, "", "A needs B<2")

    monkeypatch.setattr(gpu_set, "_python", python)
    monkeypatch.setattr(gpu_set.platform, "system", lambda: "Linux")
    monkeypatch.setattr(gpu_set.platform, "machine", lambda: "x86_64")


def pins_of(file: Path) -> list[str]:
    return re.findall(r"^[\w.-]+==\S+", file.read_text(), re.M)


def test_the_set_as_locked_resolves(monkeypatch, tmp_path):
    plays(monkeypatch, pins=["torch==2.13.0", *pins_of(GPU_LOCK)])
    said, resolves = gpu_set.resolve(tmp_path)
    n = 1 + len(pins_of(GPU_LOCK))
    assert (said, resolves) == (f"its {n} packages resolve, as locked", True)


def test_a_conflict_is_a_fault_with_the_words_of_pip(monkeypatch, tmp_path):
    plays(monkeypatch, conflict=1)
    assert gpu_set.resolve(tmp_path) == ("does not resolve:\nA needs B<2", False)


def test_a_lock_that_is_out_of_date_is_a_fault_that_says_how(monkeypatch, tmp_path):
    plays(monkeypatch, pins=["torch==2.13.0", "New_one==1", *pins_of(GPU_LOCK)[1:]])
    said, resolves = gpu_set.resolve(tmp_path)
    assert not resolves
    assert said.splitlines()[1:] == ["+ New_one==1", f"- {pins_of(GPU_LOCK)[0]}"]


@pytest.mark.parametrize("how", [{"registry": 1}, {"late": True}])
def test_without_a_registry_nothing_fails(how, monkeypatch, tmp_path):
    plays(monkeypatch, **how)
    said, resolves = gpu_set.resolve(tmp_path)
    assert resolves
    assert said.startswith("not resolved; ")


def test_another_system_resolves_nothing(monkeypatch, tmp_path):
    plays(monkeypatch, conflict=1)
    monkeypatch.setattr(gpu_set.platform, "system", lambda: "Darwin")
    assert gpu_set.resolve(tmp_path)[1]


def test_a_fault_ends_with_1(monkeypatch, capsys):
    plays(monkeypatch, conflict=1)
    with pytest.raises(SystemExit) as ended:
        gpu_set.main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith("GPU set: does not resolve")


def test_no_package_is_pinned_in_both_files():
    pins = [*pins_of(LOCK), *pins_of(GPU_LOCK)]
    assert len({pin.partition("==")[0] for pin in pins}) == len(pins)


def test_the_environment_of_conda_is_the_gpu_set():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (x["pip"] for x in conda if isinstance(x, dict))
    locks = {f"-c {file}" for file in (gpu_set.LOCK, gpu_set.GPU_LOCK)}
    assert {*locks, "-e .[book,dev,gpu]"} == {*pip}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    assert extras["gpu"][0] in pins_of(GPU_LOCK)
    assert {x for x in extras["torch"] if x.startswith("torch==")} <= {*pins_of(LOCK)}
