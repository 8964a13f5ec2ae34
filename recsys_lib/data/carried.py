"""The data files of the book, checked by their hashes."""

import os
from pathlib import Path

from recsys_lib.artifacts import sha256_of

_CARRIED = [f"MovieLens100k_{x}.parquet.brotli" for x in ("data", "items", "users")]


_REVIEWS = "WomensClothingE-CommerceReviews.parquet.brotli"


SHA256: dict[str, str] = {
    _CARRIED[0]: "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2",
    _CARRIED[1]: "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f",
    _CARRIED[2]: "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f",
    _REVIEWS: "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd",
}


def data_folder() -> Path:
    """Where the data lie: ``$RECSYS_DATA``, or ``data`` beside the library.

    >>> isinstance(data_folder(), Path)
    True
    """
    default = Path(__file__).resolve().parents[2] / "data"
    return Path(os.environ.get("RECSYS_DATA") or default)


def checked_file(file: Path, sha256: str) -> Path:
    """Return the file if it is the one that ``make data`` brings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another hash.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} must exist; got no file: run `make data`")
    if (got := sha256_of(file)) != sha256:
        mend = "delete it and run `make data`"
        raise ValueError(f"{file} must have sha256 {sha256}; got {got}: {mend}")
    return file
