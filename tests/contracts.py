"""What every encoder, index and history model must do.

A test module inherits a class and gives the implementations in turn through the
fixture that the class names: see tests/embeddings/test_encoder_contract.py. A new
implementation is one line there.
"""

import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.sparse import csr_matrix

TEXTS = ["a red dress", "A blue skirt, long", "space opera", "a red dress", "toys"]


class EncoderContract:
    """`encode` turns n texts into (n, dim) unit vectors of float32.

    The fixture `encoder_like` is an encoder.
    """

    def test_vectors_are_unit_and_float32(self, encoder_like):
        vectors = encoder_like.encode(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), encoder_like.dim)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    def test_a_text_has_one_vector_in_any_company_and_order(self, encoder_like):
        alone = np.concatenate([encoder_like.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(encoder_like.encode(TEXTS), alone, atol=1e-4)
        backwards = encoder_like.encode(TEXTS[::-1])[::-1]
        np.testing.assert_allclose(backwards, alone, atol=1e-4)

    def test_different_texts_have_different_vectors(self, encoder_like):
        vectors = encoder_like.encode(TEXTS)
        np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-4)
        assert np.abs(vectors[0] - vectors[2]).max() > 1e-5

    def test_an_empty_text_has_a_finite_vector(self, encoder_like):
        assert np.isfinite(encoder_like.encode(["", "toys"])).all()

    def test_no_texts_give_no_vectors(self, encoder_like):
        assert encoder_like.encode([]).shape == (0, encoder_like.dim)

    def test_the_answer_is_the_callers(self, encoder_like):
        first = encoder_like.encode(TEXTS)
        kept = first.copy()
        first[:] = 0
        np.testing.assert_allclose(encoder_like.encode(TEXTS), kept, atol=1e-4)

    def test_a_role_is_taken_and_another_refused(self, encoder_like):
        for role in (None, "query", "document"):
            vectors = encoder_like.encode(TEXTS, role=role)
            alone = encoder_like.encode(TEXTS[1:2], role=role)
            np.testing.assert_allclose(vectors[1:2], alone, atol=1e-4)
        with pytest.raises(
            ValueError, match='role must be "query", "document" or None'
        ):
            encoder_like.encode(TEXTS, role="passage")

    def test_one_string_is_refused(self, encoder_like):
        with pytest.raises(TypeError, match=r"texts must be .*got"):
            encoder_like.encode("toys")


class IndexContract:
    """An index holds vectors under ids and finds those of largest inner product.

    The fixture `make_index` takes vectors (n, dim) and ids (n,); `load` reads a file.
    """

    # orthogonal, and the first four span the range of every dimension
    vectors = hadamard(8)[[0, 1, 2, 4, 7, 3]].astype(np.float32) / np.float32(8**0.5)
    ids = np.array([30, 10, 50, 20, 60, 40])

    def test_finds_each_vector_under_its_id(self, make_index):
        found = make_index(self.vectors, self.ids).search(self.vectors, 1)
        assert found.items.ravel().tolist() == self.ids.tolist()

    def test_answers_fall_in_score_and_name_an_item_once(self, make_index):
        queries = np.linspace(1, 2, 16, dtype=np.float32).reshape(2, 8)
        found = make_index(self.vectors, self.ids).search(queries, 6, effort=1)
        assert (np.diff(found.scores, axis=1) <= 0).all()
        assert [sorted(row) for row in found.items.tolist()] == [sorted(self.ids)] * 2

    @pytest.mark.parametrize("k", [2, 4, 10**9, np.int64(4), np.uint8(4)])
    def test_a_search_for_more_than_there_are_finds_them_all(self, make_index, k):
        found = make_index(self.vectors[:2], self.ids[:2]).search(self.vectors[:1], k)
        assert sorted(found.items[0].tolist()) == [10, 30]
        assert found.scores.shape == (1, 2)

    def test_an_empty_index_finds_nothing(self, make_index):
        found = make_index(self.vectors[:0], self.ids[:0]).search(self.vectors[:1], 2)
        assert found.items.shape == found.scores.shape == (1, 0)

    def test_k_is_a_whole_number_of_at_least_one(self, make_index):
        index = make_index(self.vectors, self.ids)
        with pytest.raises(TypeError, match="float"):
            index.search(self.vectors, 2.5)
        with pytest.raises(ValueError, match="k must be at least 1; got -1"):
            index.search(self.vectors, np.int64(-1))

    @pytest.mark.parametrize("n_allowed", [0, 1, 3, 6])
    def test_only_allowed_items_are_found(self, make_index, n_allowed):
        index = make_index(self.vectors, self.ids)
        ids = self.ids[:n_allowed]
        mask = np.isin(np.arange(61), ids)
        for allowed in (ids, [*ids, 999], mask, mask.tolist()):
            found = index.search(self.vectors, 4, allowed=allowed)
            assert found.items.shape == found.scores.shape == (6, min(4, n_allowed))
            assert np.isin(found.items, ids).all()
            if n_allowed:
                own = found.items[:n_allowed, 0]
                assert own.tolist() == ids.tolist()

    def test_a_removed_item_is_not_found_though_it_is_allowed(self, make_index):
        index = make_index(self.vectors, self.ids)
        index.remove([40])
        for allowed in ([40, 60], np.isin(np.arange(61), [40, 60])):
            found = index.search(self.vectors[5:], 2, allowed=allowed)
            assert found.items.tolist() == [[60]]

    def test_what_is_added_is_found_and_what_is_removed_is_not(self, make_index):
        index = make_index(self.vectors[:4], self.ids[:4])
        index.add(self.ids[4:], self.vectors[4:])
        assert len(index) == 6
        assert index.search(self.vectors[5:], 1).items.tolist() == [[40]]
        assert index.remove([40, 999]) == 1
        assert 40 not in index.search(self.vectors[5:], 6).items

    def test_a_saved_index_answers_alike(self, make_index, load, tmp_path):
        index = make_index(self.vectors, self.ids)
        index.save(tmp_path / "index")
        before, after = (
            x.search(self.vectors, 3, effort=1)
            for x in (index, load(tmp_path / "index"))
        )
        assert after.items[:, 0].tolist() == before.items[:, 0].tolist()
        np.testing.assert_array_equal(after.scores, before.scores)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda index: index.search(np.ones((1, 7)), 1), r"must be \(n, 8\).*got"),
            (lambda index: index.search(np.full((1, 8), np.nan), 1), "finite; got"),
            (
                lambda index: index.search(np.ones((1, 8)), 0),
                "k must be at least 1; got 0",
            ),
            (
                lambda index: index.search(np.ones((1, 8)), 1, allowed=[[True]]),
                r"mask must be \(n,\); got shape \(1, 1\)",
            ),
            (
                lambda index: index.search(np.ones((1, 8)), 1, allowed=[-1]),
                ">= 0; got shape",
            ),
            (lambda index: index.add([30], np.ones((1, 8))), r"new; got \[30\]"),
            (lambda index: index.add([1, 1], np.ones((2, 8))), "different"),
            (lambda index: index.add([1], np.full((1, 8), np.inf)), "finite; got"),
        ],
    )
    def test_refuses_what_does_not_fit_and_stays_as_it_was(
        self, make_index, change, message
    ):
        index = make_index(self.vectors, self.ids)
        with pytest.raises(ValueError, match=message):
            change(index)
        assert len(index) == 6
        assert index.search(self.vectors[:1], 1).items.tolist() == [[30]]


class HistoryModelContract:
    """`score` turns histories (n, n_items) into finite scores (n, n_items).

    The fixture `fit` makes a model of interactions (n_users, n_items).
    """

    interactions = csr_matrix(
        [[1, 1, 0, 0, 0], [1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [0, 0, 1, 1, 1]],
        dtype=np.float32,
    )

    def test_scores_are_finite_for_every_item(self, fit):
        scores = fit(self.interactions).score(self.interactions)
        assert scores.shape == self.interactions.shape
        assert np.isfinite(scores).all()

    def test_a_history_is_scored_alike_in_any_company(self, fit):
        model = fit(self.interactions)
        together = model.score(self.interactions)
        alone = np.concatenate([model.score(row) for row in self.interactions])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    def test_an_unknown_user_and_an_empty_history_are_scored(self, fit):
        model = fit(self.interactions)
        scores = model.score(csr_matrix([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]))
        assert np.isfinite(scores).all()
        again = model.score(csr_matrix((1, 5)))
        np.testing.assert_allclose(scores[1:], again, rtol=1e-4, atol=1e-5)

    def test_an_empty_history_scores_as_popularity_or_zero(self, fit):
        scores = fit(self.interactions).score(csr_matrix((1, 5)))[0]
        # items 2, 0 and 3 have 3, 2 and 1 users
        by_popularity = scores[2] > scores[0] > scores[3]
        assert by_popularity or not scores.any()

    def test_no_histories_give_no_scores(self, fit):
        assert fit(self.interactions).score(csr_matrix((0, 5))).shape == (0, 5)

    def test_the_histories_stay_as_they_were(self, fit):
        histories = self.interactions.copy()
        fit(self.interactions).score(histories)
        assert (histories != self.interactions).nnz == 0

    def test_histories_of_other_items_are_refused(self, fit):
        with pytest.raises(ValueError, match="histories must have 5 columns; got 4"):
            fit(self.interactions).score(csr_matrix((1, 4)))

    def test_histories_that_are_not_finite_are_refused(self, fit):
        history = csr_matrix([[1, 0, np.nan, 0, 0]])
        with pytest.raises(ValueError, match="histories must be finite; got 1 NaN"):
            fit(self.interactions).score(history)
