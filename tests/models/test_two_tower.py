import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.models.training import TrainingOptions
from recsys_lib.models.two_tower import (
    TowerOptions,
    TwoTower,
    fit_two_tower,
    in_batch_loss,
)

RNG = np.random.default_rng(0)
TASTE = np.repeat([0, 1], 15)  # two kinds of users, and of items
KIND = np.repeat([0, 1], 10)
LIKES = csr_matrix((RNG.random((30, 20)) < 0.5) & (TASTE[:, None] == KIND))
FEATURES = np.eye(2, dtype=np.float32)[KIND] + RNG.normal(0, 0.1, (20, 2))
FAST = TrainingOptions(epochs=15, batch_size=32, learning_rate=0.03)


def fit(features=FEATURES, likes=LIKES, options=FAST, **towers):
    shape = TowerOptions(**{"dim": 8} | towers)
    return fit_two_tower(likes, features, options, towers=shape)


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize(
    ("features", "ids"), [(FEATURES, False), (None, True), (FEATURES, True)]
)
def test_finds_what_kind_a_user_likes(kind, features, ids):
    model = fit(features, kind=kind, ids=ids, dropout=0.1)
    scores = model.score(LIKES)
    assert scores.dtype == np.float32
    assert scores.shape == (30, 20)
    same = TASTE[:, None] == KIND
    assert scores[same].mean() > scores[~same].mean() + 0.5


def test_score_is_the_cosine_of_the_mean_written_out():
    model = fit()
    user, item = (
        {name: x.detach().numpy() for name, x in tower.named_parameters()}
        for tower in (model.user_tower, model.item_tower)
    )
    for i in range(5):
        liked = LIKES[i].nonzero()[1]
        rows = [
            user["of_features.weight"] @ FEATURES[j]
            + user["of_features.bias"]
            + user["of_item"][j]
            for j in liked
        ]
        mine = unit(np.mean(rows, axis=0))
        for j in range(20):
            own = item["of_features.weight"] @ FEATURES[j] + item["of_features.bias"]
            expected = mine @ unit(own + item["of_item"][j])
            assert model.score(LIKES[i])[0, j] == pytest.approx(expected, abs=1e-5)


def test_loss_is_the_corrected_softmax_written_out():
    """Yi et al., equations 4 to 6, with the user's other items masked out."""
    liked = LIKES.toarray()
    features = FEATURES.astype(np.float32)
    model = TwoTower(features, liked.sum(axis=0), TowerOptions(dim=4)).eval()
    users, targets = np.array([0, 1, 20, 21]), np.empty(4, dtype=np.int64)
    for row, user in enumerate(users):
        targets[row] = np.flatnonzero(liked[user])[row % 2]
    loss = in_batch_loss(
        model,
        torch.tensor(liked[users], dtype=torch.float32),
        torch.from_numpy(targets),
    )
    losses = []
    for row, user in enumerate(users):
        history = liked[user].astype(np.float32)
        history[targets[row]] = 0
        vector = model.users(torch.tensor(history)[None]).detach().numpy()[0]
        logits = {}
        for column, item in enumerate(targets):
            if column == row or not liked[user, item]:
                cosine = vector @ model.items().detach().numpy()[item]
                q = liked[:, item].sum() / liked.sum()
                logits[column] = cosine / 0.1 - np.log(q)
        total = sum(np.exp(x) for x in logits.values())
        losses.append(-np.log(np.exp(logits[row]) / total))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_item_without_interactions_is_found_by_its_features():
    cold = LIKES.toarray()
    cold[:, [0, 10]] = 0
    model = fit(likes=csr_matrix(cold))
    scores = model.score(csr_matrix(cold))
    assert scores[TASTE == 0, 0].mean() > scores[TASTE == 0, 10].mean() + 0.3
    own = model.item_tower.of_item.detach().numpy()
    assert not own[[0, 10]].any()
    assert own[1].any()


@given(st.permutations(range(30)), st.floats(0.1, 9))
def test_users_do_not_see_each_other_nor_ratings(order, rating):
    model = _trained()
    ratings = (LIKES[order] * rating).tocsr()
    np.testing.assert_allclose(
        model.score(ratings), model.score(LIKES)[order], atol=1e-6
    )


_MODELS = []


def _trained():
    if not _MODELS:
        _MODELS.append(fit(kind="mlp"))
    return _MODELS[0]


def test_scores_are_cosines_and_an_empty_history_scores_zero():
    scores = _trained().score(csr_matrix((2, 20)))
    assert not scores.any()
    assert np.abs(_trained().score(LIKES)).max() <= 1 + 1e-6


def test_the_seed_decides():
    scores = [
        fit(options=dataclasses.replace(FAST, epochs=2, seed=seed)).score(LIKES)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "deep"}, "kind must be linear or mlp"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_options_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TowerOptions(**wrong)


def test_data_that_cannot_be_fitted_are_refused():
    with pytest.raises(
        ValueError, match="towers must have features or ids; got neither"
    ):
        fit(None, ids=False)
    with pytest.raises(
        ValueError, match=r"features must be \(20, n\) .* got shape \(19, 2\)"
    ):
        fit(FEATURES[1:])
    with pytest.raises(
        ValueError, match=r"features must be .* finite; .* 20 not finite"
    ):
        fit(FEATURES * [np.nan, 1])
    with pytest.raises(ValueError, match="must have two items; got 20 users with"):
        fit(likes=csr_matrix(np.eye(20)))
