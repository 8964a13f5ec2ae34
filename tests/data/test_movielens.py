import shutil

import pytest

from recsys_lib.data.carried import MOVIELENS, SHA256, data_folder
from recsys_lib.data.movielens import GENRES_100K, is_movielens, load_movielens

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


OLD_TITLE, NEW_TITLE = "Café, Le (1994)", '"Café, Le (1994)"'
RELEASES = {  # name -> its files, as GroupLens publishes them
    "ml-100k": LAYOUTS["ml-100k"],
    "ml-1m": LAYOUTS["ml-1m"],
    "ml-10m": {
        "ratings.dat": "9::20::4.5::838985046\n3::5::1::838983525\n",
        "movies.dat": f"20::{OLD_TITLE}::Comedy|Drama\n5::Kid (1921)::Drama\n",
        "tags.dat": "9::20::French!::1188263867\n",
    },
    **{
        name: {
            "ratings.csv": "userId,movieId,rating,timestamp\r\n"
            "9,20,4.5,838985046\r\n3,5,1.0,838983525\r\n",
            "movies.csv": "movieId,title,genres\r\n"
            f"20,{NEW_TITLE},Comedy|Drama\r\n5,Kid (1921),Drama\r\n",
            "tags.csv": "userId,movieId,tag,timestamp\r\n9,20,French,1188263867\r\n",
            "links.csv": "movieId,imdbId,tmdbId\r\n20,0114709,862\r\n",
            **more,
        }
        for name, more in {
            "ml-20m": {"genome-tags.csv": "tagId,tag\r\n1,007\r\n"},
            "ml-25m": {"genome-scores.csv": "movieId,tagId,relevance\r\n20,1,0.02\r\n"},
            "ml-32m": {"README.txt": "Summary"},
            "ml-latest": {"README.txt": "Summary"},
            "ml-latest-small": {"README.txt": "Summary"},
        }.items()
    },
}


@pytest.mark.parametrize("name", RELEASES)
def test_each_release_is_read(folder, name):
    encoding = "latin-1" if name in ("ml-100k", "ml-1m") else "utf-8"
    path = folder(RELEASES[name], name, encoding)
    assert is_movielens(path)
    data = load_movielens(path)
    assert (data.name, data.n_users, data.n_items) == (name, 2, 2)
    assert data.users.user_id.tolist() == [3, 9]
    assert data.items.title.tolist() == ["Kid", "Le Café"]
    assert data.items.year.tolist() == [1921, 1994]
    assert data.items.genres[0] == ("Drama",)
    ratings = [4.5, 1.0] if name not in ("ml-100k", "ml-1m") else [4, 1]
    assert data.interactions.rating.tolist() == ratings
    assert "2 interactions of " in data.understood
    assert "times in seconds since 1970" in data.understood


def test_a_release_s_header_is_read_by_name(folder):
    files = LAYOUTS["ml-latest"]
    ratings = "userId,movieId,timestamp,rating\n9,20,100,4.0\n3,5,50,1.0\n"
    movies = (
        ',genres,title,movieId\n0,Drama,"Café, Le (1994)",20\n1,Drama,Kid (1921),5\n'
    )
    other = load_movielens(folder({"ratings.csv": ratings, "movies.csv": movies}))
    usual = load_movielens(folder(files, "usual"))
    assert other.interactions.equals(usual.interactions)
    assert other.items.equals(usual.items)
    lines = files["ratings.csv"].partition("\n")[2]
    bare = folder(files | {"ratings.csv": lines}, "bare")
    with pytest.raises(
        ValueError, match=r"ratings\.csv must have a column for user, it"
    ):
        load_movielens(bare)


MS = "userId,movieId,rating,timestamp\n9,20,4.0,838985046000\n3,5,1.0,838983525000\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "movies.csv",
            "5,Kid",
            "20,Kid",
            r"movies\.csv, line 3: must have an item id of",
        ),
        ("ratings.csv", "9,20,4.0", "9,20,inf", r"line 2: must have a rating .*'inf'"),
        (
            "ratings.csv",
            "9,20,4.0",
            "9,20,1e39",
            r"line 2: must have a rating .*'1e39'",
        ),
        (
            "ratings.csv",
            "9,20,4.0",
            ",20,4.0",
            "line 2: must have something in column us",
        ),
        (
            "ratings.csv",
            "4.0,100",
            "4.0,noon",
            "line 2: must have a timestamp .*'noon'",
        ),
    ],
)
def test_a_release_is_checked_as_other_files_are(folder, file, old, new, message):
    files = LAYOUTS["ml-latest"]
    assert old in files[file]
    with pytest.raises(ValueError, match=message):
        load_movielens(folder(files | {file: files[file].replace(old, new)}))
    skipped = load_movielens(folder(files, "good"), skip_bad_rows=True)
    assert "bad" not in skipped.understood


def test_a_release_in_milliseconds_is_read_in_seconds(folder):
    data = load_movielens(folder(LAYOUTS["ml-latest"] | {"ratings.csv": MS}))
    assert data.interactions.timestamp.tolist() == [838985046, 838983525]
    assert "times in milliseconds since 1970" in data.understood


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("name", ["ml-100k", "ml-1m"])
def test_a_release_saved_again_in_another_encoding(folder, name, encoding):
    data = load_movielens(folder(LAYOUTS[name], encoding=encoding))
    assert data.items.title.tolist() == ["Kid", "Le Café"]
    assert data.users.user_id.tolist() == [3, 9]


def test_missing_files_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"must hold .*u\.data.*`make data`"):
        load_movielens()


def test_a_incomplete_set_is_refused(tmp_path):
    shutil.copy(data_folder() / MOVIELENS[0], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"_items.*must exist"):
        load_movielens(tmp_path)
