import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsys_lib.compression import teacher as teachers
from recsys_lib.compression.teacher import ask_teacher
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
    lessons = ask_teacher(TEXTS, model=teacher_folder, max_length=16)
    teacher = load_encoder(teacher_folder, engine="torch", max_length=16)
    np.testing.assert_allclose(lessons.vectors, teacher.encode(TEXTS), atol=1e-5)
    by_cls = replace(teacher, pooling="cls").encode(TEXTS)
    np.testing.assert_allclose(lessons.cls_vectors, by_cls, atol=1e-5)
    met = {}
    for text in TEXTS:
        tokens = teacher.tokenize([text])
        hidden = teacher.forward(tokens)[0].numpy()
        for place in range(1, len(hidden) - 1):
            met.setdefault(tokens.ids[0, place], []).append(hidden[place])
    assert lessons.token_counts.sum() == sum(len(x) for x in met.values())
    assert set(np.flatnonzero(lessons.token_counts)) == set(met)
    assert np.flatnonzero(lessons.token_means.any(axis=1)).tolist() == sorted(met)
    for token, states in met.items():
        assert lessons.token_counts[token] == len(states)
        np.testing.assert_allclose(
            lessons.token_means[token], np.mean(states, axis=0), atol=1e-5
        )


def test_is_asked_once_and_the_time_is_kept(teacher_folder, monkeypatch):
    first = ask_teacher(TEXTS, model=teacher_folder, max_length=16)
    assert first.seconds > 0
    with monkeypatch.context() as patched:
        patched.setattr(teachers, "_answers", lambda *_: pytest.fail("asked again"))
        again = ask_teacher(TEXTS, model=teacher_folder, max_length=16)
        assert again.seconds == first.seconds
        np.testing.assert_array_equal(again.vectors, first.vectors)
        with pytest.raises(pytest.fail.Exception, match="asked again"):
            ask_teacher(TEXTS[1:], model=teacher_folder, max_length=16)


def test_refuses_what_is_not_texts(teacher_folder):
    with pytest.raises(ValueError, match="texts must be one or more; got none"):
        ask_teacher([], model=teacher_folder, max_length=16)
    with pytest.raises(TypeError, match="texts must be a sequence of str"):
        ask_teacher("red", model=teacher_folder, max_length=16)
