"""Random tables in every way of writing them: read as written, or refused in words."""

import csv
import datetime
import gzip
import io
import json
import re
import zipfile

import pandas as pd
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from recsys_lib.data.own import load_interactions

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252")
HEADERS = {
    "user": ("user", "userId", "USER_ID", "uid", "customer id"),
    "item": ("item", "movieId", "item_id", "asin", "SKU"),
    "timestamp": ("timestamp", "time", "unixReviewTime", "event_time"),
    "rating": ("rating", "overall", "Stars"),
    "mood": ("mood",),
}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6}
START = 1_200_000_000
letters = st.text(
    st.sampled_from("abcXYZ 019éüßñ,;|\t\"'\n-红") | st.characters(codec="ascii"),
    min_size=1,
    max_size=12,
).filter(lambda x: x.strip() and "\0" not in x and "\r" not in x and "\x1a" not in x)
ids = st.one_of(st.integers(0, 10**12).map(str), letters, st.just("007"))


@st.composite
def tables(draw):
    items = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    rows = draw(
        st.lists(
            st.tuples(
                ids,
                st.sampled_from(items),
                st.integers(START, START + 10**8),
                st.sampled_from(["1", "4.5", "-2", "0"]),
            ),
            min_size=1,
            max_size=6,
        )
    )
    return items, rows


@st.composite
def ways(draw):
    names = {role: draw(st.sampled_from(usual)) for role, usual in HEADERS.items()}
    return {
        "kind": draw(st.sampled_from(["csv", "jsonl", "parquet"])),
        "escaped": draw(st.booleans()),
        "numbers": draw(st.booleans()),
        "order": draw(st.permutations(list(names))),
        "names": names,
        "encoding": draw(st.sampled_from(ENCODINGS)),
        "separator": draw(st.sampled_from(",;\t|")),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "end": draw(st.sampled_from(["\n", "\r\n"])),
        "unit": draw(st.sampled_from(["s", "ms", "us", "iso", "zone"])),
        "packed": draw(st.sampled_from(["", ".gz", ".zip"])),
    }


def write(path, header, rows, way):
    if way["kind"] == "csv":
        content = as_csv(header, rows, way).encode(way["encoding"])
    elif way["kind"] == "jsonl":
        objects = [dict(zip(header, row, strict=True)) for row in rows]
        lines = [json.dumps(x, ensure_ascii=way["escaped"]) for x in objects]
        content = (way["end"].join(lines) + way["end"]).encode(way["encoding"])
    else:
        columns = zip(*rows, strict=True)
        frame = pd.DataFrame(dict(zip(header, columns, strict=True)))
        content = frame.to_parquet(index=False)
    name = f"{path.stem}.{way['kind']}"
    file = path.with_name(name + way["packed"])
    if way["packed"] == ".gz":
        file.write_bytes(gzip.compress(content))
    elif way["packed"] == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, content)
    else:
        file.write_bytes(content)


def as_csv(header, rows, way):
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=way["separator"],
        quoting=way["quoting"],
        lineterminator=way["end"],
    )
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def time(seconds, unit):
    if unit in PER_SECOND:
        return str(seconds * PER_SECOND[unit])
    hours = 8 if unit == "zone" else 0
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    return datetime.datetime.fromtimestamp(seconds, zone).isoformat()


def typed(fields, way):
    """Numbers as JSON and Parquet have them, or strings."""
    if way["kind"] == "csv" or not way["numbers"]:
        return fields
    more = {"rating": [float(x) for x in fields["rating"]]}
    if way["unit"] in PER_SECOND:
        more["timestamp"] = [int(x) for x in fields["timestamp"]]
    return fields | more


def load(folder):
    try:
        return load_interactions(folder), ""
    except ValueError as error:
        return None, str(error)


counts = {"loaded": 0, "refused": 0}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), way=ways())
def test_a_table_is_read_as_written_or_refused_in_words(tmp_path_factory, table, way):
    items, rows = table
    folder = tmp_path_factory.mktemp("any")
    fields = {
        "user": [user for user, *_ in rows],
        "item": [item for _, item, *_ in rows],
        "timestamp": [time(at, way["unit"]) for _, _, at, _ in rows],
        "rating": [rating for *_, rating in rows],
        "mood": ["x"] * len(rows),
    }
    fields = typed(fields, way)
    header = [way["names"][role] for role in way["order"]]
    try:
        write(
            folder / "interactions.csv",
            header,
            list(zip(*(fields[role] for role in way["order"]), strict=True)),
            way,
        )
        texts = [[item, f"text of {item}"] for item in items]
        write(folder / "items.csv", ["item", "text"], texts, way)
    except UnicodeEncodeError:
        return  # this encoding cannot write it
    data, refusal = load(folder)
    if refusal:
        counts["refused"] += 1
        event(f"{way['kind']} refused")
        assert re.search(r"(items|interactions)\.(csv|jsonl|parquet)", refusal)
        return
    counts["loaded"] += 1
    event(f"{way['kind']} loaded")
    events = data.interactions
    read = pd.DataFrame(
        {
            "user": data.users.user_id.to_numpy()[events.user],
            "item": data.items.item_id.to_numpy()[events.item],
            "at": events.timestamp,
            "rating": events.rating,
        }
    )
    written = [(user, item, at, float(rating)) for user, item, at, rating in rows]
    assert list(read.itertuples(index=False, name=None)) == written
    by_id = dict(zip(data.items.item_id, data.items.text, strict=True))
    assert by_id == {item: f"text of {item}" for item in items}


def test_most_ways_of_writing_are_read():
    assert counts["loaded"] > 3 * counts["refused"], counts
