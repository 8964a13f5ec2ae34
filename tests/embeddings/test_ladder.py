"""The ladder: every rung that is there is read alike, a missing one is named."""

from pathlib import Path

import numpy as np
import pytest

from recsys_lib.artifacts import cache_folder
from recsys_lib.embeddings import carried
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.ladder import load_ladder

TEXTS = ["a film about a toy", "", "space opera"]


def test_the_rungs_rise_from_a_table_to_twelve_layers(tiny_folder: Path) -> None:
    rungs, missing = load_ladder(f"'{tiny_folder}'")
    layers = [rung.layers for rung in rungs]
    assert layers == sorted(layers)
    named = {rung.key: rung for rung in rungs}
    assert {*named} | {*missing} == {"table", "l3", "l6", "e5", "own_1"}
    own = named["own_1"]
    assert (own.name, own.layers) == (tiny_folder.name, 2)
    how = {"pooling": "mean", "prompts": "none", "tokens": "16"}
    assert how.items() <= own.reading.items()
    expected = load_encoder(tiny_folder).encode(TEXTS)
    assert np.array_equal(own.read(TEXTS), expected)


def test_what_was_read_is_kept(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    own = load_ladder(f"'{tiny_folder}'")[0][-1]
    rungs = {rung.key: rung for rung in load_ladder(f"'{tiny_folder}'")[0]}
    own = rungs["own_1"]
    first = own.read(TEXTS, role="query")
    assert len(list((cache_folder() / "vectors").iterdir())) == 1
    assert np.array_equal(own.read(TEXTS, role="query"), first)
    twice = own.read([*TEXTS, TEXTS[0]], role="query")
    assert np.array_equal(twice, first[[0, 1, 2, 0]])
    own.read(TEXTS, role="document")
    assert len(list((cache_folder() / "vectors").iterdir())) == 2


def test_a_rung_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = carried.CarriedFile("no-such-package", "weights", "")
    monkeypatch.setattr(carried, "MULTILINGUAL_E5", absent)
    rungs, missing = load_ladder()
    assert "e5" not in [rung.key for rung in rungs]
    assert "ladder" in missing["e5"]
