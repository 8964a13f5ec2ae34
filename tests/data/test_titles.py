import pandas as pd
import pytest

from recsys_lib.data.titles import GENRES_100K, describe_items, split_title


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


def test_flags_and_lists_of_genres_mean_the_same():
    titled = {"item_id": [1, 2], "title": ["Kid, The (1921)", "unknown"]}
    flags = pd.DataFrame({genre: [0, 0] for genre in GENRES_100K})
    flags["unknown"] = [0, 1]
    flags[["Comedy", "Drama"]] = [[1, 1], [0, 0]]
    flagged = describe_items(pd.DataFrame(titled).join(flags))
    genres = ["Comedy|Drama", "(no genres listed)"]
    listed = describe_items(pd.DataFrame(titled).assign(genres=genres))
    pd.testing.assert_frame_equal(flagged, listed)
    assert listed.genres.tolist() == [("Comedy", "Drama"), ()]
    assert listed.text.tolist() == ["The Kid (1921). Comedy, Drama.", "unknown."]
    assert listed.year.isna().tolist() == [False, True]


def test_a_given_text_stays_and_genres_may_be_missing():
    items = pd.DataFrame({"item_id": ["a"], "title": ["Red dress"], "text": ["Red!"]})
    described = describe_items(items)
    assert described.text.tolist() == ["Red!"]
    assert described.genres.tolist() == [()]
