from dataclasses import fields, replace

import pandas as pd

from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.stored import store_dataset, stored_dataset


def test_a_stored_data_set_is_the_same(tmp_path):
    films = load_movielens()
    reviewed = films.interactions.assign(
        text=pd.Series("é", films.interactions.index, dtype="str")
    )
    data = replace(
        films, interactions=reviewed, understood="read", threshold=3.5, noun="box"
    )
    store_dataset(data, tmp_path)
    same = stored_dataset(tmp_path)
    for field in fields(data):
        one, other = (getattr(x, field.name) for x in (data, same))
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        else:
            assert one == other, field.name
