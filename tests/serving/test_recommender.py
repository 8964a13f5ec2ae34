import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.models.history_model import ItemToItem
from recsys_lib.models.hybrid import ContentModel
from recsys_lib.models.neighbours import Popularity
from recsys_lib.ranking.fingerprint import OtherEncoder
from recsys_lib.ranking.index import build_index
from recsys_lib.ranking.similarity import normalize
from recsys_lib.serving.item_filter import item_fields
from recsys_lib.serving.movielens import movielens_recommender
from recsys_lib.serving.recommender import Recommendation, Recommender

IDS = ["a", "b", "c", "d"]
VECTORS = normalize([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
WEIGHTS = np.array(
    [[0, 3, 2, 1], [1, 0, 5, 0], [1, 2, 0, 4], [0, 0, 0, 0]], dtype=np.float32
)
POPULAR = Popularity(np.array([1, 7, 3, 5], dtype=np.float32))


class Compass:
    """Encodes "x y" as the direction (x, y)."""

    dim = 2

    def __init__(self):
        self.roles = set()

    def encode(self, texts, *, role=None):
        self.roles.add(role)
        table = [[float(n) for n in text.split()] for text in texts]
        return normalize(table).astype(np.float32)


class Hashing:
    dim = 8

    def encode(self, texts, *, role=None):
        seeds = [sum(text.encode()) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.dim) for seed in seeds]
        return normalize(rows).astype(np.float32)


def recommender(**changes):
    parts = {
        "item_ids": IDS,
        "encoder": Compass(),
        "index": build_index(VECTORS),
        "history_model": ItemToItem(WEIGHTS),
        "cold_model": POPULAR,
    }
    return Recommender(**{**parts, **changes})


def test_texts_find_their_nearest_items_each_for_itself():
    first, second = recommender().recommend_texts(["1 0", "0 1"], 2)
    assert first.items == ["a", "b"]
    assert first.scores == pytest.approx([1, 0.8])
    assert second.items == ["c", "b"]
    assert second.scores == pytest.approx([1, 0.6])
    assert first.unknown == second.unknown == []


def test_texts_are_queries():
    some = recommender()
    some.recommend_texts(["1 0"], 1)
    assert some.encoder.roles == {"query"}


def test_histories_get_their_best_items_without_those_they_hold():
    answers = recommender().recommend_histories([["a"], ["b", "c"]], 2)
    assert answers == [
        Recommendation(["b", "c"], [3, 2], []),
        Recommendation(["d", "a"], [4, 2], []),
    ]


def test_cold_users_get_popularity_and_unknown_ids_are_named():
    some = recommender()
    empty, strange, mixed = some.recommend_histories([[], ["z"], ["z", "a", "y"]], 1)
    assert empty == Recommendation(["b"], [7], [])
    assert strange == Recommendation(["b"], [7], ["z"])
    assert mixed == Recommendation(["b"], [3], ["z", "y"])
    assert POPULAR.counts.tolist() == [1, 7, 3, 5]


def test_without_a_cold_model_the_history_model_answers_all():
    answer = recommender(cold_model=None).recommend_histories([[]], 1)
    assert answer == [Recommendation(["a"], [0], [])]


FIELDS = item_fields(
    {"kind": ["x", "y", "x", ["x", "y"]], "stock": [True] * 3 + [False]}
)


def test_a_filter_chooses_among_the_items_of_its_text_alone():
    some = recommender(fields=FIELDS)
    filters = [{"kind": "x"}, {"kind": "y", "stock": True}, {}, {"exclude": ["a", "z"]}]
    found = some.recommend_texts(["1 0"] * 4, 4, filters)
    assert [x.items for x in found] == [
        ["a", "c", "d"],
        ["b"],
        ["a", "b", "c", "d"],
        ["b", "c", "d"],
    ]
    assert found[0].scores == pytest.approx([1, 0, -1], abs=1e-6)
    assert some.recommend_texts([], 4, []) == []
    assert some.recommend_texts(["1 0"], 4, [{"kind": "z"}])[0].items == []


def test_a_filter_chooses_among_what_a_history_does_not_hold():
    some = recommender(fields=FIELDS)
    filters = [{"kind": "x"}, {}, {"exclude": ["b"], "stock": True}]
    found = some.recommend_histories([["a"], ["a"], []], 4, filters)
    assert [x.items for x in found] == [["c", "d"], ["b", "c", "d"], ["c", "a"]]


def test_there_are_as_many_items_as_are_left():
    some = recommender()
    assert sorted(some.recommend_texts(["1 0"], 100)[0].items) == IDS
    assert len(some.recommend_histories([["a", "b"]], 100)[0].items) == 2
    assert some.recommend_histories([IDS], 3) == [Recommendation([], [], [])]
    assert some.recommend_texts([], 3) == some.recommend_histories([], 3) == []


def test_a_removed_item_leaves_no_hole():
    index = build_index(VECTORS)
    index.remove([0])
    best = recommender(index=index).recommend_texts(["1 0"], 4)[0]
    assert best.items == ["b", "c", "d"]
    assert np.isfinite(best.scores).all()


@given(
    histories=st.lists(
        st.lists(st.sampled_from([*map(str, range(20)), "x"]), max_size=12), max_size=4
    ),
    k=st.integers(1, 30),
)
def test_histories_equal_a_slow_oracle(histories, k):
    weights = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    ids = [str(i) for i in range(20)]
    found = recommender(
        item_ids=ids,
        history_model=ItemToItem(weights),
        cold_model=Popularity(np.arange(20, dtype=np.float32)),
    ).recommend_histories(histories, k)
    for history, answer in zip(histories, found, strict=True):
        seen = {int(i) for i in history if i != "x"}
        scores = sum((weights[i] for i in sorted(seen)), start=np.zeros(20))
        scores = scores if seen else np.arange(20)
        left = sorted(set(range(20)) - seen, key=lambda i: -scores[i])[:k]
        assert answer.items == [str(i) for i in left]
        assert answer.scores == pytest.approx(scores[left], abs=1e-5)
        assert answer.unknown == ["x"] * history.count("x")


@given(st.lists(st.text(max_size=5), min_size=1, max_size=6), st.integers(1, 9))
def test_a_batch_answers_as_its_texts_would_alone(texts, k):
    vectors = Hashing().encode([f"item {i}" for i in range(9)])
    ids = list("abcdefghi")
    some = recommender(item_ids=ids, encoder=Hashing(), index=build_index(vectors))
    for text, together in zip(texts, some.recommend_texts(texts, k), strict=True):
        alone = some.recommend_texts([text], k)[0]
        assert together.items == alone.items
        assert together.scores == pytest.approx(alone.scores, abs=1e-6)
        assert len(together.items) == k
        assert together.scores == sorted(together.scores, reverse=True)


def test_content_scores_are_cosines_with_the_mean_vector():
    histories = csr_matrix([[1.0, 0, 1, 0], [0, 0, 0, 0]])
    scores = ContentModel(VECTORS).score(histories)
    mean = (VECTORS[0] + VECTORS[2]) / np.sqrt(2)
    np.testing.assert_allclose(scores, [VECTORS @ mean, np.zeros(4)], atol=1e-7)


def test_titles_stand_beside_the_ids():
    (named,) = recommender(titles=["A", "B", "C", "D"]).recommend_texts(["1 0"], 2)
    ids = recommender().item_ids
    assert named.titles == ["ABCD"[ids.index(item)] for item in named.items]
    assert recommender().recommend_texts(["1 0"], 2)[0].titles == []
    with pytest.raises(ValueError, match="titles must be one per item; got 1 for 4"):
        recommender(titles=["A"])


def test_movielens_answers_texts_and_histories():
    some = movielens_recommender(Hashing())
    exact = "The Shawshank Redemption (1994). Drama."
    assert some.recommend_texts([exact], 1)[0].items == ["64"]
    old_noir = {"genre": "Film-Noir", "year": [1941, 1944]}
    assert len(some.recommend_texts([exact], 9, [old_noir])[0].items) in range(1, 9)
    warm, cold = some.recommend_histories([["50", "181"], []], 3)
    assert "172" in warm.items  # the third of Star Wars to those of the other two
    assert cold.items[0] == "50"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: recommender(item_ids=[]), ValueError, "got 0 items with 0 ids"),
        (
            lambda: recommender(item_ids=["a", "a"]),
            ValueError,
            "all different; got 2 items with 1 ids",
        ),
        (
            lambda: recommender().recommend_texts(["1 0"], 0),
            ValueError,
            "k must be at least",
        ),
        (
            lambda: recommender().recommend_histories([], 0),
            ValueError,
            "k must be at least",
        ),
        (lambda: recommender().recommend_texts("1 0", 1), TypeError, "got str '1 0'"),
        (
            lambda: recommender().recommend_texts(["1 0"], 1, []),
            ValueError,
            "one for each text or history; got 0 for 1",
        ),
        (
            lambda: recommender(fields=FIELDS).recommend_histories([[]], 1, [{"a": 1}]),
            ValueError,
            "must be one of kind, stock, exclude; got a",
        ),
        (
            lambda: recommender(fields=item_fields({"kind": ["x"]})),
            ValueError,
            "a value for each item; got 1 for 4 items",
        ),
        (lambda: recommender().recommend_histories(["a"], 1), TypeError, "got str 'a'"),
    ],
)
def test_wrong_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_index_of_another_encoder_is_refused():
    class Negated(Hashing):
        def encode(self, texts, *, role=None):
            return -super().encode(texts, role=role)

    filled_by = fingerprint_of(Hashing(), name="the old model")
    vectors = Hashing().encode(IDS)
    index = build_index(vectors, filled_by=filled_by)
    found = recommender(encoder=Hashing(), index=index).recommend_texts(["a"], 1)
    assert found[0].items == ["a"]
    with pytest.raises(OtherEncoder, match=r"index, the old model .*got those of Neg"):
        recommender(encoder=Negated(), index=index)
