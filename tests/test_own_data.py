"""The reader's own data: read, refused, and run through the chapters that can."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from book.pipeline.chapters import NEEDS, BookError, Chapter, find_chapters
from book.pipeline.edition import fitting, left_out, note, own_data
from book.pipeline.results import Results
from recsys_lib import own_data as library
from recsys_lib.own_data import lacks, liked_from, load_dataset

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ["lamp shade light", "garden spade soil", "kettle tea cup", "wool yarn knit"]


def made(folder: Path, *, rated: bool = True, n_users: int = 80) -> Path:
    """A shop of four topics, whose customers each like one of them."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    words = [TOPICS[item % 4].split() for item in range(240)]
    items = [f'p{n},"{" ".join(rng.permutation(w))}, no. {n}"' for n, w in enumerate(words)]
    (folder / "items.csv").write_text("\n".join(["item,text", *items]))
    rows = ["user,item,timestamp" + ",rating" * rated]
    for user in range(n_users):
        weight = np.where(np.arange(240) % 4 == user % 4, 6.0, 1.0) / (1 + np.arange(240))
        for t, item in enumerate(rng.choice(240, 50, replace=False, p=weight / weight.sum())):
            stars = rng.integers(3, 6) if item % 4 == user % 4 else rng.integers(1, 5)
            rows.append(f"c{user},p{item},{10**9 + 60 * t}" + f",{stars}" * rated)
    (folder / "interactions.csv").write_text("\n".join(rows))
    return folder


def movielens_1m(folder: Path) -> Path:
    """The same in the layout of MovieLens 1M: three tables parted by colons."""
    own = load_dataset(made(folder / "csv"))
    place = folder / "ml-1m"
    place.mkdir()
    films = [f"{i + 1}::{t} (1995)::Drama|War" for i, t in enumerate(own.items.title)]
    users = [f"{u + 1}::F::1::10::48067" for u in range(own.n_users)]
    rows = own.interactions.itertuples()
    ratings = [f"{r.user + 1}::{r.item + 1}::{r.rating:.0f}::{r.timestamp}" for r in rows]
    for name, lines in {"movies": films, "users": users, "ratings": ratings}.items():
        (place / f"{name}.dat").write_text("\n".join(lines), encoding="latin-1")
    return place
