"""The data of the book, and of the reader, in one shape: `Dataset`.

Users and items are numbered from 0 without gaps, in the order of their original ids, so
that row i of ``items`` (and of any table of vectors) belongs to code i.
"""

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

_CARRIED = [
    f"MovieLens100k_{part}.parquet.brotli" for part in ("data", "items", "users")
]
_REVIEWS = "WomensClothingE-CommerceReviews.parquet.brotli"
SHA256: dict[str, str] = {
    _CARRIED[0]: "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2",
    _CARRIED[1]: "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f",
    _CARRIED[2]: "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f",
    _REVIEWS: "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd",
}
_GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
_REVIEW_COLUMNS = [
    *("clothing_id", "age", "title", "text", "rating", "recommended"),
    *("positive_feedback", "division", "department", "class_name"),
]
_RATING_COLUMNS = ["user_id", "movie_id", "rating", "timestamp"]
_NUMBERS = {
    **dict.fromkeys(["user_id", "movie_id", "userId", "movieId", "timestamp"], "int64"),
    "rating": "float32",
}
_NO_GENRE = {"", "unknown", "(no genres listed)"}
_YEAR = re.compile(r"\s*\((\d{4})(?:[-–]\s*(?:\d{4})?)?\)(?:\s*\(V\))?$")
_ARTICLE = re.compile(
    r"(^|\()([^()]+), (L'|(?:The|An?|Las?|Les?|Los?|El|Il|O|Das|Der|Die|De[nt]|Une?)\b)"
    r"(?=\s*(?:[()]|$))"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Who met what, and when.

    Attributes:
        name: Such as "ml-100k".
        interactions: Columns user, item (codes), rating, timestamp (seconds since
            1970), in file order.
        items: Row i describes item i: item_id, title, year (missing: NA), genres
            (tuple of str), text (title, year and genres in a sentence each).
        users: Row i describes user i: user_id and what else the source tells.
        sha256: Hash of each file read, by file name.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    sha256: Mapping[str, str]

    @property
    def n_users(self) -> int:
        """Number of users, those without interactions included."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Size of the catalogue, items without interactions included."""
        return len(self.items)


@dataclass(frozen=True, eq=False)
class ClothingReviews:
    """Reviews of garments: one text per row.

    Attributes:
        reviews: Columns item (code), clothing_id, age, title ("" if none), text,
            rating (1-5), recommended (bool), positive_feedback, division,
            department, class_name ("" if unknown). The rating gives ``recommended``
            away: never a feature for predicting it.
        sha256: Hash of the file read, by file name.
    """

    reviews: pd.DataFrame
    sha256: Mapping[str, str]

    @property
    def n_items(self) -> int:
        """Number of garments that have a review."""
        return int(self.reviews["item"].max()) + 1


def data_folder() -> Path:
    """Where the data lie: ``$RECSYS_DATA``, or ``data`` beside the library.

    >>> isinstance(data_folder(), Path)
    True
    """
    default = Path(__file__).resolve().parent.parent / "data"
    return Path(os.environ.get("RECSYS_DATA") or default)


def load_movielens(path: str | Path | None = None) -> Dataset:
    """Load MovieLens: the carried 100k files, or an official folder of any size.

    Args:
        path: Folder with ``u.data`` (100k), ``ratings.dat`` (1M, 10M) or
            ``ratings.csv`` (20M, 25M, 32M, latest); None for `data_folder`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a carried file has another hash, or a table cannot be read.

    Source: Harper & Konstan, ACM TiiS 5(4), 2015, doi 10.1145/2827872.

    >>> load_movielens().items.text[63]
    'The Shawshank Redemption (1994). Drama.'
    """
    folder = data_folder() if path is None else Path(path)
    for first_file, read in _LAYOUTS.items():
        if (folder / first_file).exists():
            return read(folder)
    raise FileNotFoundError(
        f"{folder} must hold one of {', '.join(_LAYOUTS)}; got none: run `make data`"
    )


def load_clothing_reviews(path: str | Path | None = None) -> ClothingReviews:
    """Load the Women's E-Commerce Clothing Reviews, rows without a text left out.

    Args:
        path: Folder of the carried file; None for `data_folder`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it has another hash.

    >>> len(load_clothing_reviews().reviews)
    22641
    """
    file = _carried(data_folder() if path is None else Path(path), _REVIEWS)
    raw = pd.read_parquet(file).set_axis(_REVIEW_COLUMNS, axis="columns")
    raw = raw[raw["text"].notna()].reset_index(drop=True)
    raw["recommended"] = raw["recommended"].astype(bool)
    named = ["title", "division", "department", "class_name"]
    raw[named] = raw[named].fillna("")
    raw.insert(0, "item", np.unique(raw["clothing_id"], return_inverse=True)[1])
    return ClothingReviews(raw, {_REVIEWS: SHA256[_REVIEWS]})


def load_interactions(folder: str | Path) -> Dataset:
    """Load a reader's own data: ``items.csv`` and ``interactions.csv``, in UTF-8.

    Args:
        folder: Holds ``items.csv`` (item, text, optional metadata: tags parted by
            "|", which become ``genres``) and ``interactions.csv`` (user, item,
            timestamp in seconds, optional rating, 1 by default). Ids are strings.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming file and line, if a column or field is missing, an id
            repeats or is unknown, a text is empty, a number is not one.
    """
    place = Path(folder)
    files = [place / "items.csv", place / "interactions.csv"]
    items, item_lines = _read_own(files[0], ("item", "text"))
    events, lines = _read_own(files[1], ("user", "item", "timestamp"))
    ids, texts = items["item"], items["text"]
    _refuse(files[0], item_lines, ids, ids.eq("") | ids.duplicated(), "a new item id")
    _refuse(files[0], item_lines, texts, texts.str.strip().eq(""), "a text")
    _refuse(files[1], lines, events["user"], events["user"].eq(""), "a user id")
    unknown = ~events["item"].isin(ids)
    _refuse(files[1], lines, events["item"], unknown, "an item of items.csv")
    ratings = events.rename(columns={"user": "user_id", "item": "item_id"})
    for column in ("timestamp", "rating"):
        given = ratings.get(column, pd.Series("1", index=ratings.index))
        number = pd.to_numeric(given, errors="coerce").replace(
            [np.inf, -np.inf], np.nan
        )
        _refuse(files[1], lines, given, number.isna(), f"a {column} in numbers")
        ratings[column] = number
    metadata = items.get("metadata", pd.Series("", index=items.index))
    catalogue = pd.DataFrame(
        {
            "item_id": ids,
            "title": texts,
            "year": pd.array([pd.NA] * len(ids), dtype="Int64"),
            "genres": [_tags(tags) for tags in metadata],
            "text": texts,
        }
    )
    return _assemble(place.name, ratings, catalogue, None, files)


def interaction_matrix(
    frame: pd.DataFrame, shape: tuple[int, int], *, values: str = "binary"
) -> csr_matrix:
    """Lay interactions out as a sparse matrix of users by items.

    Args:
        frame: Columns user and item, codes within the shape.
        shape: (n_users, n_items).
        values: "binary" (1 where the two met, however often), or a column of the
            frame, summed where a pair repeats.

    Returns:
        (n_users, n_items) float32.

    Raises:
        ValueError: If a code lies outside the shape.

    >>> pair = pd.DataFrame({"user": [0, 0], "item": [1, 1], "rating": [2.0, 3.0]})
    >>> interaction_matrix(pair, (1, 2), values="rating").toarray().tolist()
    [[0.0, 5.0]]
    """
    codes = [frame["user"].to_numpy(), frame["item"].to_numpy()]
    for name, code, size in zip(("user", "item"), codes, shape, strict=True):
        if len(code) and not 0 <= code.min() <= code.max() < size:
            raise ValueError(
                f"{name} codes must lie in [0, {size}); got {code.min()}..{code.max()}"
            )
    binary = values == "binary"
    data = np.ones(len(frame)) if binary else frame[values].to_numpy(np.float64)
    matrix = csr_matrix((data, (codes[0], codes[1])), shape=shape)
    if binary:
        matrix.data[:] = 1
    return matrix.astype(np.float32)


def _read_carried(folder: Path) -> Dataset:
    files = [_carried(folder, name) for name in _CARRIED]
    ratings, items, users = (pd.read_parquet(file) for file in files)
    return _assemble("ml-100k", ratings, _flagged(items), users, files)


def _read_100k(folder: Path) -> Dataset:
    files = [_existing(folder, f"u.{part}") for part in ("data", "item", "user")]
    columns = ["movie_id", "movie_title", "released", "video", "url", *_GENRES_100K]
    persons = ["user_id", "age", "gender", "occupation", "zip_code"]
    ratings = _table(files[0], "\t", _RATING_COLUMNS)
    items = _table(files[1], "|", columns, encoding="latin-1")
    users = _table(files[2], "|", persons)
    return _assemble("ml-100k", ratings, _flagged(items), users, files)


def _read_dat(folder: Path) -> Dataset:
    files = [_existing(folder, name) for name in ("ratings.dat", "movies.dat")]
    users, encoding = None, "utf-8"
    if (folder / "users.dat").exists():  # 1M; 10M has no users and is in UTF-8
        files.append(folder / "users.dat")
        columns = ["user_id", "gender", "age", "occupation", "zip_code"]
        users, encoding = _table(files[2], "::", columns), "latin-1"
    ratings = _table(files[0], "::", _RATING_COLUMNS)
    titled = ["movie_id", "title", "genres"]
    items = _table(files[1], "::", titled, encoding=encoding)
    return _assemble(folder.name, ratings, _listed(items), users, files)


def _read_csv(folder: Path) -> Dataset:
    files = [_existing(folder, name) for name in ("ratings.csv", "movies.csv")]
    names = {"userId": "user_id", "movieId": "movie_id"}
    ratings = _table(files[0], ",", [*names, "rating", "timestamp"], header=0)
    items = _table(files[1], ",", ["movieId", "title", "genres"], header=0)
    ratings, items = ratings.rename(columns=names), items.rename(columns=names)
    return _assemble(folder.name, ratings, _listed(items), None, files)


_LAYOUTS = {
    _CARRIED[0]: _read_carried,
    "u.data": _read_100k,
    "ratings.dat": _read_dat,
    "ratings.csv": _read_csv,
}


def _assemble(
    name: str,
    ratings: pd.DataFrame,
    items: pd.DataFrame,
    users: pd.DataFrame | None,
    files: Sequence[Path],
) -> Dataset:
    ratings = ratings.rename(columns={"movie_id": "item_id"})
    if users is None:
        users = pd.DataFrame({"user_id": np.unique(ratings["user_id"])})
    items = items.sort_values("item_id", ignore_index=True)
    users = users.sort_values("user_id", ignore_index=True)
    interactions = pd.DataFrame(
        {
            "user": _codes(ratings["user_id"], users["user_id"]),
            "item": _codes(ratings["item_id"], items["item_id"]),
            "rating": ratings["rating"].astype(np.float32),
            "timestamp": ratings["timestamp"].astype(np.int64),
        }
    )
    return Dataset(name, interactions, items, users, {f.name: _hash(f) for f in files})


def _codes(ids: "pd.Series[Any]", ordered: "pd.Series[Any]") -> npt.NDArray[np.int64]:
    codes = pd.Index(ordered).get_indexer(pd.Index(ids))
    if (codes < 0).any():
        example = ids[codes < 0].iloc[0]
        raise ValueError(
            f"every {ids.name} of an interaction must be described; "
            f"got {(codes < 0).sum()} that are not, such as {example}"
        )
    return np.asarray(codes, dtype=np.int64)


def _flagged(items: pd.DataFrame) -> pd.DataFrame:
    flags = items[_GENRES_100K].to_numpy(dtype=bool)
    genres = ["|".join(np.array(_GENRES_100K)[row]) for row in flags]
    return _catalogue(items["movie_id"], items["movie_title"], genres)


def _listed(items: pd.DataFrame) -> pd.DataFrame:
    return _catalogue(items["movie_id"], items["title"], items["genres"])


def _catalogue(
    ids: "pd.Series[Any]", titles: Iterable[str], genres: Iterable[str]
) -> pd.DataFrame:
    named = [_title_and_year(title) for title in titles]
    tags = [_tags(listed) for listed in genres]
    return pd.DataFrame(
        {
            "item_id": ids,
            "title": [title for title, _ in named],
            "year": pd.array([year for _, year in named], dtype="Int64"),
            "genres": tags,
            "text": [_text(*pair, t) for pair, t in zip(named, tags, strict=True)],
        }
    )


def _title_and_year(raw: str) -> tuple[str, int | None]:
    """Split "Postino, Il (1994)" into "Il Postino" and 1994."""
    title = raw.strip()
    found = _YEAR.search(title)
    title = title[: found.start()] if found else title
    title = _ARTICLE.sub(r"\1\3 \2", title).replace("L' ", "L'")
    return title, int(found[1]) if found else None


def _text(title: str, year: int | None, genres: tuple[str, ...]) -> str:
    dated = f"{title} ({year})" if year else title
    return f"{dated}. {', '.join(genres)}." if genres else f"{dated}."


def _tags(listed: str) -> tuple[str, ...]:
    parts = (tag.strip() for tag in listed.split("|"))
    return tuple(tag for tag in parts if tag not in _NO_GENRE)


def _existing(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder} must hold {name}; got none: run `make data`")
    return folder / name


def _carried(folder: Path, name: str) -> Path:
    file = _existing(folder, name)
    if (got := _hash(file)) != SHA256[name]:
        raise ValueError(
            f"{file} must have sha256 {SHA256[name]}; got {got}: "
            "delete it and run `make data`"
        )
    return file


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _table(
    file: Path,
    separator: str,
    columns: list[str],
    *,
    header: int | None = None,
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """Read columns of an official file; "::" becomes a tab, the fast way in pandas."""
    source: Any = file
    if separator == "::":
        source, separator = BytesIO(file.read_bytes().replace(b"::", b"\t")), "\t"
    try:
        return pd.read_csv(
            source,
            sep=separator,
            header=header,
            names=columns if header is None else None,
            usecols=columns,
            dtype={**_NUMBERS, "zip_code": "str"},
            encoding=encoding,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE if header is None else csv.QUOTE_MINIMAL,
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{file} must hold {columns}; got: {error}") from error


def _read_own(file: Path, required: tuple[str, ...]) -> tuple[pd.DataFrame, list[int]]:
    """Read a reader's file as strings, with the line on which each row ends."""
    rows, lines = [], []
    with _existing(file.parent, file.name).open(encoding="utf-8-sig", newline="") as f:
        reader = csv.reader(f, strict=True)
        try:
            header = next(reader, [])
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            at = f"{file}, after line {reader.line_num}"
            raise ValueError(f"{at}: must be CSV in UTF-8; got: {error}") from error
    if missing := set(required) - set(header):
        raise ValueError(
            f"{file}, line 1: must name {', '.join(required)}; got {header}, "
            f"without {', '.join(sorted(missing))}"
        )
    if not rows:
        raise ValueError(f"{file} must have rows below its header; got none")
    counts = pd.Series([len(row) for row in rows])
    _refuse(file, lines, counts, counts.ne(len(header)), f"{len(header)} fields")
    return pd.DataFrame(rows, columns=header), lines


def _refuse(
    file: Path,
    lines: Sequence[int],
    values: "pd.Series[Any]",
    bad: "pd.Series[bool]",
    rule: str,
) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        got = values.iloc[first]
        raise ValueError(f"{file}, line {lines[first]}: must have {rule}; got {got!r}")
