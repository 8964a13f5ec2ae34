"""Run a service in a child process for the length of a `with` block.

The service is stopped in every case: at the end of the block, when the block raises,
and by SIGKILL when it ignores SIGTERM. Every error shows the end of its log.
"""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

_LISTENING = re.compile(r"^listening on (\S+)$", re.MULTILINE)
_LAST_CHARACTERS = 2000  # of the log that an error shows


class ServiceFailed(RuntimeError):
    """A service did not listen in time, or ended before it was stopped."""


@dataclass(frozen=True)
class ChildService:
    """A service that listens: its address ("http://host:port") and its process id."""

    url: str
    pid: int


@contextmanager
def running_service(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    health: str = "",
    start_s: float = 120.0,
    stop_s: float = 40.0,
) -> Iterator[ChildService]:
    """Run a service that prints "listening on URL", as `web_server.serve` does.

    Args:
        command: Starts the process; port 0 lets it listen on a free port.
        log: File for its output; None for a temporary one.
        env: Its environment variables; None for those of this process.
        cwd: Its working folder; None for that of this process.
        health: For a program that prints no such line, "http://host:port/path" that it
            answers as soon as it serves; "" for one that prints it.
        start_s: Longest time in seconds until it listens.
        stop_s: Seconds from SIGTERM to SIGKILL; longer than the service drains.

    Raises:
        ServiceFailed: If it does not listen in time, or ends before the block does.
        OSError: If the command does not exist.

    >>> with running_service(["echo", "no model"]):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    recsys_lib.serving.child_service.ServiceFailed: ... status 0...no model...
    """
    with tempfile.TemporaryDirectory() as folder:
        log = log or Path(folder) / "service.log"
        with log.open("w") as printed:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
            )
        try:
            url = _wait_for_address(process, log, health, start_s)
            yield ChildService(url, process.pid)
        except ServiceFailed:
            raise
        except Exception as error:  # perhaps because the service has ended
            _check_alive(process, log, error)
            raise
        else:
            _check_alive(process, log)
        finally:
            _stop(process, stop_s)


def _wait_for_address(
    process: subprocess.Popen[bytes], log: Path, health: str, start_s: float
) -> str:
    """Wait until the service says, or shows, that it listens."""
    until = time.monotonic() + start_s
    while not (url := _address(log, health)):
        _check_alive(process, log)
        if time.monotonic() > until:
            raise _failed(f"did not listen within {start_s:g} s", log)
        time.sleep(0.02)
    return url


def _address(log: Path, health: str) -> str:
    """The address that the log names or that answers; "" if there is none yet."""
    if not health:
        found = _LISTENING.search(log.read_text())
        return found[1] if found else ""
    try:
        urlopen(health, timeout=5).close()
    except OSError:  # nobody listens, or an error such as 503 while it loads
        return ""
    return health[: health.index("/", len("http://"))]


def _check_alive(
    process: subprocess.Popen[bytes], log: Path, cause: Exception | None = None
) -> None:
    if process.poll() is not None:
        raise _failed(f"ended with status {process.returncode}", log) from cause


def _failed(how: str, log: Path) -> ServiceFailed:
    printed = log.read_text()[-_LAST_CHARACTERS:].strip()
    return ServiceFailed(f"the service {how}; its log:\n{printed or '(empty)'}")


def _stop(process: subprocess.Popen[bytes], stop_s: float) -> None:
    process.terminate()
    try:
        process.wait(stop_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
