"""The service of a reader's data: their ids and titles, new items, a second start."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from recsys_lib.data.dataset import Dataset
from recsys_lib.data.own import load_dataset
from recsys_lib.models.hybrid import ContentModel
from recsys_lib.serving import dataset_service
from recsys_lib.serving.child_service import ChildService, running_service
from recsys_lib.serving.dataset_service import (
    fit_histories,
    without_interactions,
)

TOPICS = ["desk lamp", "garden spade"]


def shop(folder: Path) -> Path:
    """Two topics of six items, the last of each without interactions."""
    folder.mkdir()
    items = ["item,title,text,metadata"]
    items += [
        f'{TOPICS[n % 2][:2]}{n},{TOPICS[n % 2]} {n},"a {TOPICS[n % 2]}",{n % 2}'
        for n in range(12)
    ]
    rows = ["user,item,timestamp"]
    for user in range(40):
        own = [n for n in range(10) if n % 2 == user % 2]
        for t, n in enumerate(own[user % 3 :]):
            rows.append(f"u{user},{TOPICS[n % 2][:2]}{n},{10**9 + 60 * t}")
    (folder / "items.csv").write_text("\n".join(items))
    (folder / "interactions.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    place = shop(tmp_path_factory.mktemp("data") / "shop")
    return load_dataset(place, whole=True)


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path
) -> Iterator[tuple[ChildService, str, str]]:
    """The service of its second start, and what both starts said."""
    home = tmp_path_factory.mktemp("service")
    command = [sys.executable, "-m", "recsys_lib.serving.dataset_service"]
    command += ["--dataset", str(shop(home / "shop")), "--models", f"'{tiny_folder}'"]
    command += ["--port", "0", "--engine", "torch"]
    env = {**os.environ, "RECSYS_CACHE": str(home), "PYTHONUNBUFFERED": "1"}
    logs = [home / "first.log", home / "second.log"]
    with running_service(command, log=logs[0], env=env):
        first = logs[0].read_text()
    with running_service(command, log=logs[1], env=env) as service:
        yield service, first, logs[1].read_text()


def ask(service: ChildService, **query: object) -> dict[str, list[str]]:
    body = json.dumps(query).encode()
    request = Request(f"{service.url}/recommend", body)
    with urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def test_it_says_what_it_serves_and_reads_texts_once(
    started: tuple[ChildService, str, str], tiny_folder: Path
) -> None:
    _, first, second = started
    said = "data: shop, 40 users, 12 items (2 without interactions), 161 interactions"
    assert said in first
    assert f"model: {tiny_folder.name}, " in first
    assert " on torch in float32\n" in first
    assert "index: on the CPU\n" in first
    assert "vectors: 12 texts, encoded now in " in first
    assert "histories: EASE, fitted now in " in first
    assert "\nfilters: tag (2 values, such as '0')\n" in first
    assert "vectors: 12 texts, from the cache (encoded in " in second
    assert "histories: EASE, from the cache (fitted in " in second
    assert "the 2 items without interactions, placed by their texts" in second


def test_answers_have_the_reader_s_ids_and_titles(
    started: tuple[ChildService, str, str],
) -> None:
    service = started[0]
    found = ask(service, history=["de0", "de2"], k=3)
    assert set(found["items"]) <= {"de4", "de6", "de8", "de10"}
    assert found["titles"] == [f"desk lamp {item[2:]}" for item in found["items"]]
    assert len(ask(service, text="a desk lamp", k=2)["titles"]) == 2
    of_garden = ask(service, text="a desk lamp", k=3, filter={"tag": "1"})
    assert all(title.startswith("garden") for title in of_garden["titles"])
    assert len(of_garden["items"]) == 3
    with pytest.raises(HTTPError) as refused:
        ask(service, text="a desk lamp", filter={"genre": "1"})
    assert "must be one of tag, exclude" in refused.value.read().decode()


def test_an_unknown_item_is_flagged_and_a_history_of_them_refused(
    started: tuple[ChildService, str, str],
) -> None:
    service = started[0]
    assert ask(service, history=["de0", "stranger"])["unknown"] == ["stranger"]
    with pytest.raises(HTTPError) as refused:
        ask(service, history=["stranger", "other"])
    assert refused.value.code == 422
    (fault,) = json.load(refused.value)["detail"]
    assert fault["loc"] == ["history"]
    assert fault["msg"].endswith("got 'stranger', 'other'")
    assert len(ask(service, history=[])["items"]) == 10


def test_items_without_interactions_get_a_place_by_their_texts(data: Dataset) -> None:
    topic = data.items["title"].str.startswith("desk").to_numpy()
    vectors = np.eye(2, dtype=np.float32)[topic.astype(int)]
    cold = without_interactions(data)
    assert data.items["item_id"][cold].tolist() == ["de10", "ga11"]
    weights = fit_histories(data, vectors).model.weights  # type: ignore[attr-defined]
    for new in np.flatnonzero(cold):
        like = ~cold & (topic == topic[new])
        other = ~cold & (topic != topic[new])
        assert weights[like, new].min() > weights[other, new].max()
        assert weights[new, like].min() > weights[new, other].max()


def test_what_is_too_large_for_ease_is_answered_by_its_texts(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_service, "LARGEST_EASE", 5)
    fit = fit_histories(data, np.eye(12, dtype=np.float32))
    assert isinstance(fit.model, ContentModel)
    assert "more than 5 items" in fit.how
