import numpy as np
import pandas as pd

from recsys_lib.data.metadata import genre_features, release_years, year_features
from recsys_lib.data.movielens import load_movielens


def test_features_equal_their_definition_item_by_item():
    items = load_movielens().items
    names = sorted({name for names in items.genres for name in names})
    first, last = items.year.min(), items.year.max()
    genres, years = genre_features(items), year_features(items)
    assert (genres.shape, years.shape) == ((1682, 18), (1682, last - first + 1))
    for item in (0, 7, 1681):
        row = items.iloc[item]
        assert genres[item].tolist() == [name in row.genres for name in names]
        near = np.exp([-abs(row.year - year) / 3 for year in range(first, last + 1)])
        np.testing.assert_allclose(years[item], near)


def test_missing_metadata():
    items = pd.DataFrame({"genres": [(), ()], "year": pd.array([None, None], "Int64")})
    assert genre_features(items).shape == (2, 0)
    assert release_years(items).tolist() == [0, 0]
    assert year_features(items).tolist() == [[1], [1]]
    items.loc[0, "year"] = 1999
    assert release_years(items).tolist() == [1999, 1999]
