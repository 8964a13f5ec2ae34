"""`make doctor`: what is wrong here, from outside of the environment and from inside.

This part needs any Python 3.8 and no package, since the environment may be missing or
broken: `python3 -m book.pipeline.doctor .venv`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator  # noqa: UP035 (Python 3.8)

from book.pipeline.doctor.findings import FAULT, NOTE, OK, Finding, run_checks

NEEDED = (3, 11)
INSTALL_GB, BUILD_GB = 8, 2  # the environment and its downloads; data and runs
SMALL_GIB = 8
READY = ".recsys-book-ready"  # written by `make setup` when it has finished
A_PACKAGE = "latex2mathml"  # small, and the book needs it
MAKE_AGAIN = "Run `make clean-env setup`"


def main(environment: str) -> int:
    """Print all findings; return 1 if there is a fault, else 0."""
    env = Path(environment)
    found = []
    for finding in _report(env):
        print(finding, flush=True)
        found.append(finding)
    faults = sum(finding.state == FAULT for finding in found)
    if faults:
        print(f"\n{faults} to mend, the first one first; then `make doctor` again.")
    else:
        print(
            "\nNo fault found: `make book` should work. If it does not, run it with "
            "VERBOSE=1\nand report its last lines with this output."
        )
    return 1 if faults else 0


def _report(env: Path) -> Iterator[Finding]:
    python = env / "bin" / "python"

    def check_python() -> Iterator[Finding]:
        return _check_python(str(python) if python.exists() else sys.executable)

    def check_environment() -> Iterator[Finding]:
        return _check_environment(env)

    def check_disk() -> Iterator[Finding]:
        return _check_disk(env)

    def check_registry() -> Iterator[Finding]:
        return _check_registry(env)

    yield from run_checks([_check_make, check_python, _check_machine, _check_gpu])
    yield from run_checks([check_disk, check_registry, check_environment])
    if (env / READY).exists() and _answers(python):
        yield from _inside(python)
    else:
        yield Finding(
            NOTE,
            "packages, data, model, self-test: not looked at",
            "They are once the environment is ready.",
        )


def _check_make() -> Iterator[Finding]:
    make = shutil.which("make")
    if make is None:
        yield Finding(
            FAULT,
            "make: not on the PATH",
            "Install it: apt install make, dnf install make, "
            "xcode-select --install, or conda install make.",
        )
        return
    said = _output([make, "--version"]).splitlines() or [""]
    good = "GNU" in said[0]
    yield Finding(
        OK if good else NOTE,
        f"make: {said[0]}",
        "" if good else "The Makefile was tried with GNU make only.",
    )


def _check_python(python: str) -> Iterator[Finding]:
    asked = "import platform; print(platform.python_version())"
    version = _output([python, "-c", asked]).strip()
    if not version:
        yield Finding(
            FAULT,
            f"Python: {python} does not answer",
            f"The Python that it was made of is gone. {MAKE_AGAIN}.",
        )
        return
    new = tuple(map(int, version.split(".")[:2])) >= NEEDED
    wanted = ".".join(map(str, NEEDED))
    yield Finding(
        OK if new else FAULT,
        f"Python {version}: {python}",
        ""
        if new
        else f"Python {wanted} or newer is needed. Install one, "
        f"then {MAKE_AGAIN[4:]} with PYTHON=python{wanted}.",
    )


def _check_machine() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Finding(OK, f"system: {system}")
    cores = _cores()
    quota = _quota()
    if quota and quota < cores:
        yield Finding(
            NOTE,
            f"cores: {cores}, but this container may use {quota:g}",
            "Times will vary: give it whole cores (docker run --cpuset-cpus),"
            " or read times as those of a shared machine.",
        )
    else:
        yield Finding(OK, f"cores: {cores}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores:
        yield Finding(
            NOTE,
            f"load: {load:.1f} on {cores} cores",
            "Other programs compute: what is timed now will be slower.",
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    limit = _memory_limit_gib()
    limited = limit < memory
    memory = min(memory, limit)
    small = memory < SMALL_GIB
    yield Finding(
        NOTE if small else OK,
        f"memory: {memory:.0f} GiB{', the limit of this container' * limited}",
        f"The book was tried with more than {SMALL_GIB} GiB. If a kernel "
        "dies, use PROFILE=smoke or single CHAPTERS=."
        if small
        else "",
    )


def _check_gpu() -> Iterator[Finding]:
    if shutil.which("nvidia-smi") is None:
        yield Finding(OK, "GPU: no NVIDIA driver; the book runs on the CPU")
        return
    said = _output(
        [
            "nvidia-smi",
            "--format=csv,noheader",
            "--query-gpu=name,driver_version,memory.total",
        ]
    )
    if not said:
        yield Finding(
            FAULT,
            "GPU: nvidia-smi is there, but does not answer",
            "Driver and kernel may differ: restart, or install the driver "
            "again. Until then use DEVICE=cpu.",
        )
    for line in said.splitlines():
        name, driver, memory = (part.strip() for part in line.split(","))
        yield Finding(OK, f"GPU: {name}, {memory}, driver {driver}")


def _check_disk(env: Path) -> Iterator[Finding]:
    ready = (env / READY).exists()
    places = {
        "project": Path.cwd(),
        "temporary files": _temporary(),
        "cache": Path(os.environ.get("RECSYS_CACHE") or Path.home()),
    }
    for name, place in places.items():
        while not place.exists():
            place = place.parent
        needed = BUILD_GB if ready or name != "project" else INSTALL_GB
        free = shutil.disk_usage(place).free / 1e9
        what = f"disk, {name}: {free:.1f} GB free at {place}"
        if not os.access(place, os.W_OK):
            yield Finding(
                FAULT,
                f"disk, {name}: {place} cannot be written",
                "Give yourself the right, or set another folder (TMPDIR, "
                "RECSYS_CACHE).",
            )
        elif free < needed:
            yield Finding(
                FAULT,
                what,
                f"About {needed} GB are needed: free some, or "
                "set another folder (TMPDIR, RECSYS_CACHE).",
            )
        else:
            yield Finding(OK, what)


def _temporary() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp")


def _check_registry(env: Path) -> Iterator[Finding]:
    """Ask pip, which knows the reader's proxies and indexes, for one package."""
    python = env / "bin" / "python"
    pip = [str(python) if _answers(python) else sys.executable, "-m", "pip"]
    said = _output([*pip, "index", "versions", A_PACKAGE], seconds=60)
    if A_PACKAGE in said:
        yield Finding(OK, "package registry: pip reaches it")
        return
    needed = FAULT if not (env / READY).exists() else NOTE
    yield Finding(
        needed,
        "package registry: pip does not reach it, or pip is missing",
        "Setup and the data come from there. Try: "
        f"{' '.join(pip)} index versions {A_PACKAGE}. Behind a proxy set "
        "HTTPS_PROXY; for a mirror set PIP_INDEX_URL.",
    )


def _check_environment(env: Path) -> Iterator[Finding]:
    python, active = env / "bin" / "python", env.name != ".venv"
    what = f"environment: {env}{' (active)' if active else ''}"
    if python.is_symlink() and not python.exists():
        yield Finding(FAULT, f"{what} is broken", f"{MAKE_AGAIN}.")
        return
    if not python.exists():
        yield Finding(NOTE, f"{what} is not there", "`make setup` makes it.")
        return
    if not (env / READY).exists():
        yield Finding(
            FAULT,
            f"{what} is not finished",
            "Run `make setup`; if it ends with an error, its last lines say why.",
        )
        return
    newer = [
        file
        for file in ("pyproject.toml", "requirements.lock", "requirements-gpu.lock")
        if os.path.getmtime(file) > os.path.getmtime(env / READY)
    ]
    if newer:
        yield Finding(
            NOTE,
            f"{what} is older than {' and '.join(newer)}",
            "The next `make` brings it up to date.",
        )
    done = subprocess.run(
        [str(python), "-m", "pip", "check"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        first = (done.stdout + done.stderr).strip().splitlines()[:1]
        yield Finding(
            FAULT,
            f"{what}: packages do not fit: {' '.join(first)}",
            f"{MAKE_AGAIN}."
            if not active
            else "Run `make setup`, or make a fresh environment.",
        )
    elif not newer:
        yield Finding(OK, what)


def _inside(python: Path) -> Iterator[Finding]:
    """What the environment's own Python finds, line by line as it finds it."""
    command = [str(python), "-m", "book.pipeline.doctor.inside"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("["):
                yield Finding(*json.loads(line))
        error = process.stderr.read().strip().splitlines()
    if process.returncode:
        why = error[-1] if error else f"ended with {process.returncode}"
        yield Finding(FAULT, f"the look from inside: {why}", f"{MAKE_AGAIN}.")


def _answers(python: Path) -> bool:
    return python.exists() and bool(_output([str(python), "-c", "print(1)"]))


def _output(command: list[str], seconds: float = 20) -> str:
    """What a command prints; "" if it fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float:
    """Cores that the container's limit allows; 0 without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return 0.0 if limit == "max" else int(limit) / int(period)


def _memory_limit_gib() -> float:
    """The container's limit; infinite without one."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return math.inf
    return math.inf if limit == "max" else int(limit) / 2**30


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
