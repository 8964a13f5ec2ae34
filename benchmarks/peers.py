"""Peers and our own library, each in a child process, measured in turn.

A child measures with its own clock, so that the pipe does not count. While one runs,
the others are stopped, since idle threads may spin and take a core.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from benchmarks.samples import SAMPLES, Samples

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "bench"
MODEL = "BENCH_MODEL"  # environment variable: folder of the reader's model, if any
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
Milliseconds = npt.NDArray[np.float64]
SILENT_S = 10.0  # of rounds without a line of progress
IN_A_ROW = 10  # calls of a turn that count, after as many that warm up


class NotRun(RuntimeError):
    """A peer cannot be measured here; the message says why."""


class Child:
    """A process that answers as `worker.answer_requests` does; use it in ``with``.

    Between two requests it is stopped with all its threads (SIGSTOP); it continues for
    the next request and when it is closed.

    Args:
        command: Of the process.
        log: File for its output.
        gpu: Whether it may see the GPU, and tokenise on all cores.

    Raises:
        NotRun: If it cannot load what it measures.
    """

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, gpu: bool = False
    ) -> None:
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=child_environment(gpu=gpu),
            )
        try:
            self._read()
            self._process.send_signal(signal.SIGSTOP)
        except NotRun:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, operation: str, *, save: Path | None = None, **args: Any) -> Any:
        """Run an operation and return its value.

        Raises:
            NotRun: If it fails, or the child has ended.
        """
        return self._exchange(op=operation, save=save and str(save), args=args)["value"]

    def time_ms(self, operation: str, **args: Any) -> float:
        """Run an operation and return its time; errors as in `ask`."""
        return float(self._exchange(op=operation, args=args)["ms"])

    def turn_ms(self, operation: str, turn: Sequence[dict[str, Any]]) -> Milliseconds:
        """Run an operation for each arguments without a pause; return the times."""
        return np.array(self._exchange(op=operation, turn=turn)["ms"])

    def close(self) -> None:
        """End the process; kill it after 20 s."""
        self._process.send_signal(signal.SIGCONT)
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        if self._process.stdout:
            self._process.stdout.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _exchange(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return self._read()
        except BrokenPipeError:
            raise NotRun(self._last_line()) from None
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise NotRun(self._last_line())
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise NotRun(reply["error"])
        return reply

    def _last_line(self) -> str:
        printed = self._log.read_text().strip().splitlines()
        return f"the process ended: {printed[-1] if printed else 'it printed nothing'}"


def start_peer(name: str) -> Child:
    """Start a peer in the peers' environment, which is made on first use.

    Raises:
        NotRun: If the environment cannot be made or the peer cannot be loaded.
    """
    python = peers_python(FOLDER / "peers-env", REQUIREMENTS)
    command: list[str | Path] = [python, "-m", "benchmarks.children.peer_worker", name]
    return Child(command, log=FOLDER / f"{name}.log")


def start_own(**options: Any) -> Child:
    """Start our encoder or index, with options of `own_worker`."""
    name = "-".join(["own", *map(str, options.values())])
    command = [
        sys.executable,
        "-m",
        "benchmarks.children.own_worker",
        json.dumps(options),
    ]
    on_gpu = options.get("device", "cpu") != "cpu"
    return Child(command, log=FOLDER / f"{name}.log", gpu=on_gpu)


def start_on_gpu(name: str) -> Child:
    """Start an encoder of `gpu_worker`, in this environment if it has the peer.

    Raises:
        NotRun: If it cannot be loaded.
    """
    python: str | Path = sys.executable
    if name != "own" and find_spec("sentence_transformers") is None:
        python = peers_python(FOLDER / "peers-env", REQUIREMENTS)
    command = [python, "-m", "benchmarks.children.gpu_worker", name]
    return Child(command, log=FOLDER / f"{name}.log", gpu=True)


def peers_python(folder: Path, requirements: Path) -> Path:
    """Return the Python of the peers' environment; make it again if they changed.

    Raises:
        NotRun: If they cannot be installed.
    """
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing the peers into {folder}; the first time takes minutes.")
    stamp.unlink(missing_ok=True)
    try:
        _run([sys.executable, "-m", "venv", folder])
        _run([python, "-m", "pip", "install", "--quiet", "-r", requirements])
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:]
        raise NotRun(f"not installed: {''.join(last)}") from None
    stamp.write_text(wanted)
    return python


def child_environment(*, gpu: bool = False) -> dict[str, str]:
    """Variables of a child: offline, and with the thread settings of its libraries."""
    ours = {name: x for name, x in os.environ.items() if name != "OMP_WAIT_POLICY"}
    on_cpu = {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    ours |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return ours if gpu else ours | on_cpu


def warm_turn(
    child: Child, operation: str, arguments: Callable[[int], dict[str, Any]], i: int
) -> Milliseconds:
    """Times of the IN_A_ROW calls of round i, after as many that fill the caches.

    Args:
        child: Runs all calls without a pause.
        operation: Of the child.
        arguments: Of the operation, by the number of the call.
        i: Number of the round.
    """
    numbers = range((i - 1) * IN_A_ROW, (i + 1) * IN_A_ROW)
    return child.turn_ms(operation, [arguments(n) for n in numbers])[IN_A_ROW:]


def interleave(
    calls: Mapping[str, Callable[[int], Any]],
    *,
    rounds: int,
    warmup: int = 5,
    seed: int = 0,
) -> dict[str, Milliseconds]:
    """Measure each child in turn, in random order.

    In a bench with `SAMPLES`, rounds that a stopped run has measured are not measured
    again; those of the warm-up are.

    Args:
        calls: Name -> function of the round's number that returns milliseconds, of one
            call or of several.
        rounds: Rounds that count.
        warmup: Rounds before them.
        seed: Of the orders.

    Returns:
        Name -> (rounds,) milliseconds or, of n calls a round, (n * rounds,), those of
        the first round first.
    """
    store, names = SAMPLES.get() or Samples(), list(calls)
    measured = store.next_comparison(names, rounds, warmup, seed)
    rng, total = np.random.default_rng(seed), warmup + rounds
    orders = [rng.permutation(len(names)) for _ in range(total)]
    shown = "  " + ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    to_do = _rounds_to_do(shown, len(measured), rounds, warmup)
    began = said = time.perf_counter()
    for done, i in enumerate(to_do, start=1):
        ms = {names[j]: calls[names[j]](max(i, 0)) for j in orders[warmup + i]}
        if i >= 0:
            measured.append([np.asarray(ms[name], float).tolist() for name in names])
        now = time.perf_counter()
        if now - said > SILENT_S:  # between two rounds: nothing is timed here
            store.save()
            left = (now - began) / done * (len(to_do) - done)
            print(
                f"{shown}: round {warmup + i + 1} of {total}, "
                f"{now - began:.0f} s, about {left:.0f} s left",
                flush=True,
            )
            said = now
    store.save()
    return {
        name: np.array([samples[n] for samples in measured], float).ravel()
        for n, name in enumerate(names)
    }


def _rounds_to_do(shown: str, n_measured: int, rounds: int, warmup: int) -> list[int]:
    """Numbers of the rounds to measure, those of the warm-up below 0."""
    if n_measured == rounds:
        print(f"{shown}: taken from the run that was stopped", flush=True)
        return []
    if n_measured:
        first, total = warmup + n_measured + 1, warmup + rounds
        print(f"{shown}: resumes at round {first} of {total}", flush=True)
    return [*range(-warmup, 0), *range(n_measured, rounds)]


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
