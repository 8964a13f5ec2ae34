import pytest

from recsys_lib.data.options import read_options


def options(**given):
    return read_options({f"RECSYS_{name}": text for name, text in given.items()})


def test_nothing_said_is_the_default():
    how = options()
    assert (how.threshold, how.events, how.repeats) == (None, (), "keep")
    assert (how.noun, how.nouns, how.skip_bad_rows) == ("item", "items", False)
    assert (how.given, how.sha256) == ({}, {})
    assert options(SKIP_BAD_ROWS="0").given == {}


def test_all_options():
    how = options(
        COLUMNS="user=buyer",
        LIKED=" rating >= 3.5",
        REPEATS="last",
        NOUN="garment",
        SKIP_BAD_ROWS="1",
    )
    assert how.columns == {"user": "buyer"}
    assert (how.threshold, how.repeats, how.skip_bad_rows) == (3.5, "last", True)
    assert list(how.sha256) == ["COLUMNS", "LIKED", "REPEATS", "NOUN", "SKIP_BAD_ROWS"]
    assert options(LIKED="event=add to cart|buy").events == ("add to cart", "buy")
    one, other = (options(COLUMNS=x) for x in ("user=a item=b", "item=b user=a"))
    assert one.sha256 == other.sha256
    assert one.sha256 != options(COLUMNS="user=b item=b").sha256


@pytest.mark.parametrize(
    ("noun", "nouns"),
    [
        ("garment", "garments"),
        ("dress", "dresses"),
        ("toy", "toys"),
        ("movie/movies", "movies"),
        ("spare part", "spare parts"),
        ("étagère", "étagères"),
    ],
)
def test_plurals(noun, nouns):
    assert options(NOUN=noun).nouns == nouns
    assert options(NOUN=noun).noun == noun.partition("/")[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("LIKED", "rating>4", r"LIKED must read rating>=<number> or .* got 'rating>4'"),
        ("LIKED", "rating>=high", "LIKED must read"),
        ("LIKED", "rating>=nan", "LIKED must read"),
        ("LIKED", "event=", "LIKED must read"),
        ("LIKED", "event=a||b", "LIKED must read"),
        ("REPEATS", "once", "REPEATS must be one of keep, first, last, count; got 'on"),
        ("NOUN", "a/b/c", "NOUN must be a word such as garment"),
        ("NOUN", "{record}`x`", "NOUN must be"),
        ("NOUN", "x" * 41, "NOUN must be"),
        ("SKIP_BAD_ROWS", "yes", "SKIP_BAD_ROWS must be 0 or 1; got 'yes'"),
        ("COLUMNS", "user", "COLUMNS must read"),
    ],
)
def test_wrong_options_are_refused_by_name(name, text, message):
    with pytest.raises(ValueError, match=message):
        options(**{name: text})
