import numpy as np
import pytest

from recsys_lib.serving.item_filter import ItemFields, item_fields

FIELDS = item_fields(
    {
        "genre": [("war", "noir"), ("war",), (), "comedy"],
        "year": [1990, 1991, [], 1990],
        "stock": [True, False, True, True],
    }
)


@pytest.mark.parametrize(
    ("wanted", "items"),
    [
        ({}, [0, 1, 2, 3]),
        ({"genre": "war"}, [0, 1]),
        ({"genre": ["comedy", "noir"]}, [0, 3]),
        ({"genre": "war", "stock": True}, [0]),
        ({"year": [1990, 1991], "stock": True}, [0, 3]),
        ({"genre": "western"}, []),
        ({"genre": []}, []),
        ({"exclude": ["a"]}, [0, 1, 2, 3]),
    ],
)
def test_an_item_has_one_of_the_values_of_each_field(wanted, items):
    assert np.flatnonzero(FIELDS.mask(wanted)).tolist() == items


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"colour": "red"}, "one of genre, year, stock, exclude; got colour"),
        ({"genre": 1}, "values of genre must be str; got int 1"),
        ({"year": [1990, True]}, "values of year must be int; got bool True"),
        ({"stock": 1}, "values of stock must be bool; got int 1"),
        ({"exclude": [1]}, "values of exclude must be str; got int 1"),
    ],
)
def test_what_cannot_be_answered_is_named(wanted, message):
    with pytest.raises(ValueError, match=message):
        FIELDS.mask(wanted)


def test_without_metadata_items_can_be_excluded_alone():
    assert ItemFields().names == ["exclude"]
    with pytest.raises(ValueError, match="one of exclude; got genre"):
        ItemFields().check({"genre": "war"})


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"a": [1], "b": [1, 2]}, ValueError, "one length.*'a': 1, 'b': 2"),
        ({"exclude": ["a"]}, ValueError, 'none the name "exclude"'),
        ({"a": [1, "x"]}, ValueError, "values of a must be of one type; got int, str"),
        ({"a": [0.5]}, TypeError, "a must be bool, int or str; got float 0.5"),
    ],
)
def test_wrong_columns_are_refused(columns, error, message):
    with pytest.raises(error, match=message):
        item_fields(columns)
