"""Keep a data set in a folder as it was read, so that large files are read once."""

import json
from pathlib import Path

import pandas as pd

from recsys_lib.data.dataset import Dataset

_TABLES = ("interactions", "items", "users")
_FACTS = ("name", "sha256", "understood", "threshold", "noun", "nouns")


def store_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a data set into a folder, in Parquet and JSON."""
    for name in _TABLES:
        getattr(dataset, name).to_parquet(folder / f"{name}.parquet")
    facts = {name: getattr(dataset, name) for name in _FACTS}
    facts["sha256"] = dict(dataset.sha256)
    (folder / "facts.json").write_text(json.dumps(facts))


def stored_dataset(folder: Path) -> Dataset:
    """Read what `store_dataset` wrote."""
    events, items, users = (pd.read_parquet(folder / f"{x}.parquet") for x in _TABLES)
    items["genres"] = items["genres"].map(tuple)
    facts = json.loads((folder / "facts.json").read_text())
    return Dataset(interactions=events, items=items, users=users, **facts)
