import numpy as np
import pandas as pd
import pytest

from recsys_lib.data.dataset import Dataset
from recsys_lib.data.search_task import search_catalogue, search_reviews


def reviews():
    items = np.repeat([7, 3, 9], [6, 4, 1])
    texts = [f"item {i} review {n}" for n, i in enumerate(items)]
    return pd.DataFrame({"item": items, "text": texts})


def test_reviews_are_queries_or_documents_of_the_most_reviewed():
    task = search_reviews(reviews(), n_items=2, n_queries=3, most=2)
    assert task.ids.tolist() == [3, 7]
    assert len(task.queries) == 3
    assert task.known.sum() == 7
    assert task.documents.groupby("item").size().max() <= 2
    shown = set(task.documents["text"]) | set(task.queries["text"])
    assert len(shown) == len(task.documents) + 3
    of_row = reviews()["text"].iloc[task.documents["row"]].tolist()
    assert of_row == task.documents["text"].tolist()
    with pytest.raises(ValueError, match="n_queries must be below"):
        search_reviews(reviews(), n_items=2, n_queries=10, most=2)


def catalogue(texts):
    n = len(texts)
    events = {"user": 0, "item": [i % n for i in range(80)], "timestamp": range(80)}
    items = pd.DataFrame({"item_id": range(n), "text": texts})
    return Dataset("made", pd.DataFrame(events), items, pd.DataFrame(), {})


def test_queries_are_words_of_the_other_half_and_follow_the_demand():
    words = [f"w{i}" for i in range(100)]
    data = catalogue([" ".join(words), "one two three", "single"])
    task = search_catalogue(data, n_items=3, n_queries=50, most=10)
    assert len(task.queries) == 20, "the last quarter of the interactions"
    assert task.known.sum() == 60
    assert task.documents["item"].tolist() == [0, 0, 1, 2]
    assert task.documents["nth"].tolist() == [0, 1, 0, 0]
    first = " ".join(task.documents["text"][:2]).split()
    assert first == words[:50]
    for item, text in zip(task.queries["item"], task.queries["text"], strict=True):
        if item == 0:
            assert set(text.split()) <= set(words[50:])
            assert len(text.split()) == 10
        else:
            assert text == ["", "three", "single"][item]


def test_fewer_items_and_passages_and_the_same_draw_again():
    data = catalogue([" ".join(["w"] * 200)] * 5)
    tasks = [search_catalogue(data, n_items=2, n_queries=5, most=3) for _ in range(2)]
    assert [len(x.ids) for x in tasks] == [2, 2]
    assert len(tasks[0].documents) == 6
    pd.testing.assert_frame_equal(tasks[0].queries, tasks[1].queries)
