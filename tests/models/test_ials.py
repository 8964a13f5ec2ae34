import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.models.ials import FactorModel, IalsLoss, fit_ials

BLOCKS = np.kron(np.eye(2), np.ones((3, 3)))  # two groups of users and of items


def objective(x, users, items, loss):
    """The loss as Rendle et al. 2022 write it, pair by pair."""
    n_users, n_items = x.shape
    total = 0.0
    for u in range(n_users):
        weight = x[u].sum() + loss.unobserved * n_items
        total += loss.l2 * weight * users[u] @ users[u]
        for i in range(n_items):
            score = users[u] @ items[i]
            total += x[u, i] * (score - 1) ** 2 + loss.unobserved * score**2
    for i in range(n_items):
        weight = x[:, i].sum() + loss.unobserved * n_users
        total += loss.l2 * weight * items[i] @ items[i]
    return total


def test_one_number_by_hand():
    """One user has the first of two items; w (3/2 + 1/2 + 1/2 (1 + 1)) = 1."""
    loss = IalsLoss(unobserved=0.5, l2=0.25)
    model = FactorModel(np.array([[1.0], [1.0]], dtype=np.float32), loss)
    user = 1 / (0.5 * 2 + 1 + 0.25 * (1 + 0.5 * 2))
    history = csr_matrix([[7, 0]])
    assert model.fold_in(history).tolist() == [[pytest.approx(user)]]
    assert model.score(history)[0] == pytest.approx([user, user])


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.4]), st.sampled_from([0.01, 1]))
def test_each_solution_is_where_the_loss_is_least(seed, unobserved, l2):
    rng, loss = np.random.default_rng(seed), IalsLoss(unobserved, l2)
    x = (rng.random((4, 5)) < 0.5).astype(np.float64)
    items = rng.normal(size=(5, 2))
    users = loss.minimize(csr_matrix(x), items)
    least = objective(x, users, items, loss)
    for _ in range(8):
        moved = users + rng.normal(size=users.shape) * 0.01
        assert objective(x, moved, items, loss) > least


def test_every_round_lowers_the_loss():
    x = (np.random.default_rng(0).random((30, 20)) < 0.3).astype(np.float64)
    loss, found = IalsLoss(0.1, 0.01), []
    for n_rounds in (1, 2, 4, 8):
        model = fit_ials(csr_matrix(x), dim=4, loss=loss, n_rounds=n_rounds)
        found.append(objective(x, model.fold_in(csr_matrix(x)), model.items, loss))
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] + 1


def test_groups_are_found_and_given_to_new_users():
    model = fit_ials(csr_matrix(BLOCKS), dim=2)
    scores = model.score(csr_matrix([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]))
    assert scores[0, :3].min() > scores[0, 3:].max() + 0.3
    assert not scores[1].any()
    assert scores.dtype == np.float32


def test_the_seed_decides_and_the_values_do_not():
    first, again = (fit_ials(csr_matrix(n * BLOCKS), dim=3) for n in (1, 5))
    other = fit_ials(csr_matrix(BLOCKS), dim=3, seed=1)
    np.testing.assert_array_equal(first.items, again.items)
    assert not np.array_equal(first.items, other.items)


def test_an_explicit_zero_is_not_an_interaction():
    stored = csr_matrix(([1.0, 0.0], [0, 1], [0, 2]), shape=(1, 2))
    model = fit_ials(csr_matrix(np.eye(2)), dim=1)
    expected = model.score(csr_matrix([[1, 0]]))
    np.testing.assert_array_equal(model.score(stored), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_ials(csr_matrix([[1]]), dim=0), "must be >= 1; got 0 and 8"),
        (lambda: fit_ials(csr_matrix([[1]]), n_rounds=0), "must be >= 1; got 32 and 0"),
        (lambda: IalsLoss(unobserved=0), "positive and finite; got 0 and 0.01"),
        (lambda: IalsLoss(l2=float("nan")), "positive and finite; got 0.5 and nan"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
