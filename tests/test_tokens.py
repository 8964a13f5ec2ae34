import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from recsys_lib.tokens import load_tokenizer, minilm_folder, pad, token_ids


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(minilm_folder(), 6)


def test_truncates_between_the_special_tokens(tokenizer):
    rows = token_ids(tokenizer, ["toy", "toy toy toy toy toy toy", ""])
    assert rows == [[101, 9121, 102], [101, 9121, 9121, 9121, 9121, 102], [101, 102]]


def test_without_special_tokens(tokenizer):
    assert token_ids(tokenizer, ["Toy!", ""], special=False) == [[9121, 999], []]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1))
def test_padding_takes_nothing_away(rows):
    tokens = pad(rows, 0)
    assert tokens.ids.shape == tokens.mask.shape == (len(rows), max(map(len, rows)))
    pairs = zip(tokens.ids, tokens.mask, strict=True)
    assert [ids[mask == 1].tolist() for ids, mask in pairs] == rows
    assert tokens.ids[tokens.mask == 0].sum() == 0


def test_takes_any_sequence_of_strings(tokenizer):
    texts = np.array(["toy", "space opera"])
    assert token_ids(tokenizer, texts) == token_ids(tokenizer, texts.tolist())
    assert token_ids(tokenizer, []) == []


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_refuses_texts_without_tokens(rows):
    with pytest.raises(ValueError, match="each with a token; got"):
        pad(rows, 0)


def test_refuses_what_is_no_sequence_of_strings(tokenizer):
    with pytest.raises(TypeError, match="got the str 'toy'"):
        token_ids(tokenizer, "toy")
    with pytest.raises(TypeError, match="got NoneType at 1"):
        token_ids(tokenizer, ["toy", None])


def test_refuses_a_folder_without_tokenizer_and_too_short_a_length(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold tokenizer\.json"):
        load_tokenizer(tmp_path, 6)
    with pytest.raises(ValueError, match="at least 3; got 2"):
        load_tokenizer(tmp_path, 2)


def test_reads_any_tokenizer_file(tmp_path):
    words = Tokenizer(WordLevel({"[UNK]": 0, "toy": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    assert token_ids(load_tokenizer(tmp_path, 3), ["toy or toy story"]) == [[1, 0, 1]]
