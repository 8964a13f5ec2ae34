"""Public data sets in the files they come in: Amazon's reviews, RecBole's sets."""

import gzip
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data.catalogue import described_by_reviews
from recsys_lib.data.movielens import load_movielens
from recsys_lib.data.own import load_interactions
from recsys_lib.data.splits import hold_out_items, stratified_split, temporal_split

REVIEWS = {  # year -> a review as in the files of that year
    2014: {
        "reviewerID": "A1",
        "asin": "B1",
        "reviewerName": "J. 'X'",
        "helpful": [2, 3],
        "reviewText": "Smells good.",
        "overall": 5.0,
        "summary": "Nice",
        "unixReviewTime": 1252800000,
        "reviewTime": "09 13, 2009",
    },
    2018: {
        "overall": 5.0,
        "verified": True,
        "reviewTime": "09 13, 2009",
        "reviewerID": "A1",
        "asin": "B1",
        "style": {"Size:": " Large"},
        "reviewText": "Smells good.",
        "summary": "Nice",
        "unixReviewTime": 1252800000,
    },
    2023: {
        "rating": 5.0,
        "title": "Nice",
        "text": "Smells good.",
        "images": [],
        "asin": "B1-red",
        "parent_asin": "B1",
        "user_id": "A1",
        "timestamp": 1252800000123,
        "helpful_vote": 0,
        "verified_purchase": True,
    },
}
PRODUCTS = {
    2014: {
        "asin": "B1",
        "title": "Rose soap",
        "description": "It's mild\\d.",
        "categories": [["Beauty", "Bath"], ["Beauty", "Gifts"]],
        "salesRank": {"Beauty": 7},
    },
    2018: {
        "category": ["Beauty", "Bath", "Gifts"],
        "description": ["It's mild\\d."],
        "title": "Rose soap",
        "feature": ["100 g", "Made in Lyon"],
        "asin": "B1",
    },
    2023: {
        "main_category": "All Beauty",
        "title": "Rose soap",
        "features": ["100 g", "Made in Lyon"],
        "description": ["It's mild\\d."],
        "store": "Lyon",
        "categories": ["Beauty", "Bath", "Gifts"],
        "parent_asin": "B1",
    },
}
NAMES = {
    2014: ("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"),
    2018: ("All_Beauty_5.json.gz", "meta_All_Beauty.json.gz"),
    2023: ("All_Beauty.jsonl", "meta_All_Beauty.jsonl"),
}
IDS = {2014: "asin", 2018: "asin", 2023: "parent_asin"}


def wrote(folder, year, reviews, products=()):
    for name, rows in zip(NAMES[year], (reviews, products), strict=True):
        as_text = repr if year == 2014 and name.startswith("meta") else json.dumps
        content = "".join(f"{as_text(row)}\n" for row in rows).encode()
        packed = gzip.compress(content) if name.endswith(".gz") else content
        if rows:
            (folder / name).write_bytes(packed)
    return folder


@pytest.mark.parametrize("year", REVIEWS)
def test_amazon_reviews_with_their_metadata(tmp_path, year):
    review, product, item = REVIEWS[year], PRODUCTS[year], IDS[year]
    unknown, silent = review | {item: "B9"}, review | {item: "B2"}
    without = {key: [] if isinstance(x, list) else "" for key, x in product.items()}
    products = [product, product, product | {item: "B3"}, without | {item: "B2"}]
    data = load_interactions(wrote(tmp_path, year, [review, unknown, silent], products))
    assert data.items.item_id.tolist() == ["B1"]
    parts = ["Rose soap.", "100 g Made in Lyon."] if year > 2014 else ["Rose soap."]
    assert data.items.text.tolist() == [" ".join([*parts, "It's mild\\d."])]
    assert data.items.title.tolist() == ["Rose soap"]
    assert data.items.genres.tolist() == [("Beauty", "Bath", "Gifts")]
    assert data.users.user_id.tolist() == ["A1"]
    row = data.interactions.iloc[0]
    assert (row.rating, row.timestamp, row.text) == (5, 1252800000, "Smells good.")
    unit = "milliseconds" if year == 2023 else "seconds"
    assert f"1 interactions of {NAMES[year][0]}, times in {unit} since" in (
        data.understood
    )
    assert "2 interactions with items without a text left out" in data.understood
    with pytest.raises(ValueError, match=r"must describe items .* are the metadata of"):
        load_interactions(wrote(tmp_path, year, [unknown], products))


def reviewed(folder, year, texts):
    """Reviews of one product, an hour apart, each by another user."""
    text, time = ("text", "timestamp") if year == 2023 else ("reviewText", "")
    time, user = (time or "unixReviewTime"), "user_id" if year == 2023 else "reviewerID"
    hour = 3_600_000 if year == 2023 else 3600
    rows = [
        REVIEWS[year]
        | {text: x, user: f"A{n}", time: REVIEWS[year][time] + n * hour}
        | {"title": f"Title {n}"}
        for n, x in enumerate(texts)
    ]
    return wrote(folder, year, rows[::-1])


@pytest.mark.parametrize("year", REVIEWS)
def test_amazon_reviews_without_metadata(tmp_path, year):
    folder = reviewed(tmp_path, year, ["One.", "Two.", "3.", "4.", "5.", "6."])
    for path in (folder, folder / NAMES[year][0]):
        data = load_interactions(path)
        assert data.items.text.tolist() == ["One. Two."]
        assert data.items.title.tolist() == ["B1"]
        assert data.interactions.text.tolist() == ["6.", "5.", "4.", "3."]
        assert data.users.user_id.tolist() == ["A2", "A3", "A4", "A5"]
        assert "2 interactions, with these reviews or before them" in data.understood
    reviewed(tmp_path, year, ["One.", ""])
    assert load_interactions(tmp_path).items.text.tolist() == ["One."]
    reviewed(tmp_path, year, ["", ""])
    with pytest.raises(ValueError, match="must describe items that have interactions"):
        load_interactions(tmp_path)


logs = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(0, 4), st.integers(0, 9), st.sampled_from("ab ")
    ),
    min_size=1,
    max_size=40,
)


@given(logs)
def test_no_text_is_of_an_interaction_that_stays_or_later(rows):
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "text"])
    log["text"] = [f"{n}{t}" if t.strip() else "" for n, t in enumerate(log.text)]
    items, rest, _ = described_by_reviews(log)
    assert set(items.item_id) == set(rest.item_id)
    by_text = log[log.text != ""].set_index("text")
    for item, text in zip(items.item_id, items.text, strict=True):
        of_item = rest[rest.item_id == item]
        used = by_text.loc[text.split()]
        assert 1 <= len(used) <= max(1, (log.item_id == item).sum() // 3)
        assert (used.item_id == item).all()
        assert not set(used.user_id) & set(of_item.user_id)
        assert used.timestamp.max() <= of_item.timestamp.min()


def test_no_split_has_a_text_of_its_test_data(tmp_path):
    rows = [
        {
            "user": f"u{n % 7}",
            "item": f"i{n % 11}",
            "time": 10**9 + n,
            "review": f"r{n}",
        }
        for n in range(400)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "reviews.csv", index=False)
    data = load_interactions(tmp_path)
    words = set(" ".join(data.items.text).split())
    once = data.interactions.drop_duplicates(["user", "item"])
    splits = [stratified_split(once), temporal_split(once)]
    tests = [split.test.text for split in splits]
    held = hold_out_items(once, (data.n_users, data.n_items))
    tests.append(once.text[once["item"].isin(held.items)])
    for texts in tests:
        assert len(texts)
        assert words.isdisjoint(texts)


RECBOLE = {
    "ml-tiny.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3\t881250949\n186\t302\t4.5\t891717742\n",
    "ml-tiny.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\t"
    'class:token_seq\n242\tKolya "K"\t1996\tComedy\n302\tL.A. Confidential\t\t'
    "Children's Crime\n",
    "ml-tiny.user": "user_id:token\tage:token\n196\t49\n",
}


def test_recbole_s_atomic_files(tmp_path):
    for name, text in RECBOLE.items():
        (tmp_path / name).write_text(text)
    data = load_interactions(tmp_path)
    assert data.items.title.tolist() == ['Kolya "K"', "L.A. Confidential"]
    assert data.items.year.astype(object).tolist() == [1996, pd.NA]
    assert data.items.genres.tolist() == [("Comedy",), ("Children's", "Crime")]
    assert data.interactions.rating.tolist() == [3, 4.5]
    assert data.interactions.timestamp.tolist() == [881250949, 891717742]
    assert "user=user_id:token" in data.understood
    named = load_interactions(tmp_path, columns={"title": "class"})
    assert named.items.title.tolist() == ["Comedy", "Children's Crime"]
    categories = RECBOLE["ml-tiny.item"].replace("Comedy", "'Movies & TV', 'Comedy'")
    (tmp_path / "ml-tiny.item").write_text(categories)
    assert load_interactions(tmp_path).items.genres[0] == ("Movies & TV", "Comedy")
    (tmp_path / "ml-tiny.inter").write_text("user_id\titem_id\n1\t2\n")
    with pytest.raises(ValueError, match=r"tiny\.inter must have a header of names wi"):
        load_interactions(tmp_path)
    (tmp_path / "ml-tiny.inter").write_text(RECBOLE["ml-tiny.inter"] + "1\t2\n")
    with pytest.raises(ValueError, match=r"\.inter, line 4: must have 4 fields"):
        load_interactions(tmp_path)
    (tmp_path / "other.inter").write_text(RECBOLE["ml-tiny.inter"])
    with pytest.raises(ValueError, match=r"must hold one table like inter.*; got ml-t"):
        load_interactions(tmp_path)


def test_recbole_without_items_is_refused_in_words(tmp_path):
    (tmp_path / "x.inter").write_text(RECBOLE["ml-tiny.inter"])
    with pytest.raises(
        ValueError, match=r"a title, a text or a review of each item, or"
    ):
        load_interactions(tmp_path)


def test_recbole_reads_movielens_as_the_book_does(tmp_path):
    films = load_movielens()
    events = films.interactions
    users, items = films.users.user_id[events.user], films.items.item_id[events.item]
    rows = zip(users, items, events.rating, events.timestamp, strict=True)
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    lines = "\n".join(f"{u}\t{i}\t{r}\t{t}" for u, i, r, t in rows)
    (tmp_path / "ml.inter").write_text(f"{header}\n{lines}\n")
    titles = zip(films.items.item_id, films.items.title, strict=True)
    lines = "\n".join(f"{i}\t{title}" for i, title in titles)
    (tmp_path / "ml.item").write_text(f"item_id:token\tmovie_title:token_seq\n{lines}")
    data = load_interactions(tmp_path)
    assert (data.n_users, data.n_items) == (943, 1682)
    for name in ("rating", "timestamp"):
        assert data.interactions[name].equals(events[name])
