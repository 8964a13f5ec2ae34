import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.latency.load import arrival_times, simulate_queue
from recsys_lib.records import slug
from recsys_lib.serving.capacity import (
    Configuration,
    Objective,
    Search,
    choose,
    near,
    needs,
    predict,
    rank,
)
from recsys_lib.serving.plan import (
    ENCODERS,
    FILMS,
    KINDS,
    STEPS,
    main,
    p99_error,
    read_configurations,
    read_controls,
)

RECORDED = Path(__file__).resolve().parents[2] / "book/results/amd-epyc-2-cores"
FLAT = Search("flat", (1000, 101_000), (0.5, 10.5), 1536, 1.0)
GRAPH = Search("hnsw", (1000, 100_000), (0.1, 0.3), 1700, 0.9)
GOOD = Configuration("model", FLAT, 3.0, 0.05, 90e6, 0.7)
QUICK = Configuration("table", GRAPH, 0.1, 0.05, 40e6, 0.5)
EASY = Objective(p99_ms=20, n_items=10_000, qps=50)


def test_an_example_by_hand():
    plan = predict(GOOD, EASY, cores=1)
    assert plan.utilisation == pytest.approx(50 * (3 + 0.5 + 0.9) / 1000)
    assert plan.memory_bytes == 90e6 + 10_000 * 1536
    assert plan.quality == 0.7
    assert plan.excess == pytest.approx(plan.p99_ms / 20)
    assert str(plan).startswith("model + flat: p99 ")
    assert predict(QUICK, EASY, cores=1).quality == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("search", "n", "ms"), [(FLAT, 1000, 0.5), (FLAT, 9, 0.5), (FLAT, 1_001_000, 100.5)]
)
def test_a_scan_grows_with_the_items(search, n, ms):
    assert search.predict_ms(n) == pytest.approx(ms)


def test_a_graph_grows_with_their_logarithm():
    assert GRAPH.predict_ms(10_000) == pytest.approx(0.2)
    assert GRAPH.predict_ms(10**7) == pytest.approx(0.5)
    falling = replace(GRAPH, ms=(0.3, 0.1))
    assert falling.predict_ms(10**6) == 0.3, "noise is not taken for a gain"


@pytest.mark.parametrize(("cores", "scv"), [(1, 0.05), (2, 0.05), (2, 0.8)])
def test_the_p99_is_that_of_a_replayed_queue(cores, scv):
    rate, n = 110.0 * cores, 60_000
    service_ms = 3 + FLAT.predict_ms(10_000)
    rng = np.random.default_rng(3)
    services = rng.gamma(1 / scv, scv * service_ms / 1e3, n)
    arrivals = arrival_times(n, rate_per_s=rate, seed=4)
    replayed = simulate_queue(arrivals, services, servers=cores).latency_ms
    plan = predict(replace(GOOD, scv=scv), Objective(20, 10_000, rate), cores=cores)
    p50_ms, p99_ms = np.quantile(replayed, [0.5, 0.99])
    assert plan.p99_ms == pytest.approx(p99_ms, rel=0.1)
    assert plan.p50_ms == pytest.approx(p50_ms, rel=0.05)


def test_the_quantiles_of_exponential_service_are_those_of_the_formula():
    plan = predict(replace(GOOD, scv=1), EASY, cores=1)
    service_ms = 3 + FLAT.predict_ms(10_000)
    mean_ms = service_ms / (1 - 50 * service_ms / 1e3)  # M/M/1: exponential responses
    assert plan.p50_ms == pytest.approx(mean_ms * math.log(2), rel=0.1)
    assert plan.p99_ms == pytest.approx(mean_ms * math.log(100), rel=0.1)


def test_the_best_that_meets_it_is_chosen():
    assert choose([QUICK, GOOD], EASY, cores=1).configuration is GOOD
    slow = replace(GOOD, encoder="slow", encode_ms=4.0)
    assert choose([slow, GOOD], EASY, cores=1).configuration is GOOD, "of equals"
    large = Objective(20, 1_000_000, 50)
    assert choose([QUICK, GOOD], large, cores=1).configuration is QUICK
    small = replace(EASY, memory_bytes=80e6)
    assert choose([QUICK, GOOD], small, cores=1).configuration is QUICK


def test_what_is_nearest_is_said_to_miss():
    plan = choose([QUICK, GOOD], Objective(0.2, 10_000, 50), cores=1)
    assert plan.configuration is QUICK
    assert 1 < plan.excess < math.inf
    drowned = choose([GOOD, QUICK], Objective(20, 10_000, 10_000), cores=1)
    assert drowned.configuration is QUICK, "the least busy"
    assert drowned.excess == math.inf
    assert "overloaded" in str(drowned)


@given(st.floats(1, 200), st.floats(1, 200), st.integers(1, 8))
def test_more_load_takes_longer_and_more_cores_less(one, other, cores):
    low, high = sorted((one, other))
    light, heavy = (
        predict(GOOD, Objective(20, 10_000, qps), cores=cores) for qps in (low, high)
    )
    wide = predict(GOOD, Objective(20, 10_000, high), cores=cores + 1)
    assert light.p99_ms <= heavy.p99_ms * 1.0001
    assert wide.p99_ms <= heavy.p99_ms * 1.0001
    assert light.p50_ms <= light.p99_ms


@pytest.fixture
def results(tmp_path):
    """Records as the press saves them, of chapters 3 and 4."""
    three = {"films": 1682}
    for kind in KINDS:
        three |= {f"search_{kind}_items": 50_000, f"recall_{kind}": 0.98}
        three |= {f"small_{kind}_ms": 0.1, f"search_{kind}_ms": 1.0}
        three |= {f"bytes_{kind}": 1600}
    for number, name in enumerate(ENCODERS):
        key = slug(name)
        three |= {f"ms_{key}": 3 - number / 2, f"mb_{key}": 90}
        three |= {f"recall_{key}": 0.7 - number / 20}
    three |= {"recall_tfidf": 0.4, "ms_tfidf": 0.3, "mb_tfidf": 1}
    three["recall_shuffled"] = 0.1
    one = {f"rt_{key}_p50_ms": 0.2 for key in FILMS} | {"rt_one_text_p50_ms": 3.2}
    one |= {f"ndcg_{key}": 0.1 for key in FILMS} | {"ndcg_ease": 0.5}
    one |= {f"cold_{key}": 0.5 for key in FILMS} | {"cold_text": 0.8}
    seven = {"plan_p99_worst_factor": 3.0}
    five = {f"step_{key}_ms": 2.0 for key in STEPS} | {"garments": 147}
    five |= {f"step_{key}_r10": 0.4 for key in STEPS} | {"r10_chance": 0.07}
    five |= {"step_counted_words_ms": 0.4, "step_counted_words_r10": 0.5}
    chapters = {"ch1": one, "ch3": three, "ch4": {"service_scv": 0.05}}
    chapters |= {"ch5": five, "ch7": seven}
    for key, values in chapters.items():
        records = {name: {"value": value} for name, value in values.items()}
        (tmp_path / f"{key}.json").write_text(json.dumps(records))
    run = {"cores": 2, "memory_gib": 16, "cpu": "a processor", "profile": "smoke"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    return tmp_path


def command(folder, **changes):
    asked = {"p99-ms": 20, "items": 1_000_000, "qps": 200} | changes
    options = [f"--{name}={value}" for name, value in asked.items()]
    return main([*options, f"--results={folder}"])


def rows_of(results, capsys, **changes):
    """Exit code, and what JSON says by the name of the configuration."""
    asked = {"p99-ms": 20, "items": 1_000_000, "qps": 200} | changes
    options = [f"--{name}={value}" for name, value in asked.items()]
    code = main([*options, "--json", f"--results={results}"])
    said = json.loads(capsys.readouterr().out)
    return code, said | {"by": {x["configuration"]: x for x in said["configurations"]}}


def test_the_command_prints_a_table_and_what_to_build(results, capsys):
    assert command(results, items=10_000) == 0
    said = capsys.readouterr().out
    assert "10,000 items, 200 requests a second,\non a processor, 2 cores" in said
    assert "garment recall@10; controls: counted words 0.400, shuffled 0.100" in said
    assert "Build: as it is + " in said
    assert command(results, items=10_000, **{"p99-ms": 0.2}) == 1
    assert "Not reachable. The nearest is counted words" in capsys.readouterr().out


def test_no_language_model_is_a_candidate_in_each_case(results, capsys):
    for case in ("search", "history", "new-items"):
        code, said = rows_of(results, capsys, case=case, items=10_000)
        assert code == 0
        assert {x["language_model"] for x in said["configurations"]} == {True, False}
    assert said["by"]["language model, stored + flat"]["quality"] == pytest.approx(
        0.8 * 0.98
    )
    _, said = rows_of(results, capsys, case="history", items=10_000)
    assert said["configurations"][0]["configuration"] == "EASE"
    assert said["metric"] == "nDCG@10"
    assert said["controls"] == {"popularity": 0.1}, "random was not recorded"


def test_the_readers_texts_are_planned_from_chapter_5(results, capsys):
    code, said = rows_of(results, capsys, case="texts", items=10_000)
    assert code == 0
    first = said["configurations"][0]
    assert (first["configuration"], first["quality"]) == ("counted words", 0.5)
    assert first["p50_ms"] == pytest.approx(0.4 + 0.9 * 9853 / 49_853, rel=0.2)
    assert said["controls"] == {"random": 0.07}
    found = {x["configuration"]: x["language_model"] for x in said["configurations"]}
    assert found["counted words + popularity"] is False
    assert found["student + popularity"] is True
    assert found["counted words + vote"] is True
    assert command(results, case="texts") in (0, 1)
    assert "R@10 of items by a text" in capsys.readouterr().out
    command(results, case="history")
    assert "Times were measured on MovieLens; their" in capsys.readouterr().out
    run = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps(run | {"dataset": "my shop"}))
    for case, said in {
        "texts": "chapter 5, on my",
        "history": "measured on my",
    }.items():
        command(results, case=case)
        assert f"{said} shop" in capsys.readouterr().out


def test_a_table_of_pairs_does_not_fit(results, capsys):
    _, said = rows_of(results, capsys, case="history", items=100_000)
    ease = said["by"]["EASE"]
    assert ease["memory_mb"] == 4e4
    assert ease["fails"] == "memory"
    assert ease["needs"] == ["37.3 GiB of memory"]


def test_a_p99_has_the_error_of_chapter_7(results, capsys):
    _, said = rows_of(results, capsys, items=10_000)
    row = said["configurations"][0]
    assert row["p99_low_ms"] == pytest.approx(row["p99_ms"] / 3)
    assert row["p99_high_ms"] == pytest.approx(row["p99_ms"] * 3)
    (results / "ch7.json").write_text('{"plan_p99_worst_factor": {"value": 4}}')
    assert p99_error(results) == (0.25, 4)
    (results / "ch7.json").unlink()
    assert p99_error(results) is None
    _, said = rows_of(results, capsys, items=10_000)
    assert said["configurations"][0]["p99_high_ms"] is None


def test_the_data_named_decide_the_case(results, capsys):
    run = json.loads((results / "run.json").read_text()) | {"dataset": "shop"}
    (results / "run.json").write_text(json.dumps(run))
    assert rows_of(results, capsys, items=9)[1]["case"] == "history"
    assert command(results, case="seek") == 2
    assert "case must be one of search, texts, history, new-items; got 'seek'" in (
        capsys.readouterr().err
    )


def test_ways_to_meet_an_objective():
    tight = Objective(p99_ms=10, n_items=10_000, qps=150)
    plan = predict(GOOD, tight, cores=1)
    cores, longer = needs(plan, tight, cores=1)
    assert cores == "2 cores"
    assert longer == f"{math.ceil(plan.p99_ms - 10)} ms more"
    assert predict(GOOD, tight, cores=2).excess <= 1
    flooded = replace(tight, p99_ms=2, qps=1000)
    (way,) = needs(predict(GOOD, flooded, cores=1), flooded, cores=1)
    assert way == "9 cores and 6 ms more"
    small = replace(EASY, memory_bytes=80e6)
    assert needs(predict(GOOD, small, cores=1), small, cores=1) == ["0.1 GiB of memory"]


def test_the_best_comes_first_then_better_ones_that_fail():
    tight = Objective(p99_ms=1, n_items=10_000, qps=50)
    poor = replace(QUICK, encoder="poor", quality=0.1)
    plans = rank([poor, GOOD, QUICK], tight, cores=1)
    assert [p.configuration for p in plans] == [QUICK, poor, GOOD]
    assert [p.configuration for p in near(plans)] == [QUICK, GOOD, poor]
    assert near(plans, 1) == plans[:1]
    failing = rank([GOOD], tight, cores=1)
    assert near(failing) == failing


def test_a_plan_takes_the_encoders_that_were_recorded(results):
    records = json.loads((results / "ch3.json").read_text())
    del records["ms_half_zero"]  # as for a model that is not a BERT
    (results / "ch3.json").write_text(json.dumps(records))
    found = {c.encoder for c in read_configurations(results)}
    assert found == {*ENCODERS, "counted words"} - {"half zero"}


def test_a_recorded_run_has_every_encoder():
    found = read_configurations(RECORDED)
    assert [c.encoder for c in found[:: len(KINDS)]] == [*ENCODERS, "counted words"]
    assert read_controls(RECORDED, "new-items").keys() == {"metadata", "random"}


def test_what_is_missing_is_named(results, capsys):
    (results / "ch4.json").write_text("{}")
    assert command(results) == 2
    assert "must hold the record 'service_scv'" in capsys.readouterr().err
    (results / "ch3.json").unlink()
    assert command(results) == 2
    assert "run `make book`, or name a folder that" in capsys.readouterr().err
    assert command(results, qps=0) == 2


@pytest.mark.parametrize("change", [{"p99_ms": 0}, {"n_items": -1}, {"qps": math.nan}])
def test_impossible_objectives_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be above 0; got"):
        replace(EASY, **change)


def test_impossible_machines_are_refused():
    with pytest.raises(ValueError, match="cores must be >= 1; got 0"):
        predict(GOOD, EASY, cores=0)
    with pytest.raises(ValueError, match="must be one or more; got none"):
        choose([], EASY, cores=1)
