"""Run the commands of a workflow's job here: ``run_job.py ci check [--into FOLDER]``.

They run in a clone of the last commit, with a Python of the job's own, as after
``setup-python``. Steps that use an action, and those for a failure, are left out.
``--env NAME=VALUE`` replaces a variable, such as ``PIP_EXTRA_INDEX_URL=``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def main() -> None:
    """Run the job that the command line names; exit with the first failing status."""
    parser = argparse.ArgumentParser(prog="run_job.py")
    parser.add_argument("workflow", help="such as ci")
    parser.add_argument("job", help="such as check")
    parser.add_argument("--into", type=Path, help="new folder that is kept")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    given = dict(pair.partition("=")[::2] for pair in options.env)
    file = ROOT / ".github/workflows" / f"{options.workflow}.yml"
    if not file.is_file():
        parser.error(f"workflow must be one of {_names(file.parent)}; got {file.stem}")
    workflow = yaml.safe_load(file.read_text())
    if options.job not in workflow["jobs"]:
        wanted = ", ".join(workflow["jobs"])
        parser.error(f"job of {file.stem} must be one of {wanted}; got {options.job}")
    with tempfile.TemporaryDirectory() as made:
        folder = options.into or Path(made)
        sys.exit(run_job(workflow, options.job, ROOT, folder, given))


def run_job(
    workflow: Mapping[str, Any],
    job: str,
    root: Path,
    folder: Path,
    given: Mapping[str, str],
) -> int:
    """Clone a repository into a folder and run a job's commands in it.

    Args:
        workflow: As read from its file.
        job: Its name.
        root: Of the repository.
        folder: Made if needed; gets the clone and the job's Python.
        given: Variables that replace those of the workflow.

    Returns:
        The first status that is not 0, or 0.

    Raises:
        ValueError: If a command or a variable has an expression that is not known here.
    """
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
    venv.create(folder / "python", with_pip=True, symlinks=True)
    known = known_in(clone)
    path = f"{folder / 'python/bin'}{os.pathsep}{os.environ['PATH']}"
    steps = workflow["jobs"][job]["steps"]
    for step in steps:
        if "run" not in step or "failure()" in step.get("if", ""):
            print(f"left out: {step.get('uses', step.get('name'))}", flush=True)
            continue
        env = {**os.environ, "PATH": path}
        for part in (workflow, workflow["jobs"][job], step):
            env |= {x: filled(str(y), known) for x, y in part.get("env", {}).items()}
        env |= given
        command = filled(step["run"], known)
        if not shutil.which("sudo"):
            command = command.replace("sudo ", "")
        print(f"$ {command.strip()}", flush=True)
        start = time.perf_counter()
        status = subprocess.run(["bash", "-ec", command], cwd=clone, env=env).returncode
        print(f"status {status}, {time.perf_counter() - start:.0f} s", flush=True)
        if status:
            return status
    return 0


def known_in(clone: Path) -> dict[str, str]:
    """The expressions that commands and variables may have, and their values here."""
    return {
        "github.workspace": str(clone),
        "github.server_url": "https://github.com",
        "github.repository": "owner/book",
        "github.event.pull_request.base.sha || github.event.before": "HEAD~1",
    }


def filled(text: str, known: Mapping[str, str]) -> str:
    """Put values in the place of ``${{ expressions }}``.

    >>> filled("cd ${{ github.workspace }}", {"github.workspace": "/book"})
    'cd /book'
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            wanted = ", ".join(known)
            raise ValueError(f"expressions must be of {wanted}; got {found[1]}")
        return known[found[1]]

    return EXPRESSION.sub(value, text)


def _names(folder: Path) -> str:
    return ", ".join(sorted(file.stem for file in folder.glob("*.yml")))


if __name__ == "__main__":
    main()
