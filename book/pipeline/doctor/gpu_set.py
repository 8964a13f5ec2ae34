"""Resolve the GPU set as pip would install it, without downloading its wheels.

pip reads the metadata in each wheel by range requests: seconds instead of gigabytes.
Releases before the one named here download the wheels all the same.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from book.pipeline.packages import canonical, pinned

LOCK, GPU_LOCK = Path("requirements.lock"), Path("requirements-gpu.lock")
PIP = "26.3"
NEEDED = ("torch", "faiss-gpu")
SECONDS = 120.0


def main() -> None:
    """Say whether the set resolves, and exit with 1 if it does not."""
    with tempfile.TemporaryDirectory() as folder:
        said, resolves = resolve(Path(folder))
    print(f"GPU set: {said}")
    sys.exit(not resolves)


def resolve(folder: Path) -> tuple[str, bool]:
    """Resolve the set against both lock files.

    Args:
        folder: Empty; for pip, and for its report.

    Returns:
        What was found, and False only if the set does not resolve as it is locked.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "not resolved; that needs Linux on x86-64", True
    try:
        if _fetch_pip(folder).returncode:
            return "not resolved; no package registry answers", True
        done = _resolve_in(folder)
    except subprocess.TimeoutExpired:
        return f"not resolved; the registry took more than {SECONDS:.0f} s", True
    if done.returncode:
        return f"does not resolve:\n{done.stderr.strip()}", False
    found = json.loads((folder / "report.json").read_text())["install"]
    pins = [f"{x['metadata']['name']}=={x['metadata']['version']}" for x in found]
    wrong = differences(pins, LOCK.read_text(), GPU_LOCK.read_text())
    if wrong:
        return f"{GPU_LOCK} is out of date:\n" + "\n".join(wrong), False
    return f"its {len(pins)} packages resolve, as locked", True


def differences(pins: Iterable[str], lock: str, gpu_lock: str) -> list[str]:
    """List what the GPU lock misses (+), and what nothing needs any more (-).

    Args:
        pins: Of all packages that pip would install.
        lock: Text of the file that pins what runs without a GPU.
        gpu_lock: Text of the file that pins the rest.

    >>> differences(["torch==2", "new==1"], "torch==2", "Old==3")
    ['+ new==1', '- Old==3']
    """
    shared = {canonical(name) for name in pinned(lock)}
    named = {canonical(pin.partition("==")[0]): pin for pin in pins}
    needed = {name: pin for name, pin in named.items() if name not in shared}
    pairs = pinned(gpu_lock).items()
    locked = {canonical(name): f"{name}=={version}" for name, version in pairs}
    missing = [f"+ {needed[x]}" for x in sorted({*needed} - {*locked})]
    return missing + [f"- {locked[x]}" for x in sorted({*locked} - {*needed})]


def _fetch_pip(folder: Path) -> subprocess.CompletedProcess[str]:
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--retries=1"]
    command = ["-m", "pip", "download", *options, "--dest", str(folder), f"pip=={PIP}"]
    return _python(command, folder)


def _resolve_in(folder: Path) -> subprocess.CompletedProcess[str]:
    pip = str(folder / f"pip-{PIP}-py3-none-any.whl" / "pip")
    options = ["--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
    options += ["--use-feature=fast-deps", f"--report={folder / 'report.json'}"]
    options += [f"--constraint={file}" for file in (LOCK, GPU_LOCK)]
    return _python([pip, "install", *options, *NEEDED], folder)


def _python(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python; wheels on this disk are left out: they may be of another build."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, "PIP_FIND_LINKS": str(folder)},
    )


if __name__ == "__main__":
    main()
