"""The book's own data files, which `make data` downloads: names, hashes, folder."""

import os
from pathlib import Path

from recsys_lib.artifacts import sha256_of

MOVIELENS = [f"MovieLens100k_{x}.parquet.brotli" for x in ("data", "items", "users")]
REVIEWS = "WomensClothingE-CommerceReviews.parquet.brotli"
SHA256: dict[str, str] = {
    MOVIELENS[0]: "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2",
    MOVIELENS[1]: "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f",
    MOVIELENS[2]: "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f",
    REVIEWS: "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd",
}


def data_folder() -> Path:
    """Return the folder of the data: ``$RECSYS_DATA``, or ``data`` beside the library.

    >>> (data_folder() / REVIEWS).exists()
    True
    """
    default = Path(__file__).resolve().parents[2] / "data"
    return Path(os.environ.get("RECSYS_DATA") or default)


def checked_file(file: Path) -> Path:
    """Return one of the book's data files after checking its hash.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its content has changed.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} must exist; got no file: run `make data`")
    expected, got = SHA256[file.name], sha256_of(file)
    if got != expected:
        repair = "delete it and run `make data`"
        raise ValueError(f"{file} must have sha256 {expected}; got {got}: {repair}")
    return file
