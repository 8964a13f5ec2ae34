import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from recsys_lib.embeddings.pretrained import minilm_folder
from recsys_lib.embeddings.tokens import (
    Batching,
    batching_on,
    length_batches,
    load_tokenizer,
    pad,
    token_batches,
    token_ids,
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(minilm_folder(), 6)


def test_truncates_between_the_special_tokens(tokenizer):
    rows = token_ids(tokenizer, ["toy", "toy toy toy toy toy toy", ""])
    assert rows == [[101, 9121, 102], [101, 9121, 9121, 9121, 9121, 102], [101, 102]]


def test_without_special_tokens(tokenizer):
    assert token_ids(tokenizer, ["Toy!", ""], special=False) == [[9121, 999], []]


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1))
def test_padding_takes_nothing_away(rows):
    tokens = pad(rows, 0)
    assert tokens.ids.shape == tokens.mask.shape == (len(rows), max(map(len, rows)))
    pairs = zip(tokens.ids, tokens.mask, strict=True)
    assert [ids[mask == 1].tolist() for ids, mask in pairs] == rows
    assert tokens.ids[tokens.mask == 0].sum() == 0


def test_each_text_alone_has_no_padding():
    rows = [[101, 7, 102], [101], [101, 2, 3, 4, 102]]
    tokens = pad(rows, 0, n_unpooled=1)
    alone = list(tokens.each())
    assert [x.ids.tolist() for x in alone] == [[row] for row in rows]
    assert all(x.mask.all() and x.n_unpooled == 1 for x in alone)


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


LIMITS = st.builds(
    Batching,
    max_texts=st.none() | st.integers(1, 5),
    max_tokens=st.none() | st.integers(1, 30),
)


@given(st.lists(st.integers(1, 9), max_size=20), LIMITS)
def test_batches_hold_each_text_once_within_their_limits(lengths, limits):
    batches = [*length_batches(lengths, limits)]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    sizes = [[lengths[i] for i in batch] for batch in batches]
    assert [n for size in sizes for n in size] == sorted(lengths, reverse=True)
    for size in sizes:
        assert len(size) <= (limits.max_texts or 20)
        padded = len(size) * size[0]
        assert len(size) == 1 or padded <= (limits.max_tokens or padded)
    for size in sizes[:-1]:  # one more would have been too much
        over_tokens = (
            limits.max_tokens and (len(size) + 1) * size[0] > limits.max_tokens
        )
        assert over_tokens or len(size) == limits.max_texts


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 7, 50])
def test_tokenising_in_chunks_gives_the_same_texts(tokenizer, chunk):
    texts = ["toy", "toy toy", "", "space", "toy toy toy", "up", "war and toy"]
    batching = Batching(max_texts=2, chunk=chunk)
    found = {}
    for positions, tokens in token_batches(tokenizer, texts, batching, pad_id=0):
        for text, ids, mask in zip(positions, tokens.ids, tokens.mask, strict=True):
            found[text] = ids[mask == 1].tolist()
    assert [found[i] for i in range(len(texts))] == token_ids(tokenizer, texts)


def test_a_gpu_takes_larger_batches_and_a_text_that_is_none_is_refused(tokenizer):
    assert batching_on("cpu") == Batching(max_texts=8)
    assert batching_on("cuda:0").max_texts is None
    for texts in ("toy", ["toy", None]):
        with pytest.raises(TypeError, match="must be"):
            next(token_batches(tokenizer, texts, batching_on("cuda"), pad_id=0))
