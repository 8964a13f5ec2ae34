"""The demo service: MovieLens over HTTP, started by `make serve`."""

import argparse
import gc
import math

import pandas as pd

from recsys_lib.arguments import ends_in_a_sentence
from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.data.movielens import load_movielens
from recsys_lib.embeddings.encoder import PRECISIONS, calibration_sample, load_encoder
from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.embeddings.own import book_model, find_models
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores
from recsys_lib.models.ease import fit_ease
from recsys_lib.models.neighbours import fit_popularity
from recsys_lib.ranking.index import build_index
from recsys_lib.serving.item_filter import item_fields
from recsys_lib.serving.recommender import Recommender
from recsys_lib.serving.service import create_app
from recsys_lib.serving.web_server import check_address, serve

with needs("serving"):
    from fastapi import FastAPI


def movielens_recommender(encoder: TextEncoder) -> Recommender:
    """Recommend films: EASE for histories, popularity for users without one.

    Args:
        encoder: Embeds the descriptions of the films now, and texts later.

    Raises:
        FileNotFoundError: If the MovieLens data are missing.
    """
    data = load_movielens()
    seen = interaction_matrix(data.interactions, (data.n_users, data.n_items))
    texts = list(data.items["text"])
    vectors = encoder.encode(texts, role="document")
    index = build_index(vectors, filled_by=fingerprint_of(encoder))
    ids = [str(item) for item in data.items["item_id"]]
    years: list[int | list[int]] = [
        [] if pd.isna(year) else int(year) for year in data.items["year"]
    ]
    fields = item_fields({"genre": list(data.items["genres"]), "year": years})
    models = fit_ease(seen), fit_popularity(seen)
    return Recommender(ids, encoder, index, *models, fields)


_MAX_BATCH = {"openvino": 1, "onnxruntime": 4, "torch": 32, "table": 32}  # by engine


def main() -> None:
    """Serve MovieLens with the options of the command line."""
    with ends_in_a_sentence("make serve"):
        given = _options()
        check_address(given.host, given.port)
        serve(_app(given), host=given.host, port=given.port)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recsys_lib.serving.movielens")
    parser.add_argument("--host", default="127.0.0.1", help="of IPv4 or IPv6")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    parser.add_argument("--models", default="", help="your encoder, folder or id")
    parser.add_argument("--engine", default="auto", choices=["auto", *PRECISIONS])
    parser.add_argument("--max-batch", type=int, help="default: by the engine")
    parser.add_argument("--max-queue", type=int, default=256)
    parser.add_argument("--deadline-ms", type=float, default=1000.0)
    given = parser.parse_args()
    for name in ("max_batch", "max_queue"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1; got {value}")
    if not 0 < given.deadline_ms < math.inf:
        parser.error(f"--deadline-ms must be above 0; got {given.deadline_ms}")
    if not 0 <= given.port <= 65535:
        parser.error(f"--port must lie in [0, 65535]; got {given.port}")
    return given


def _app(given: argparse.Namespace) -> FastAPI:
    sample = calibration_sample(load_movielens().items["text"].tolist())
    find_models(given.models)  # prints the size of a large one
    encoder = load_encoder(
        book_model(given.models), engine=given.engine, n_threads=1, calibration=sample
    )
    app = create_app(
        movielens_recommender(encoder),
        # under load, one forward pass per core is faster than all cores on each pass
        workers=1 if given.engine == "torch" else usable_cores(),
        max_batch=given.max_batch or _MAX_BATCH[encoder.engine],
        max_queue=given.max_queue,
        deadline_ms=given.deadline_ms,
        embeddings_model=given.models or "all-MiniLM-L6-v2",
    )
    gc.freeze()  # keeps garbage collection from searching the model and the data
    return app


if __name__ == "__main__":
    main()
