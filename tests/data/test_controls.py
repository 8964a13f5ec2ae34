from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys_lib.data.controls import masked_titles, swapped_titles
from recsys_lib.data.dataset import Dataset
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.titles import describe_items

FILMS = [
    ("Heat (1995)", "Action|Crime"),
    ("Speed (1994)", "Action"),
    ("Die Hard (1988)", "Action"),
    ("Babe (1995)", "Comedy"),
    ("Bean (1997)", "Comedy|Family"),
    ("Dave (1993)", "Comedy"),
    ("Dave (1999)", "Comedy"),
    ("unknown", ""),
]


@pytest.fixture(scope="module")
def films() -> Dataset:
    titles, genres = zip(*FILMS, strict=True)
    frame = {"item_id": range(len(FILMS)), "title": titles, "genres": genres}
    return replace(load_movielens(), items=describe_items(pd.DataFrame(frame)))


def titles_of(dataset: Dataset) -> list[str]:
    """The part of each text before year and genres."""
    return [text.split(" (")[0].split(".")[0] for text in dataset.items.text]


def test_a_masked_text_has_year_and_genres_alone(films):
    assert masked_titles(films).items.text.tolist() == [
        "Untitled (1995). Action, Crime.",
        "Untitled (1994). Action.",
        "Untitled (1988). Action.",
        "Untitled (1995). Comedy.",
        "Untitled (1997). Comedy, Family.",
        "Untitled (1993). Comedy.",
        "Untitled (1999). Comedy.",
        "Untitled.",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_swapped_title_is_of_another_film_of_its_group(films, seed):
    found = titles_of(swapped_titles(films, rng=np.random.default_rng(seed)))
    assert found[:3] == ["Speed", "Heat", "Die Hard"]  # the only one of its decade
    comedies = dict(zip(["Babe", "Bean", "Dave", "Dave"], found[3:7], strict=True))
    assert sorted(comedies.values()) == ["Babe", "Bean", "Dave"]
    assert all(own != new for own, new in comedies.items())
    assert found[5] == found[6]  # one title, one other title
    assert found[7] == "unknown"


def test_only_the_titles_in_the_texts_change(films):
    for changed in (
        masked_titles(films),
        swapped_titles(films, rng=np.random.default_rng(1)),
    ):
        assert changed.interactions is films.interactions
        pd.testing.assert_frame_equal(
            changed.items.drop(columns="text"), films.items.drop(columns="text")
        )
        for old, new in zip(films.items.text, changed.items.text, strict=True):
            assert old.partition(" (")[2] == new.partition(" (")[2]


def test_the_book_s_films_are_swapped_within_genre_and_decade():
    films = load_movielens()
    first, again, other = (
        swapped_titles(films, rng=np.random.default_rng(seed)).items.text
        for seed in (0, 0, 1)
    )
    assert first.tolist() == again.tolist() != other.tolist()
    groups = [*zip(films.items.genres.str[0], films.items.year // 10, strict=True)]
    of_title: dict[str, set[str]] = {}
    for title, group in zip(films.items.title, groups, strict=True):
        of_title.setdefault(title, set()).add(str(group))
    years = [f" ({year})" for year in films.items.year]
    for text, year, own, group in zip(
        first, years, films.items.title, groups, strict=True
    ):
        new = text[: text.rindex(year)] if year in text else own
        assert str(group) in of_title[new]


@pytest.mark.parametrize(
    "control",
    [masked_titles, lambda x: swapped_titles(x, rng=np.random.default_rng(0))],
)
def test_texts_of_something_else_are_refused(films, control):
    texts = films.items.text.where(films.items.index < 6, "A plot.")
    other = replace(films, items=films.items.assign(text=texts))
    wanted = "must consist of title, year and genres; got 'A plot.' and 1 others"
    with pytest.raises(ValueError, match=wanted):
        control(other)
