import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_lib.models.training_options import TrainingOptions
from recsys_lib.models.two_tower import (
    TowerOptions,
    Towers,
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
    assert model.curve.train_loss[-1] < model.curve.train_loss[0]


def test_score_is_the_cosine_of_the_mean_written_out():
    model = fit()
    user, item = (
        {name: x.detach().numpy() for name, x in tower.named_parameters()}
        for tower in (model.towers.user_tower, model.towers.item_tower)
    )
    for i in range(5):
        met = LIKES[i].nonzero()[1]
        rows = [
            user["of_features.weight"] @ FEATURES[j]
            + user["of_features.bias"]
            + user["of_item"][j]
            for j in met
        ]
        mine = unit(np.mean(rows, axis=0))
        for j in range(20):
            own = item["of_features.weight"] @ FEATURES[j] + item["of_features.bias"]
            expected = mine @ unit(own + item["of_item"][j])
            assert model.score(LIKES[i])[0, j] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("log_q", [True, False])
def test_loss_is_the_corrected_softmax_written_out(log_q):
    """Yi et al., equations 4 to 6, with the user's other items masked out."""
    met = LIKES.toarray()
    options = TowerOptions(dim=4, temperature=0.3, log_q=log_q)
    towers = Towers(FEATURES.astype(np.float32), met.sum(axis=0), options).eval()
    users, targets = np.array([0, 1, 20, 21]), np.empty(4, dtype=np.int64)
    for row, user in enumerate(users):
        targets[row] = np.flatnonzero(met[user])[row % 2]
    loss = in_batch_loss(
        towers, torch.tensor(met[users], dtype=torch.float32), torch.from_numpy(targets)
    )
    losses = []
    for row, user in enumerate(users):
        history = met[user].astype(np.float32)
        history[targets[row]] = 0
        vector = towers.users(torch.tensor(history)[None]).detach().numpy()[0]
        logits = {}
        for column, item in enumerate(targets):
            if column == row or not met[user, item]:
                cosine = vector @ towers.items().detach().numpy()[item]
                q = met[:, item].sum() / met.sum()
                logits[column] = cosine / 0.3 - (np.log(q) if log_q else 0)
        total = sum(np.exp(x) for x in logits.values())
        losses.append(-np.log(np.exp(logits[row]) / total))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_item_never_met_is_found_by_its_features():
    cold = LIKES.toarray()
    cold[:, [0, 10]] = 0
    model = fit(likes=csr_matrix(cold))
    scores = model.score(csr_matrix(cold))
    assert scores[TASTE == 0, 0].mean() > scores[TASTE == 0, 10].mean() + 0.3
    own = model.towers.item_tower.of_item.detach().numpy()
    assert not own[[0, 10]].any()
    assert own[1].any()
    later = model.embed_items(FEATURES[[0, 10]])
    np.testing.assert_allclose(later, model.embed_items()[[0, 10]], atol=1e-6)


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


def test_is_seeded_validated_and_resumed(tmp_path):
    def validate(model):
        return float(model.score(LIKES)[:, 0].mean())

    options = dataclasses.replace(FAST, epochs=3, better="higher")
    runs = [
        fit_two_tower(
            LIKES, FEATURES, options, validate=validate, checkpoint=tmp_path / name
        )
        for name in ("a", "b", "a")
    ]
    for model in runs[1:]:
        np.testing.assert_array_equal(model.score(LIKES), runs[0].score(LIKES))
    assert runs[0].curve.validation == runs[1].curve.validation
    assert runs[0].curve == runs[2].curve
    assert validate(runs[0]) == max(runs[0].curve.validation)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "deep"}, "kind must be linear or mlp"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_refuses_towers_that_cannot_stand(wrong, message):
    with pytest.raises(ValueError, match=message):
        TowerOptions(**wrong)


def test_refuses_what_it_cannot_fit():
    with pytest.raises(
        ValueError, match="towers must have features or ids; got neither"
    ):
        fit(None, ids=False)
    with pytest.raises(ValueError, match=r"features must have 20 rows; got \(19, 2\)"):
        fit(FEATURES[1:])
    with pytest.raises(ValueError, match="features must be finite; got 20 NaN"):
        fit(FEATURES * [np.nan, 1])
    with pytest.raises(ValueError, match="met two items; got 20 users of fewer"):
        fit(likes=csr_matrix(np.eye(20)))


def test_refuses_other_items_and_other_features():
    with pytest.raises(ValueError, match="histories must have 20 columns; got 3"):
        _trained().score(csr_matrix((1, 3)))
    with pytest.raises(
        ValueError, match=r"features must be \(n, 2\), not 0; got \(1, 3\)"
    ):
        _trained().embed_items(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"features must be \(n, 0\), not 0"):
        fit(None).embed_items(np.zeros((1, 0)))
