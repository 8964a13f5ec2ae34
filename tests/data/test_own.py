"""The reader's own data: read, refused, and run through the chapters that can."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_chapters import small_chapter, small_text

from book.pipeline.chapters import NEEDS, BookError, Chapter, find_chapters
from book.pipeline.printing.ledger import ledger
from book.pipeline.records.claims import Claim, judge_all
from book.pipeline.results import Results
from book.pipeline.running.edition import (
    Edition,
    check_options,
    edition_of,
    fitting,
    left_out,
    note,
    nouns,
)
from book.pipeline.running.fingerprint import Inputs, fingerprint
from recsys_lib.data import own as library
from recsys_lib.data.dataset import Dataset
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.own import lacks, liked_from, load_dataset, load_interactions

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400
TOPICS = ["lamp shade light", "garden spade soil", "kettle tea cup", "wool yarn knit"]


def made(folder: Path, *, rated: bool = True) -> Path:
    """A shop of four topics, whose customers each like one of them."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    topic, known = np.arange(240) % 4, 1 / (1 + np.arange(240))
    texts = [" ".join(rng.permutation(TOPICS[t].split())) for t in topic]
    items = [f'p{n},"{text}, no. {n}"' for n, text in enumerate(texts)]
    rows = ["user,item,timestamp" + ",rating" * rated]
    for user in range(80):
        weight = known * np.where(topic == user % 4, 6, 1)
        drawn = rng.choice(240, 50, replace=False, p=weight / weight.sum())
        for t, item in enumerate(drawn):
            stars = rng.integers(1, 5) + (topic[item] == user % 4)
            rows.append(
                f"c{user},p{item},{10**9 + 60 * t + DAY * (t // 5)}"
                + f",{stars}" * rated
            )
    (folder / "items.csv").write_text("\n".join(["item,text", *items]))
    (folder / "interactions.csv").write_text("\n".join(rows))
    return folder


def movielens_1m(folder: Path) -> Path:
    """The same in the format of MovieLens 1M: three tables separated by colons."""
    own = load_dataset(made(folder / "csv"))
    place = folder / "ml-1m"
    place.mkdir()
    films = [
        f"{n + 1}::{title} ({1990 + n % 9})::Drama|{'War' * (n % 4 == 0)}"
        for n, title in enumerate(own.items.title)
    ]
    users = [f"{u + 1}::F::1::10::48067" for u in range(own.n_users)]
    rows = own.interactions.astype({"rating": int}).itertuples()
    ratings = [f"{r.user + 1}::{r.item + 1}::{r.rating}::{r.timestamp}" for r in rows]
    for name, lines in {"movies": films, "users": users, "ratings": ratings}.items():
        (place / f"{name}.dat").write_text("\n".join(lines), encoding="latin-1")
    return place


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("own") / "shop")


def test_own_files_take_the_place_of_movielens(shop: Path, tmp_path: Path) -> None:
    own = load_dataset(shop)
    assert (own.name, own.n_users, own.n_items) == ("shop", 80, 240)
    assert load_dataset("").sha256 == load_movielens().sha256
    same = load_dataset(movielens_1m(tmp_path))
    assert same.interactions.rating.tolist() == own.interactions.rating.tolist()
    assert same.items.genres[0] == ("Drama", "War")
    assert set(same.sha256) == {"movies.dat", "ratings.dat", "users.dat"}


def test_what_the_data_lack_is_known(shop: Path, tmp_path: Path) -> None:
    own = load_dataset(shop)
    assert lacks(own) - {"new-items"} == {
        "labels",
        "movielens",
        "metadata",
        "new-users",
        "queries",
        "reviews",
    }
    ratings = own.interactions.rating
    assert liked_from(own) == sorted(ratings)[len(ratings) // 2]
    unrated = load_dataset(made(tmp_path / "a", rated=False))
    assert lacks(unrated) | {"bert", "times", "new-items"} == set(NEEDS)
    events = own.interactions.assign(text="Warm.")
    assert "reviews" not in lacks(replace(own, interactions=events))
    few = events.assign(text=events.text.where(events.user < 19, ""))
    assert "reviews" in lacks(replace(own, interactions=few))


def test_no_user_comes_back_where_all_times_are_equal(shop: Path) -> None:
    own = load_dataset(shop)
    at_once = replace(own, interactions=own.interactions.assign(timestamp=10**9))
    assert "times" in lacks(at_once)
    each_once = own.interactions.assign(timestamp=own.interactions["user"] * 10**6)
    assert "times" in lacks(replace(own, interactions=each_once))
    assert "times" not in lacks(own)
    one_sitting = own.interactions["timestamp"] % DAY
    sat = own.interactions.assign(timestamp=one_sitting)
    assert "times" in lacks(replace(own, interactions=sat))


OWN = {
    "items.csv": 'item,text,metadata\nb,"Red dress, long",Dress|Red\na,Blue hat,\n',
    "interactions.csv": "user,item,timestamp,rating\nu2,a,5,2.5\nu1,b,4,1\nu1,b,9,3\n",
}


def wrote(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_own_data_have_the_columns_of_movielens(tmp_path: Path) -> None:
    data, movielens = load_interactions(wrote(tmp_path / "shop", OWN)), load_movielens()
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


def test_own_data_need_neither_metadata_nor_ratings(tmp_path: Path) -> None:
    bare = {
        "items.csv": "item,text\n1,x\n",
        "interactions.csv": "timestamp,user,item\n3,7,1\n",
    }
    data = load_interactions(wrote(tmp_path / "bare", bare))
    assert data.interactions.iloc[0].tolist() == [0, 0, 1, 3]
    assert data.items.genres[0] == ()


def test_reviews_are_texts_of_the_interactions(tmp_path: Path) -> None:
    reviews = "user,item,timestamp,reviewText\nu2,a,5,Warm.\nu1,b,4,\nu1,b,9,Good\n"
    data = load_interactions(
        wrote(tmp_path / "shop", OWN | {"interactions.csv": reviews})
    )
    assert data.interactions["text"].tolist() == ["Warm.", "", "Good"]
    assert data.interactions["text"].dtype == "str"
    assert "Warm." not in "".join(data.items.text)
    events = OWN["interactions.csv"]
    plain = load_interactions(
        wrote(tmp_path / "plain", OWN | {"interactions.csv": events})
    )
    assert "text" not in plain.interactions


@pytest.mark.parametrize(
    ("rows", "texts", "of_items"),
    [
        (["Hat,Warm.", "Hat,Itches."], ["Warm.", "Itches."], "Hat"),
        (["Hat,A blue hat.", "Hat,A blue hat."], None, "A blue hat."),
    ],
)
def test_a_text_beside_interactions_is_of_whom_it_differs_by(
    tmp_path: Path, rows: list[str], texts: list[str] | None, of_items: str
) -> None:
    lines = [f"u{n},a,{n},{row}" for n, row in enumerate(rows)]
    text = "\n".join(["user,item,time,title,text", *lines])
    (tmp_path / "one.csv").write_text(text)
    data = load_interactions(tmp_path / "one.csv")
    assert data.items.text.tolist() == [of_items]
    found = data.interactions.get("text")
    assert (found.tolist() if texts else found) == texts


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("items.csv", "item,text\na,x\na,y\n", r"items\.csv, line 3: .* item id .*'a'"),
        ("items.csv", "item,text\na,\n", "line 2: must have something in column text"),
        (
            "interactions.csv",
            "user,item\nu,a\n",
            "a column for timestamp; got a header",
        ),
        ("interactions.csv", "user,item,timestamp\nu,a,1\nu,z,2\n", "line 3: .*'z'"),
        ("interactions.csv", "user,item,timestamp\nu,a,noon\n", "line 2: .*'noon'"),
        (
            "interactions.csv",
            "user,item,timestamp\nu,a,1e12\nu,b,1e9\n",
            "timestamps must have one unit; got .* which are milliseconds and seconds",
        ),
        ("interactions.csv", "user,item,timestamp\nu,a,1e30\n", "line 2: .*'1e30'"),
        (
            "interactions.csv",
            "user,item,timestamp,rating\nu,a,1,\n",
            "a rating that is",
        ),
        ("interactions.csv", "user,item,timestamp,rating\nu,a,1,inf\n", "got 'inf'"),
        ("interactions.csv", "user,item,timestamp\n,a,1\n", "something in column user"),
    ],
)
def test_own_data_refuse(tmp_path: Path, file: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_interactions(wrote(tmp_path / "bad", OWN | {file: text}))


def test_names_of_columns_may_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "shop")
    events = (folder / "interactions.csv").read_text().replace("user,", "buyer,", 1)
    (folder / "interactions.csv").write_text(events)
    with pytest.raises(ValueError, match=r'a column for user; .* COLUMNS="user=<col'):
        load_dataset(folder)
    monkeypatch.setenv("RECSYS_COLUMNS", "user=buyer")
    data = load_dataset(folder)
    assert data.n_users == 80
    assert "; columns item, text, user=buyer, timestamp, rating" in data.understood
    assert set(data.sha256) == {"items.csv", "interactions.csv", "COLUMNS"}


def test_bad_rows_are_counted_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "shop")
    lines = (folder / "interactions.csv").read_text().splitlines()
    for place, row in ((3, "c1,p1"), (5, "c1,q7,9,1"), (7, "c1,p1,noon,1"), (9, ",p1")):
        lines.insert(place, row)
    (folder / "interactions.csv").write_text("\n".join(lines))
    items = (folder / "items.csv").read_text()
    (folder / "items.csv").write_text(f"{items}\np239,\np1,again")
    at = r"items\.csv, line 242: must have something in column text; got '' in column"
    with pytest.raises(
        ValueError, match=rf"{at} text \(and 1 more bad row; SKIP_BAD_R"
    ):
        load_dataset(folder)
    (folder / "items.csv").write_text(items)
    with pytest.raises(ValueError, match=r"line 4: .*got 2 \(and 3 more bad rows; SK"):
        load_dataset(folder)
    (folder / "items.csv").write_text(f"{items}\np239,\np1,again")
    monkeypatch.setenv("RECSYS_SKIP_BAD_ROWS", "1")
    data = load_dataset(folder)
    assert (data.n_items, len(data.interactions)) == (240, 4000)
    assert "6 bad rows left out: " in data.understood
    assert "line 6: must have an item of items.csv; got 'q7' in column item" in (
        data.understood
    )
    assert "'noon' in column timestamp" in data.understood
    (folder / "interactions.csv").write_text("user,item,timestamp\nu,q1,5\n")
    with pytest.raises(ValueError, match=r"s\.csv must have a good row; got none, 3"):
        load_dataset(folder)


def test_what_is_liked_and_what_repeats_is_said(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movielens = movielens_1m(tmp_path)
    monkeypatch.setenv("RECSYS_LIKED", "rating>=5")
    monkeypatch.setenv("RECSYS_NOUN", "lamp")
    data = load_dataset(shop)
    assert liked_from(data) == 5
    assert (data.noun, data.nouns) == ("lamp", "lamps")
    n_liked = (data.interactions.rating >= 5).sum()
    assert f"liked: ratings of at least 5, {n_liked:,} inter" in data.understood
    assert {"LIKED", "NOUN"} < set(data.sha256)
    monkeypatch.setenv("RECSYS_LIKED", "rating>=6")
    with pytest.raises(ValueError, match=r"LIKED: rating>=6 must hold .* from 1 to 5"):
        load_dataset(shop)
    monkeypatch.setenv("RECSYS_LIKED", "event=buy")
    with pytest.raises(ValueError, match="must have a column for event"):
        load_dataset(shop)
    with pytest.raises(ValueError, match=r"LIKED: event=... needs a table with a col"):
        load_dataset(movielens)
    folder = made(tmp_path / "events", rated=False)
    header, *rows = (folder / "interactions.csv").read_text().splitlines()
    rows = [f"{row},{'view' if n % 3 else 'buy'}" for n, row in enumerate(rows)]
    rows.append(rows[1].replace("view", "buy"))
    (folder / "interactions.csv").write_text("\n".join([f"{header},event", *rows]))
    data = load_dataset(folder)
    assert liked_from(data) == 1
    assert "ratings" not in lacks(data)
    assert data.interactions.rating.tolist()[:4] == [1, 1, 0, 1]
    assert "liked: pairs with an event buy, 1,335 events" in data.understood
    assert "1 interactions repeat a user and an item (REPEATS=keep" in data.understood
    monkeypatch.setenv("RECSYS_LIKED", "event=sell")
    with pytest.raises(ValueError, match="must have the event sell; got view, buy in"):
        load_dataset(folder)


def test_options_are_checked_before_the_data(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_REPEATS", "once")
    with pytest.raises(BookError, match="REPEATS must be one of"):
        edition_of({"dataset": "/nowhere"})
    monkeypatch.setenv("RECSYS_REPEATS", "last")
    with pytest.raises(BookError, match="REPEATS: set DATASET=<folder>"):
        check_options("")
    monkeypatch.setenv("RECSYS_NOUN", "lamp")
    own = edition_of({"dataset": str(shop)})
    assert nouns(own) == {"noun": "lamp", "nouns": "lamps"}
    assert nouns(None) == {"noun": "film", "nouns": "films"}
    assert own is not None
    told = note(own, [])
    assert "80 users, 240 lamps, 4,000 interactions" in told
    assert "for MovieLens (an *item* is one of your lamps), and where" in told
    monkeypatch.delenv("RECSYS_NOUN")
    assert "written for MovieLens, and where" in note(Edition(load_dataset(shop)), [])


def test_a_single_file_and_other_formats(shop: Path, tmp_path: Path) -> None:
    own = load_interactions(shop)
    items = pd.read_csv(shop / "items.csv")
    events = pd.read_csv(shop / "interactions.csv")
    both = events.merge(items, on="item")
    both.to_csv(tmp_path / "sales.csv.gz", index=False)
    one = load_interactions(tmp_path / "sales.csv.gz")
    assert (one.name, len(one.interactions)) == ("sales", len(own.interactions))
    other = tmp_path / "other"
    other.mkdir()
    items.to_parquet(other / "products.parquet")
    events.to_json(other / "events.jsonl.gz", orient="records", lines=True)
    same = load_interactions(other)
    pd.testing.assert_frame_equal(same.interactions, own.interactions)
    assert same.items.text.tolist() == own.items.text.tolist()
    assert "events.jsonl.gz, times in seconds since 1970" in same.understood
    events.to_csv(other / "ratings.csv")
    with pytest.raises(ValueError, match=r"one table like inter.*; got events"):
        load_interactions(other)


def test_own_data_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"items\.csv"):
        load_interactions(tmp_path)


def test_the_press_names_the_option_with_the_line(tmp_path: Path) -> None:
    folder = made(tmp_path / "bad")
    text = (folder / "interactions.csv").read_text().replace(",p", ",q", 1)
    (folder / "interactions.csv").write_text(text)
    with pytest.raises(BookError, match=r"DATASET: .*s\.csv, line 2: .*an item of"):
        edition_of({"dataset": str(folder)})


def test_a_folder_without_data_or_with_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold interactions.csv .* None"):
        load_dataset(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"u\.data, .*got notes\.txt"):
        load_dataset(tmp_path)
    folder = made(tmp_path / "few")
    lines = (folder / "interactions.csv").read_text().splitlines()[:1000]
    (folder / "interactions.csv").write_text("\n".join(lines))
    with pytest.raises(
        ValueError, match=r"at least 50 users with over 10 .*got 20 users with"
    ):
        load_dataset(folder)


def test_a_large_set_that_is_too_sparse_is_refused_with_the_draw(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "LARGEST_ITEMS", 30)
    with pytest.raises(
        ValueError,
        match=r"200 items with inter.*, in 30 of 240 items and \d+ of 80 users, as "
        r"many as the book's tables hold; a denser part of the data may do",
    ):
        load_dataset(shop)


def named_rows(own: Dataset) -> set[tuple[str, str, int]]:
    events = own.interactions
    users = own.users.user_id[events.user]
    return set(
        zip(users, own.items.item_id[events.item], events.timestamp, strict=True)
    )


def test_a_larger_set_is_cut(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_dataset(shop)
    monkeypatch.setattr(library, "LARGEST_ITEMS", 210)
    monkeypatch.setattr(library, "LARGEST_USERS", 60)
    cut = load_dataset(shop)
    assert (cut.n_users, cut.n_items) == (60, 210)
    users, items = set(cut.users.user_id), set(cut.items.item_id)
    kept = {r for r in named_rows(whole) if r[0] in users and r[1] in items}
    assert named_rows(cut) == kept
    assert load_dataset().n_items == 1682, "the book's own data are never cut"


def test_large_files_are_read_once(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    small = load_dataset(shop)
    monkeypatch.setattr(library, "LARGE_BYTES", 1)
    first = load_dataset(shop)

    def fail(*_: object, **__: object) -> None:
        pytest.fail("read again")

    monkeypatch.setattr(library, "load_interactions", fail)
    again = load_dataset(shop)
    for data in (first, again):
        pd.testing.assert_frame_equal(data.interactions, small.interactions)
        pd.testing.assert_frame_equal(data.items, small.items)
        assert (data.name, data.sha256) == (small.name, small.sha256)
    monkeypatch.setenv("RECSYS_LIKED", "rating>=5")
    with pytest.raises(pytest.fail.Exception):
        load_dataset(shop)


def test_progress_is_printed(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recsys_lib.data.tables._LOGGED", 1000)
    monkeypatch.setattr("recsys_lib.data.tables._CHUNK", 500)
    edition_of({"dataset": f"{shop}/."})
    lines = capsys.readouterr().out.splitlines()
    rows = [f"interactions.csv: {n},000 rows" for n in (1, 2, 3, 4)]
    assert lines == rows


AFTER = """\
+++ {"tags": ["needs-ratings"]}

Who likes what.

```{code-cell} ipython3
:tags: [needs-ratings]

stars = 4
```

What is left.
"""
CHAPTER = small_text('dataset = ""', AFTER)
SENTENCE = small_text(
    'dataset = ""',
    '+++ {"tags": ["needs-ratings"]}\n\nFour stars.\n\n+++\n\nWhat is left.',
)


def test_what_cannot_run_is_left_out_with_a_note(tmp_path: Path) -> None:
    chapter = small_chapter(tmp_path, CHAPTER)
    assert len(chapter.code) == 2
    cut = Chapter(chapter.path, frozenset({"ratings"}))
    assert cut.code == ['dataset = ""']
    prose = "\n".join(text for _, text in cut.prose)
    assert "Who likes what." not in prose
    assert prose.count(f"A part is left out here: {NEEDS['ratings']}.") == 1
    assert "What is left." in prose
    told = Chapter(small_chapter(tmp_path, SENTENCE).path, frozenset({"ratings"}))
    assert [text for _, text in told.prose] == ["# 1. A chapter", "What is left."]


def test_chapters_without_the_parameter_are_left_out(
    shop: Path, tmp_path: Path
) -> None:
    own = Edition(load_dataset(shop))
    other = small_text("load_movielens()", AFTER)
    chapters = [small_chapter(tmp_path, CHAPTER), small_chapter(tmp_path, other, 2)]
    (kept,) = fitting(chapters, own)
    assert (kept.number, kept.lacks) == ("01", own.lacks)
    assert left_out(chapters, own) == "left out: chapter 2 needs MovieLens"
    told = note(own, chapters)
    assert "on your data: shop" in told
    assert "80 users, 240 items, 4,000 interactions" in told
    assert "chapter 2 needs MovieLens" in told
    assert NEEDS["metadata"] in told
    with pytest.raises(BookError, match=r"DATASET: left out: chapter 2 needs"):
        fitting(chapters[1:], own)


def test_the_readers_files_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    chapter = small_chapter(tmp_path, CHAPTER)
    hashes = [{}, {"data items.csv": "a" * 64}, {"data items.csv": "b" * 64}]
    lock = ROOT / "requirements.lock"
    found = [
        fingerprint(chapter, {}, Inputs(ROOT / "recsys_lib", (), (), lock, "", own))
        for own in hashes
    ]
    assert found[1].parts["your data items.csv"] == "a" * 16
    assert len({one.digest for one in found}) == 3


@pytest.mark.parametrize(("mean", "told"), [(2.0, "stands"), (4.0, "falls")])
def test_the_ledger_shows_other_data_without_failing(mean: float, told: str) -> None:
    claims = [Claim("c", "1.1", "It is small.", "holds", "So.", "ch1.mean < 3")]
    record = {"value": mean, "low": None, "high": None, "n": None, "unit": ""}
    facts = {
        "dataset": "shop",
        "cpu": "fast",
        "cores": 2,
        "gpu": "",
        "profile": "smoke",
    }
    yours = Results({"ch1": {"mean": record}}, facts)
    page = ledger(judge_all(claims, yours), yours, {})
    assert "numbers below are from your data, shop." in page
    assert "this run: <span" in page
    assert f" {told}</span>" in page
    lacking = Results({"ch1": {}}, facts)
    page = ledger(judge_all(claims, lacking), lacking, {})
    assert "? not recorded</span>" in page
    assert "mean (not recorded)" in page
    with pytest.raises(BookError, match=r"no record 'ch1\.mean'"):
        judge_all(claims, Results({"ch1": {}}, {}))


def test_tags_of_the_chapters_name_known_needs() -> None:
    for chapter in find_chapters(ROOT / "chapters"):
        tags = {t for c in chapter.notebook.cells for t in c.metadata.get("tags", [])}
        needs = {t.removeprefix("needs-") for t in tags if t.startswith("needs-")}
        assert needs <= set(NEEDS), chapter.stem


def test_pages_of_own_data_say_the_reader_s_noun() -> None:
    lacking = frozenset({"movielens", "queries"})
    texts = {"intro.md": (ROOT / "book/intro.md").read_text()}
    for chapter in find_chapters(ROOT / "chapters"):
        for place, text in Chapter(chapter.path, lacking).prose:
            texts[f"{chapter.stem}, {place}"] = text
    wrong = [
        x for x, text in texts.items() if re.search(r"(?<![.\w])films?\b", text, re.I)
    ]
    assert not wrong
    said = {x.partition(",")[0] for x, text in texts.items() if "`run.noun" in text}
    assert len(said) >= 6


def press(verb: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "book.pipeline", verb, "--profile", "smoke"]
    command += ["--dataset", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.book
def test_the_book_is_made_of_clicks_without_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "made clicks", rated=False)
    monkeypatch.setenv("RECSYS_NOUN", "garment")
    done = press("build", folder, "--build-folder", "_build/test", "--editions", "en")
    assert done.returncode == 0, done.stderr
    left_out = "made clicks: no chapter is left out"
    assert left_out in done.stdout
    built = ROOT / "_build/test/own/made clicks"
    pages = {p.stem: p.read_text() for p in (built / "html").rglob("*.html")}
    for name in ("intro", "appendix_a", "01_overview", "03_algorithms"):
        assert "This edition was run on your data: made clicks" in pages[name], name
    assert NEEDS["ratings"] in pages["04_models"]
    assert NEEDS["movielens"] in pages["01_overview"]
    assert "Where it stands" in pages["ledger"]
    assert NEEDS["metadata"] in pages["02_foundations"]
    for name in ("intro", *(x for x in pages if x[:2].isdigit())):
        shown = re.findall(r"<(?:p|li|td|th|text|h\d)\b.*?</", pages[name], re.S)
        shown = [re.sub(r"<[^>]*>?", "", x) for x in shown]  # names of records stay
        wrong = [x for x in shown if re.search(r"\bfilms?\b", x)]
        assert not wrong, name
    assert re.search(r"240.{0,80}\n?.{0,80}garments", pages["01_overview"], re.S)
    results = Results.load(built / "results")
    assert results.get("ch1.ndcg_ease.low") > results.get("ch1.ndcg_random")
    assert results.get("ch4.taste_ease") is None
    assert str(tmp_path) not in "".join(pages.values())


@pytest.mark.book
def test_all_parts_run_on_the_layout_of_movielens_1m(tmp_path: Path) -> None:
    done = press("run", movielens_1m(tmp_path), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    run = json.loads((ROOT / "_build/runs/smoke-cpu-ml-1m/04_models.json").read_text())
    assert run["records"]["taste_ease"]["value"] > 0.5
    assert run["parts"]["parameter dataset"] == "'ml-1m'"
