from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer

from recsys_lib.embeddings.limits import token_counts, token_limit, with_limit
from recsys_lib.embeddings.recipe import Prompts

LONG = "one two three four five six seven eight nine ten"


def test_an_encoder_with_another_limit_shares_the_network(tiny):
    before = token_limit(tiny)
    short = with_limit(tiny, 5)
    assert (token_limit(short), token_limit(tiny)) == (5, before)
    assert short.network is tiny.network
    assert short.tokenize([LONG]).ids.shape == (1, 5)
    ids = tiny.tokenize([LONG]).ids[0, :4]
    assert np.array_equal(short.tokenize([LONG]).ids[0, :4], ids)


def test_a_limit_above_the_text_changes_nothing(tiny):
    n = token_counts(tiny, ["one two"])[0]
    texts = ["one two"]
    same = with_limit(tiny, n).encode(texts)
    np.testing.assert_allclose(same, tiny.encode(texts), atol=1e-6)


def test_tokens_beyond_the_limit_and_the_prompt_are_counted(tiny):
    short = with_limit(tiny, 4)
    long, empty = token_counts(short, [LONG, ""])
    assert long >= 12  # ten words and two special tokens
    assert empty == 2
    asking = replace(short, prompts=Prompts(query="query words: "))
    asked = token_counts(asking, [LONG], role="query")[0]
    assert asked > long
    assert short.tokenize([LONG]).ids.shape == (1, 4)


def test_no_limit_and_no_room_are_refused(tiny):
    tokenizer = Tokenizer.from_str(tiny.tokenizer.to_str())
    tokenizer.no_truncation()
    with pytest.raises(ValueError, match="got one that cuts no text"):
        token_limit(replace(tiny, tokenizer=tokenizer))
    with pytest.raises(ValueError, match="at least 3; got 2"):
        with_limit(tiny, 2)
