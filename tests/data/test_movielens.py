import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data.carried import SHA256, data_folder
from recsys_lib.data.dataset import interaction_matrix, most_rated
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.own import load_interactions
from recsys_lib.data.reviews import load_clothing_reviews
from recsys_lib.data.titles import GENRES_100K

FLAGS = "|".join(str(int(genre == "Drama")) for genre in GENRES_100K)
LAYOUTS = {
    "ml-100k": {
        "u.data": "9\t20\t4\t100\n3\t5\t1\t50\n",
        "u.item": f"20|Café, Le (1994)|x||u|{FLAGS}\n5|Kid (1921)|x||u|{FLAGS}\n",
        "u.user": "9|24|M|other|V3N4P\n3|53|F|writer|01002\n",
    },
    "ml-1m": {
        "ratings.dat": "9::20::4::100\n3::5::1::50\n",
        "movies.dat": "20::Café, Le (1994)::Drama\n5::Kid (1921)::Drama\n",
        "users.dat": "9::M::24::0::V3N4P\n3::F::53::20::01002\n",
    },
    "ml-latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n9,20,4.0,100\n3,5,1.0,50\n",
        "movies.csv": 'movieId,title,genres\n20,"Café, Le (1994)",Drama\n'
        "5,Kid (1921),Drama\n",
    },
}


@pytest.fixture(scope="session")
def movielens():
    return load_movielens()


@pytest.fixture
def folder(tmp_path):
    """Write the files of a mapping into a folder of its own."""

    def _folder(files, name="own", encoding="utf-8"):
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text, encoding=encoding)
        return tmp_path / name

    return _folder


# -------------------------------------------------------------------- MovieLens


def test_the_carried_movielens(movielens):
    first = [195, 241, 3, 881250949]  # ids 196 and 242
    assert movielens.interactions.iloc[0].tolist() == first
    assert movielens.name == "ml-100k"
    assert (movielens.n_users, movielens.n_items) == (943, 1682)
    assert len(movielens.interactions) == 100_000
    assert movielens.items.item_id.tolist() == list(range(1, 1683))
    assert movielens.items.genres[0] == ("Animation", "Children's", "Comedy")
    assert movielens.users.occupation[0] == "technician"
    assert set(movielens.sha256) < set(SHA256)


def test_no_film_keeps_an_article_behind_or_a_year_in_its_title(movielens):
    titles = movielens.items.title
    assert not titles.str.contains(r", (?:The|A|An|La|Le|Les|Il|L')(?:$| \()").any()
    assert not titles.str.contains(r"\(\d{4}\)").any()
    assert movielens.items.year.isna().sum() == 1  # the film called "unknown"


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_official_layouts_say_the_same(folder, name):
    encoding = "utf-8" if name == "ml-latest" else "latin-1"
    data = load_movielens(folder(LAYOUTS[name], name, encoding))
    assert (data.name, data.n_users, data.n_items) == (name, 2, 2)
    assert data.interactions.to_dict("list") == {
        "user": [1, 0],
        "item": [1, 0],
        "rating": [4.0, 1.0],
        "timestamp": [100, 50],
    }
    assert data.items.item_id.tolist() == [5, 20]
    assert data.items.text.tolist() == ["Kid (1921). Drama.", "Le Café (1994). Drama."]
    assert data.users.user_id.tolist() == [3, 9]
    assert list(data.sha256) == list(LAYOUTS[name])
    if name != "ml-latest":
        assert data.users.zip_code.tolist() == ["01002", "V3N4P"]


def test_official_files_that_do_not_fit_are_refused(folder):
    files = LAYOUTS["ml-latest"]
    broken = folder(
        files | {"ratings.csv": "userId,movieId,rating,timestamp\n9,20,x,1\n"}
    )
    with pytest.raises(ValueError, match=r"ratings\.csv, line 2, must hold"):
        load_movielens(broken)
    (broken / "ratings.csv").write_text(files["ratings.csv"].replace("9,20", "9,21"))
    with pytest.raises(ValueError, match=r"every item_id .* got 1 .* such as 21"):
        load_movielens(broken)
    (broken / "movies.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"movies\.csv"):
        load_movielens(broken)


def test_missing_or_changed_carried_files_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    with pytest.raises(FileNotFoundError, match=r"must hold .*u\.data.*`make data`"):
        load_movielens()
    with pytest.raises(FileNotFoundError, match=r"Reviews.* got no file.*`make data`"):
        load_clothing_reviews()
    for name in SHA256:
        (tmp_path / name).write_bytes(b"torso")
    with pytest.raises(ValueError, match=r"_data.* must have sha256 4128.*`make data`"):
        load_movielens()
    with pytest.raises(ValueError, match=r"Reviews.* must have sha256 2d51"):
        load_clothing_reviews()


def test_a_carried_set_that_is_not_whole_is_refused(tmp_path):
    name = next(iter(SHA256))
    shutil.copy(data_folder() / name, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"_items.*must exist"):
        load_movielens(tmp_path)


# ---------------------------------------------------------------------- reviews


def test_reviews_without_text_are_left_out():
    data = load_clothing_reviews()
    reviews = data.reviews
    assert (len(reviews), data.n_items) == (22_641, 1179)
    assert not reviews.isna().any(axis=None)
    assert reviews.text.str.strip().ne("").all()
    assert sorted(reviews.item.unique()) == list(range(data.n_items))
    assert reviews.groupby("item").clothing_id.nunique().eq(1).all()
    assert reviews.recommended.dtype == bool
    assert 0.81 < reviews.recommended.mean() < 0.83


# ------------------------------------------------------------- the reader's own

OWN = {
    "items.csv": 'item,text,metadata\nb,"Red dress, long",Dress|Red\na,Blue hat,\n',
    "interactions.csv": "user,item,timestamp,rating\nu2,a,5,2.5\nu1,b,4,1\nu1,b,9,3\n",
}


def test_own_data_have_the_shape_of_the_others(folder, movielens):
    data = load_interactions(folder(OWN, "shop"))
    assert (data.name, data.n_users, data.n_items) == ("shop", 2, 2)
    assert data.items.text.tolist() == ["Blue hat", "Red dress, long"]
    assert data.items.genres.tolist() == [(), ("Dress", "Red")]
    assert data.interactions.user.tolist() == [1, 0, 0]
    assert data.interactions.item.tolist() == [0, 1, 1]
    assert data.interactions.rating.tolist() == [2.5, 1, 3]
    pd.testing.assert_series_equal(
        data.interactions.dtypes, movielens.interactions.dtypes
    )
    assert list(data.items) == list(movielens.items)
    assert data.items.year.dtype == movielens.items.year.dtype


def test_own_data_need_neither_metadata_nor_ratings(folder):
    bare = {
        "items.csv": "item,text\n1,x\n",
        "interactions.csv": "timestamp,user,item\n3,7,1\n",
    }
    data = load_interactions(folder(bare))
    assert data.interactions.iloc[0].tolist() == [0, 0, 1, 3]
    assert data.items.genres[0] == ()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("items.csv", "item,text\na,x\na,y\n", r"items\.csv, line 3: .* item id .*'a'"),
        ("items.csv", "item,text\na,\n", "line 2: must have something in column text"),
        ("interactions.csv", "user,item\nu,a\n", "a header with user, item, timestamp"),
        ("interactions.csv", "user,item,timestamp\nu,a,1\nu,z,2\n", "line 3: .*'z'"),
        ("interactions.csv", "user,item,timestamp\nu,a,noon\n", "line 2: .*'noon'"),
        (
            "interactions.csv",
            "user,item,timestamp\nu,a,1e12\n",
            "below 1e11; got '1e12'",
        ),
        (
            "interactions.csv",
            "user,item,timestamp,rating\nu,a,1,\n",
            "a rating that is",
        ),
        ("interactions.csv", "user,item,timestamp,rating\nu,a,1,inf\n", "got 'inf'"),
        ("interactions.csv", "user,item,timestamp\n,a,1\n", "something in column user"),
    ],
)
def test_own_data_refuse(folder, file, text, message):
    with pytest.raises(ValueError, match=message):
        load_interactions(folder(OWN | {file: text}))


def test_own_data_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"items\.csv"):
        load_interactions(tmp_path)


# ----------------------------------------------------------------------- matrix

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 5)))


def test_the_most_rated_items_keep_their_users_and_descriptions(movielens):
    few = most_rated(movielens, 300)
    assert few.n_items == 300
    assert few.n_users == movielens.n_users
    assert set(few.interactions.item) == set(range(300))
    fewest = few.interactions.item.value_counts().min()
    events = with_item_ids(movielens)
    kept = events.item_id.isin(few.items.item_id)
    assert events[~kept].item_id.value_counts().max() <= fewest
    assert with_item_ids(few).equals(events[kept].reset_index(drop=True))


def with_item_ids(dataset):
    events = dataset.interactions
    item_ids = dataset.items.item_id.to_numpy()[events.item]
    return events.assign(item_id=item_ids).drop(columns="item")


@pytest.mark.parametrize("n_items", [0, 1683])
def test_no_more_items_than_there_are(movielens, n_items):
    with pytest.raises(ValueError, match=rf"\[1, 1682\]; got {n_items}"):
        most_rated(movielens, n_items)


@given(pairs)
def test_matrix_equals_filling_it_cell_by_cell(rows):
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"]).astype("int64")
    expected = np.zeros((4, 5))
    for user, item, rating in rows:
        expected[user, item] += rating
    summed = interaction_matrix(frame, (4, 5), values="rating")
    binary = interaction_matrix(frame, (4, 5))
    np.testing.assert_array_equal(summed.toarray(), expected)
    np.testing.assert_array_equal(binary.toarray(), expected > 0)
    assert binary.dtype == summed.dtype == np.float32


@pytest.mark.parametrize(
    ("user", "item", "message"),
    [(2, 0, r"user codes must lie in \[0, 2\); got 2"), (0, -1, "item codes must lie")],
)
def test_matrix_refuses_codes_outside(user, item, message):
    with pytest.raises(ValueError, match=message):
        interaction_matrix(pd.DataFrame({"user": [user], "item": [item]}), (2, 2))
