import shutil

import pytest

from recsys_lib.data.carried import MOVIELENS, SHA256, data_folder
from recsys_lib.data.movielens import GENRES_100K, load_movielens

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


@pytest.fixture(scope="module")
def movielens():
    return load_movielens()


@pytest.fixture
def folder(tmp_path):
    """Write the files of a mapping into a folder of their own."""

    def _folder(files, name="own", encoding="utf-8"):
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text, encoding=encoding)
        return tmp_path / name

    return _folder


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
    with pytest.raises(
        ValueError, match=r"ratings\.csv, line 2: must have a rating .* got 'x'"
    ):
        load_movielens(broken)
    (broken / "ratings.csv").write_text(files["ratings.csv"].replace("9,20", "9,21"))
    with pytest.raises(
        ValueError,
        match=r"ratings\.csv, line 2: must have an item of movies\.csv; got '21'",
    ):
        load_movielens(broken)
    (broken / "movies.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"movies\.csv"):
        load_movielens(broken)


def test_missing_files_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"must hold .*u\.data.*`make data`"):
        load_movielens()


def test_a_incomplete_set_is_refused(tmp_path):
    shutil.copy(data_folder() / MOVIELENS[0], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"_items.*must exist"):
        load_movielens(tmp_path)
