"""The recommender of a data set over HTTP, started by `make serve`."""

import argparse
import gc
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from recsys_lib.arguments import ends_in_a_sentence
from recsys_lib.arrays import BoolArray, Float32Array, FloatArray
from recsys_lib.artifacts import cache_arrays
from recsys_lib.data.dataset import Dataset, interaction_matrix
from recsys_lib.data.metadata import genre_features
from recsys_lib.data.own import load_dataset
from recsys_lib.embeddings.encoder import PRECISIONS, calibration_sample, load_encoder
from recsys_lib.embeddings.fingerprint import fingerprint_of
from recsys_lib.embeddings.own import find_models
from recsys_lib.embeddings.pretrained import MINILM_SHA256
from recsys_lib.embeddings.stored_vectors import stored_vectors
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.extras import needs
from recsys_lib.machine import usable_cores
from recsys_lib.models.ease import fit_ease
from recsys_lib.models.history_model import HistoryModel, ItemToItem
from recsys_lib.models.hybrid import ContentModel, place_cold_items
from recsys_lib.models.neighbours import fit_popularity
from recsys_lib.ranking.index import build_index
from recsys_lib.ranking.top_n import top_n
from recsys_lib.serving.item_filter import item_fields
from recsys_lib.serving.recommender import Recommender
from recsys_lib.serving.service import create_app
from recsys_lib.serving.web_server import check_address, serve

with needs("serving"):
    from fastapi import FastAPI

LARGEST_EASE = 10_000  # items: its table of items by items has 400 MB
# Of the ridge that places items without interactions: of 1, 5 and 20 the best for a
# tenth of MovieLens' films when hidden, which then get 3 % of the places.
_PLACES_L2 = 5.0
_SAMPLE_USERS = 1000
_MAX_BATCH = {"openvino": 1, "onnxruntime": 4, "torch": 32, "table": 32}  # by engine


@dataclass(frozen=True, eq=False)
class HistoryFit:
    """What answers histories, and where it comes from.

    Attributes:
        model: EASE with all items in it, or the vectors of the texts.
        how: In words, for the first lines of the service.
    """

    model: HistoryModel
    how: str


def dataset_recommender(
    data: Dataset, encoder: TextEncoder, vectors: Float32Array | None = None
) -> Recommender:
    """Recommend the items of a data set by histories and by texts.

    Histories are answered as `fit_histories` says, and empty ones by popularity.

    Args:
        data: Its items' ids and titles are in the answers.
        encoder: Embeds texts as queries.
        vectors: (n_items, dim) of the items' texts; None to encode them now.
    """
    if vectors is None:
        vectors = encoder.encode(data.items["text"].tolist(), role="document")
    return _recommender(data, encoder, vectors, fit_histories(data, vectors).model)


def fit_histories(data: Dataset, vectors: Float32Array) -> HistoryFit:
    """Fit EASE, and place items without interactions by their texts and tags.

    Two ridge regressions on the other items predict what such an item adds to the
    scores of others, and what others add to its score. In a catalogue of more than
    10,000 items, the vectors of the texts answer histories instead.

    Args:
        data: With the text and the tags of each item.
        vectors: (n_items, dim) of the texts.
    """
    if data.n_items > LARGEST_EASE:
        how = f"by the texts' vectors: more than {LARGEST_EASE:,} items are no EASE"
        return HistoryFit(ContentModel(vectors), how)
    seen = interaction_matrix(data.interactions, (data.n_users, data.n_items))
    cold = without_interactions(data)
    features = np.hstack([vectors, genre_features(data.items)])

    def fit() -> list[Float32Array]:
        weights = np.asarray(fit_ease(seen).weights)
        return [_placed(weights, features, cold) if cold.any() else weights]

    inputs = [seen.indptr, seen.indices, list(seen.shape), features * cold.any()]
    found = cache_arrays("histories", inputs, fit)
    model = ItemToItem(found.arrays[0])
    how = f"EASE, {_whence('fitted', found.seconds, is_new=found.is_new)}"
    if cold.any():
        share = _share_of_places(model, seen, cold)
        how += (
            f"; the {cold.sum():,} items without interactions, placed by their texts "
        )
        how += f"and tags, have {share:.1%} of the places in lists of ten"
    return HistoryFit(model, how)


def without_interactions(data: Dataset) -> BoolArray:
    """Mark the items that no user interacted with, (n_items,)."""
    counts = np.bincount(data.interactions["item"], minlength=data.n_items)
    return np.asarray(counts == 0)


def _placed(
    weights: Float32Array, features: FloatArray, cold: BoolArray
) -> Float32Array:
    """EASE's weights with predicted columns, then rows, of the items in `cold`."""
    columns = place_cold_items(weights.T, features, cold, l2=_PLACES_L2).T
    both = place_cold_items(columns, features, cold, l2=_PLACES_L2)
    return both.astype(np.float32)


def _share_of_places(model: ItemToItem, seen: csr_matrix, cold: BoolArray) -> float:
    """Share of the places that some items have in the lists of the first users."""
    some = seen[:_SAMPLE_USERS]
    best = top_n(model.score(some), min(10, len(cold)), exclude=some).items
    return float(cold[best[best >= 0]].mean())


def _recommender(
    data: Dataset, encoder: TextEncoder, vectors: Float32Array, model: HistoryModel
) -> Recommender:
    seen = interaction_matrix(data.interactions, (data.n_users, data.n_items))
    years: list[list[int]] = [
        [] if pd.isna(year) else [int(year)] for year in data.items["year"]
    ]
    return Recommender(
        [str(item) for item in data.items["item_id"]],
        encoder,
        build_index(vectors, filled_by=fingerprint_of(encoder)),
        model,
        fit_popularity(seen),
        titles=[str(title) for title in data.items["title"]],
        fields=item_fields({"genre": list(data.items["genres"]), "year": years}),
    )


def main() -> None:
    """Serve a data set with the options of the command line."""
    with ends_in_a_sentence("make serve"):
        given = _options()
        check_address(given.host, given.port)
        serve(_app(given), host=given.host, port=given.port)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m recsys_lib.serving.dataset_service"
    )
    parser.add_argument("--host", default="127.0.0.1", help="of IPv4 or IPv6")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    parser.add_argument("--dataset", default="", help="your data, folder or file")
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
    models = find_models(given.models)  # prints the size of a large one
    data = load_dataset(given.dataset, whole=True)
    n_cold = without_interactions(data).sum()
    print(
        f"data: {data.name}, {data.n_users:,} users, {data.n_items:,} items "
        f"({n_cold:,} without interactions), {len(data.interactions):,} interactions"
    )
    texts = data.items["text"].tolist()
    encoder = load_encoder(
        models[0].folder if models else None,
        engine=given.engine,
        n_threads=1,
        calibration=calibration_sample(texts),
    )
    name = models[0].name if models else "all-MiniLM-L6-v2"
    layers = f"on {encoder.engine} in {getattr(encoder, 'precision', 'float32')}"
    print(f"model: {name}, {encoder.n_parameters:,} parameters, {layers}")
    identity = models[0].sha256 if models else MINILM_SHA256
    read = stored_vectors(encoder, identity, texts, say=print)
    whence = _whence("encoded", read.seconds, is_new=read.is_new)
    print(f"vectors: {data.n_items:,} texts, {whence}")
    fit = fit_histories(data, read.vectors)
    print(f"histories: {fit.how}")
    recommender = _recommender(data, encoder, read.vectors, fit.model)
    app = create_app(
        recommender,
        # under load, one forward pass per core is faster than all cores on each pass
        workers=1 if given.engine == "torch" else usable_cores(),
        max_batch=given.max_batch or _MAX_BATCH[encoder.engine],
        max_queue=given.max_queue,
        deadline_ms=given.deadline_ms,
        catalogue=frozenset(recommender.item_ids),
        embeddings_model=name,
    )
    gc.freeze()  # keeps garbage collection from searching the model and the data
    return app


def _whence(done: str, seconds: float, *, is_new: bool) -> str:
    if is_new:
        return f"{done} now in {seconds:.1f} s"
    return f"from the cache ({done} in {seconds:.1f} s)"


if __name__ == "__main__":
    main()
