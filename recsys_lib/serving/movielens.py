"""The recommender of MovieLens, served over HTTP by `python -m`."""

import argparse
import gc

from recsys_lib.data.dataset import interaction_matrix
from recsys_lib.data.movielens import load_movielens
from recsys_lib.embeddings.encoder import TextEncoder
from recsys_lib.machine import usable_cores
from recsys_lib.models.ease import fit_ease
from recsys_lib.models.neighbours import fit_popularity
from recsys_lib.ranking.index import build_index
from recsys_lib.serving.recommender import Recommender
from recsys_lib.serving.service import create_app
from recsys_lib.serving.web_server import serve


def movielens_recommender(encoder: TextEncoder) -> Recommender:
    """Recommend the films of MovieLens: EASE for histories, popularity for cold users.

    Args:
        encoder: Embeds the films' descriptions now, and texts later.

    Raises:
        FileNotFoundError: If the data are not there.
    """
    data = load_movielens()
    met = interaction_matrix(data.interactions, (data.n_users, data.n_items))
    index = build_index(encoder.encode(list(data.items["text"])))
    ids = [str(item) for item in data.items["item_id"]]
    return Recommender(ids, encoder, index, fit_ease(met), fit_popularity(met))


_MOST_TOGETHER = {"openvino": 1, "onnxruntime": 4, "torch": 32}  # texts, by engine


def main() -> None:
    """Serve MovieLens with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m recsys_lib.serving.movielens")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    engines = "auto, torch, openvino or onnxruntime"
    parser.add_argument("--engine", default="auto", help=engines)
    parser.add_argument("--max-batch", type=int, help="default: by the engine")
    parser.add_argument("--max-queue", type=int, default=256)
    parser.add_argument("--deadline-ms", type=float, default=1000.0)
    given = vars(parser.parse_args())
    options = {name: x for name, x in given.items() if x is not None}
    host, port, engine = (options.pop(name) for name in ("host", "port", "engine"))
    # after a wrong option: these take seconds
    from recsys_lib.embeddings.encoder import calibration_sample, load_encoder

    # one pass a core answers more, and sooner under load, than all cores on each pass
    workers = 1 if engine == "torch" else usable_cores()
    known = calibration_sample(load_movielens().items["text"].tolist())
    encoder = load_encoder(engine=engine, n_threads=1, calibration=known)
    recommender = movielens_recommender(encoder)
    options = {"max_batch": _MOST_TOGETHER[encoder.engine]} | options
    gc.freeze()  # what stays for ever is not searched for garbage between answers
    serve(create_app(recommender, workers=workers, **options), host=host, port=port)


if __name__ == "__main__":
    main()
