import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsys_lib.compression import teacher as teacher_module
from recsys_lib.compression.teacher import teacher_targets
from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.random_bert import random_encoder

TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}
TEXTS = [f"a dress number {i} is red" + " indeed" * (i % 4) for i in range(40)]


@pytest.fixture
def teacher_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "teacher"
    random_encoder(TINY, engine="torch", max_length=16).network.model.save_pretrained(
        folder
    )
    shutil.copy(minilm_folder() / "tokenizer.json", folder)
    return folder


def test_vectors_and_token_means_are_the_teachers_own(teacher_folder):
    targets = teacher_targets(TEXTS, model=teacher_folder, max_length=16)
    teacher = load_encoder(teacher_folder, engine="torch", max_length=16)
    np.testing.assert_allclose(targets.vectors, teacher.encode(TEXTS), atol=1e-5)
    by_cls = replace(teacher, pooling="cls").encode(TEXTS)
    np.testing.assert_allclose(targets.cls_vectors, by_cls, atol=1e-5)
    states_of = {}
    for text in TEXTS:
        tokens = teacher.tokenize([text])
        hidden = teacher.forward(tokens)[0].numpy()
        for place in range(1, len(hidden) - 1):
            states_of.setdefault(tokens.ids[0, place], []).append(hidden[place])
    assert targets.token_counts.sum() == sum(len(x) for x in states_of.values())
    assert set(np.flatnonzero(targets.token_counts)) == set(states_of)
    assert np.flatnonzero(targets.token_means.any(axis=1)).tolist() == sorted(states_of)
    for token, states in states_of.items():
        assert targets.token_counts[token] == len(states)
        np.testing.assert_allclose(
            targets.token_means[token], np.mean(states, axis=0), atol=1e-5
        )


def test_targets_and_their_time_are_computed_once(teacher_folder, monkeypatch):
    first = teacher_targets(TEXTS, model=teacher_folder, max_length=16)
    assert first.seconds > 0
    with monkeypatch.context() as patched:
        patched.setattr(
            teacher_module, "_compute", lambda *_: pytest.fail("computed again")
        )
        again = teacher_targets(TEXTS, model=teacher_folder, max_length=16)
        assert again.seconds == first.seconds
        np.testing.assert_array_equal(again.vectors, first.vectors)
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            teacher_targets(TEXTS[1:], model=teacher_folder, max_length=16)


def test_other_things_than_texts_are_refused(teacher_folder):
    with pytest.raises(ValueError, match="at least one text; got none"):
        teacher_targets([], model=teacher_folder, max_length=16)
    with pytest.raises(TypeError, match="texts must be a sequence of str"):
        teacher_targets("red", model=teacher_folder, max_length=16)
