import pytest

from recsys_lib.data.columns import find_columns, parse_columns

ROLES = ["user", "item", "rating", "timestamp"]


@pytest.mark.parametrize(
    "header",
    [
        ["user", "item", "rating", "timestamp"],
        ["timestamp", "Rating", "ITEM ID", "userId"],
        ["", "uid", "movieId", "stars", "time", "mood"],
        ["reviewerID", "asin", "overall", "unixReviewTime"],
        ["customer_id", "product_id", "score", "event_time"],
    ],
)
def test_usual_names_in_any_order(header):
    assert set(find_columns(header, ROLES)) == set(ROLES)


def test_the_preferred_name_wins():
    assert find_columns(["item_id", "item"], ["item"]) == {"item": "item"}
    assert find_columns(["genres", "metadata"], ["metadata"]) == {
        "metadata": "metadata"
    }


def test_what_is_missing_is_left_out():
    assert find_columns(["user", "shoe"], ["user", "item"]) == {"user": "user"}


def test_the_reader_s_words_go_first():
    given = {"item": "shoe", "user": "buyer"}
    found = find_columns(["user", "buyer", "item", "shoe"], ["user", "item"], given)
    assert found == {"user": "buyer", "item": "shoe"}
    with pytest.raises(
        ValueError, match="COLUMNS: user=buyer must be one of user, item"
    ):
        find_columns(["user", "item"], ["user"], {"user": "buyer"})


def test_columns_as_an_option():
    assert parse_columns("") == {}
    assert parse_columns('user=customer item="sku no"') == {
        "user": "customer",
        "item": "sku no",
    }
    for wrong in ("user", "shoe=a", "user="):
        with pytest.raises(ValueError, match=f"COLUMNS must read .* got '{wrong}'"):
            parse_columns(wrong)
