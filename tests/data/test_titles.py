import pandas as pd
import pytest

from recsys_lib.data.titles import describe_items, split_title


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Shawshank Redemption, The (1994)", "The Shawshank Redemption", 1994),
        ("Postino, Il (1994)", "Il Postino", 1994),
        ("Hate (Haine, La) (1995)", "Hate (La Haine)", 1995),
        (
            "Eye of Vichy, The (Oeil de Vichy, L') (1993)",
            "The Eye of Vichy (L'Oeil de Vichy)",
            1993,
        ),
        ("Corrina, Corrina (1994)", "Corrina, Corrina", 1994),
        ("Theory, Thereof (1994)", "Theory, Thereof", 1994),
        ("20,000 Leagues Under the Sea (1954)", "20,000 Leagues Under the Sea", 1954),
        ("2001: A Space Odyssey (1968) ", "2001: A Space Odyssey", 1968),
        ("Land Before Time III (1995) (V)", "Land Before Time III", 1995),
        ("Death Note (2006–2007)", "Death Note", 2006),
        ("unknown", "unknown", None),
        ("Babe (pig)", "Babe (pig)", None),
    ],
)
def test_titles_are_parted_as_a_person_would(raw, title, year):
    assert split_title(raw) == (title, year)


def test_items_are_described_in_words():
    titles, genres = (
        ["Kid, The (1921)", "unknown"],
        ["Comedy|Drama", "(no genres listed)"],
    )
    items = pd.DataFrame({"item_id": [1, 2], "title": titles, "genres": genres})
    described = describe_items(items)
    assert described.genres.tolist() == [("Comedy", "Drama"), ()]
    assert described.text.tolist() == ["The Kid (1921). Comedy, Drama.", "unknown."]
    assert described.year.isna().tolist() == [False, True]


def test_a_given_text_stays_and_genres_may_be_missing():
    items = pd.DataFrame({"item_id": ["a"], "title": ["Red dress"], "text": ["Red!"]})
    described = describe_items(items)
    assert described.text.tolist() == ["Red!"]
    assert described.genres.tolist() == [()]
