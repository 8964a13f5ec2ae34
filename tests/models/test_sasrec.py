import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsys_lib.models.sasrec import SasRec, SasRecOptions, fit_sasrec, item_sequences
from recsys_lib.models.training import TrainingOptions

SMALL = SasRecOptions(dim=8, length=4, dropout=0.0)
FAST = TrainingOptions(epochs=80, learning_rate=0.02)
# item k is followed by item k + 1, from any start
CIRCLE = csr_matrix(
    [[(item - first) % 5 + 1 for item in range(5)] for first in range(5)]
)


def test_learns_which_item_follows():
    model = fit_sasrec(CIRCLE, FAST, options=SMALL)
    found = model.score(csr_matrix(np.eye(5))).argmax(axis=1)
    assert found.tolist() == [1, 2, 3, 4, 0]


def test_the_order_of_a_history_counts_and_its_scale_does_not():
    model = fit_sasrec(CIRCLE, FAST, options=SMALL)
    scores = model.score(
        csr_matrix([[1, 2, 0, 0, 0], [2, 1, 0, 0, 0], [5, 9, 0, 0, 0]])
    )
    assert np.abs(scores[0] - scores[1]).max() > 0.1
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-5)


def test_only_the_latest_items_are_read():
    model = fit_sasrec(CIRCLE, FAST, options=SMALL)
    scores = model.score(csr_matrix([[1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_a_state_does_not_depend_on_later_items():
    model = SasRec(torch.randn(5, 8), SMALL).eval()
    states = model(torch.tensor([[0, 1, 2], [0, 1, 4]]))
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert not torch.allclose(states[0, 2], states[1, 2])


def test_the_training_starts_from_the_given_vectors():
    tiny = TrainingOptions(epochs=1, learning_rate=1e-9)
    start = np.arange(40.0).reshape(5, 8)
    model = fit_sasrec(CIRCLE, tiny, start=start, options=SMALL)
    np.testing.assert_allclose(model.item_vectors.detach(), start, atol=1e-4)


def test_the_same_seed_gives_the_same_scores():
    one, other = (fit_sasrec(CIRCLE, FAST, options=SMALL) for _ in range(2))
    np.testing.assert_array_equal(one.score(CIRCLE), other.score(CIRCLE))


def test_sequences_are_in_the_order_of_time_and_ties_in_that_of_items():
    found = item_sequences(csr_matrix([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    assert [x.tolist() for x in found] == [[1, 2, 0], []]


def test_histories_of_one_item_are_refused():
    with pytest.raises(ValueError, match="two items; got 3 with fewer"):
        fit_sasrec(csr_matrix(np.eye(3)), FAST)


def test_a_start_of_another_width_is_refused():
    with pytest.raises(ValueError, match="start must have 8 columns; got 3"):
        fit_sasrec(CIRCLE, FAST, start=np.ones((5, 3)), options=SMALL)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"heads": 0}, "at least 1"),
        ({"dim": 5}, "multiple of heads"),
        ({"length": 1}, "at least 2"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SasRecOptions(**option)
