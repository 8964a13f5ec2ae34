import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsys_lib.compression import fine_tuning
from recsys_lib.compression.fine_tuning import (
    TextPairs,
    contrastive_loss,
    fine_tune,
    train_head,
)
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.random_bert import random_encoder
from recsys_lib.models.training import TrainingOptions

TINY = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
TINY |= {"intermediate_size": 32, "max_position_embeddings": 16}
WORDS = ["sea", "war", "toy", "love", "king", "dog", "moon", "song"]
FAST = TrainingOptions(epochs=30, batch_size=8, learning_rate=3e-3)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def tiny():
    return random_encoder(TINY, engine="torch", max_length=16)


def of_words(n_each=6):
    """Texts that belong together if they share a word, among words that tell nothing.

    The texts of the last two words are for validation.
    """
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(len(WORDS)), n_each)
    noise = rng.choice(["red", "old", "big", "new"], (len(group), 3))
    texts = [" ".join([*x, WORDS[i]]) for i, x in zip(group, noise, strict=True)]
    together = csr_matrix((group[:, None] == group).astype(float))
    rows = np.arange(len(group)).reshape(-1, 2)
    n_train = (len(WORDS) - 2) * n_each // 2
    return TextPairs(texts, together, rows[:n_train], rows[n_train:].ravel()), group


def own_nearest(vectors, group):
    """How often the nearest other text is of the same group."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    return (group[scores.argmax(axis=1)] == group).mean()


def test_texts_that_belong_together_come_nearer(tiny):
    pairs, group = of_words()
    before = tiny.encode(pairs.texts)
    tuned = fine_tune(tiny, pairs, [FAST], n_layers=2)
    assert tuned.losses[0] < tuned.untrained
    seen = group < len(WORDS) - 2
    assert own_nearest(tuned.vectors[seen], group[seen]) > 0.9
    assert own_nearest(before[seen], group[seen]) < 0.7
    np.testing.assert_allclose(np.linalg.norm(tuned.vectors, axis=1), 1, rtol=1e-5)


def test_the_encoder_stays_as_it_was(tiny):
    pairs, _ = of_words()
    before = tiny.encode(pairs.texts)
    fine_tune(tiny, pairs, [TrainingOptions(1, 8)], n_layers=1)
    np.testing.assert_array_equal(tiny.encode(pairs.texts), before)


@pytest.mark.parametrize("n_layers", [1, 6])
def test_a_training_that_changes_nothing_gives_the_vectors_of_the_encoder(n_layers):
    encoder = load_encoder(engine="torch")
    pairs, _ = of_words(2)
    still = TrainingOptions(epochs=1, learning_rate=1e-12)
    tuned = fine_tune(encoder, pairs, [still], n_layers=n_layers)
    np.testing.assert_allclose(tuned.vectors, encoder.encode(pairs.texts), atol=1e-5)
    head = train_head(encoder.encode(pairs.texts), pairs, [still])
    np.testing.assert_allclose(head.vectors, tuned.vectors, atol=1e-5)
    assert head.untrained == pytest.approx(tuned.untrained, abs=1e-4)


def planted(n=240, dim=8):
    """Vectors of pairs that agree in the first half of the dimensions alone."""
    rng = np.random.default_rng(0)
    group = np.arange(n) // 2
    signal = rng.normal(size=(n // 2, dim))[group]
    vectors = np.hstack([signal, 3 * rng.normal(size=(n, dim))])
    rows = np.arange(n).reshape(-1, 2)
    together = csr_matrix((group[:, None] == group).astype(float))
    return TextPairs([""] * n, together, rows[:90], rows[90:].ravel()), vectors, group


def test_a_head_learns_which_dimensions_count():
    pairs, vectors, group = planted()
    options = TrainingOptions(epochs=60, learning_rate=1e-2)
    head = train_head(vectors, pairs, [options])
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    others = pairs.validation
    found = own_nearest(head.vectors[others], group[others])
    assert found > own_nearest(units[others], group[others]) + 0.2


def test_the_setting_with_the_lowest_validation_loss_is_used():
    pairs, vectors, _ = planted()
    still, good = TrainingOptions(1, learning_rate=1e-12), TrainingOptions(40)
    head = train_head(vectors, pairs, [still, good, still])
    assert head.best == 1
    alone = train_head(vectors, pairs, [good])
    np.testing.assert_array_equal(head.vectors, alone.vectors)
    assert head.losses[0] == pytest.approx(head.untrained)


def test_what_was_trained_is_cached(monkeypatch, tiny):
    pairs, _ = of_words(2)
    first = fine_tune(tiny, pairs, [TrainingOptions(1, 8)], n_layers=1)
    monkeypatch.setattr(fine_tuning, "train", None)
    again = fine_tune(tiny, pairs, [TrainingOptions(1, 8)], n_layers=1)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert again.cpu_s == first.cpu_s > 0


def test_the_number_of_threads_stays():
    before = torch.get_num_threads()
    pairs, vectors, _ = planted()
    train_head(vectors, pairs, [TrainingOptions(1)])
    assert torch.get_num_threads() == before


def test_shares_are_in_proportion_to_how_much_texts_belong_together():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    together = torch.tensor([[0.0, 3, 1], [0, 0, 0], [0, 0, 0]])
    p = np.exp(1) / (np.exp(1) + 1)  # of the text of cosine 1, among cosines 1 and 0
    expected = -(0.75 * np.log(p) + 0.25 * np.log(1 - p))
    assert contrastive_loss(vectors, together, 1.0).item() == pytest.approx(expected)
    sharper = contrastive_loss(vectors, together, 0.5).item()
    q = np.exp(2) / (np.exp(2) + 1)
    assert sharper == pytest.approx(-(0.75 * np.log(q) + 0.25 * np.log(1 - q)))


def test_a_batch_without_pairs_has_no_loss():
    vectors = torch.eye(2, requires_grad=True)
    assert contrastive_loss(vectors, torch.eye(2), 0.1).item() == 0


def texts_with(**changed):
    given = {"texts": ["a", "b"], "together": csr_matrix(np.eye(2))}
    given |= {"train": np.array([[0, 1]]), "validation": np.array([0])}
    return TextPairs(**given | changed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: texts_with(texts=["a"]), r"together must be \(1, 1\), as the texts"),
        (lambda: texts_with(train=np.array([0])), "train must have 2 axes and a text"),
        (lambda: texts_with(validation=np.array([], int)), "validation must have 1"),
        (
            lambda: texts_with(train=np.array([[0, 2]])),
            "in 2 texts; got 0 to 2",
        ),
        (lambda: train_head(np.eye(2), texts_with(), []), "settings must hold"),
        (lambda: train_head(np.eye(3), texts_with(), [FAST]), r"\(2, dim\), as the"),
        (lambda: train_head([[np.nan], [1]], texts_with(), [FAST]), "must be finite"),
        (
            lambda: train_head(np.eye(2), texts_with(), [FAST], temperature=0),
            "temperature must be positive",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_refuses_more_layers_than_there_are(tiny):
    with pytest.raises(ValueError, match="n_layers must be at most 2; got 3"):
        fine_tune(tiny, texts_with(), [FAST], n_layers=3)


def test_refuses_an_engine_that_cannot_be_trained():
    with pytest.raises(TypeError, match='must be a BERT of engine="torch"'):
        fine_tune(load_encoder(engine="openvino"), texts_with(), [FAST], n_layers=1)
