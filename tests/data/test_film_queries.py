import re

import pandas as pd
import pytest

from recsys_lib.data import film_queries
from recsys_lib.data.film_queries import load_film_queries
from recsys_lib.data.movielens import load_movielens

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def listed() -> pd.DataFrame:
    return load_film_queries()


def test_each_film_exists_under_its_title(listed):
    assert len(listed) == 120
    titles = load_movielens().items.title
    assert (listed["item"] >= 0).all()
    assert titles[listed["item"]].tolist() == listed["title"].tolist()


@pytest.mark.parametrize("column", ["item", "title", "english", "chinese"])
def test_nothing_stands_twice(listed, column):
    assert listed[column].is_unique


def test_each_query_is_in_its_language(listed):
    for english, chinese in zip(listed["english"], listed["chinese"], strict=True):
        assert english.isascii()
        assert len(english.split()) >= 5
        assert len(CHINESE.findall(chinese)) >= 8
        assert not re.search(r"[A-Za-z]", chinese)


def test_no_word_of_a_title_gives_it_away(listed):
    for title, english in zip(listed["title"], listed["english"], strict=True):
        words = {word for word in re.findall(r"\w+", title.lower()) if len(word) > 3}
        assert not words.intersection(re.findall(r"\w+", english))


def test_the_films_are_of_many_genres_and_decades(listed):
    films = load_movielens().items.iloc[listed["item"]]
    assert films.genres.explode().nunique() == 18
    assert (films.year // 10).nunique() == 7


def test_a_changed_list_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "film_queries.csv"
    file.write_bytes(film_queries.FILM_QUERIES.read_bytes() + b"2,GoldenEye,spy,x\n")
    monkeypatch.setattr(film_queries, "FILM_QUERIES", file)
    with pytest.raises(ValueError, match=r"csv must have sha256 \w+; got"):
        load_film_queries()
