"""Our service in replicas of Ray Serve, one for each core."""

from fastapi import FastAPI

from benchmarks.children.worker import stay_at
from recsys_lib.data.movielens import load_movielens
from recsys_lib.embeddings.encoder import calibration_sample, load_encoder
from recsys_lib.machine import usable_cores
from recsys_lib.scaling.ray_serving import ray_started, serve_replicas
from recsys_lib.serving.movielens import movielens_recommender
from recsys_lib.serving.service import create_app


def make_app() -> FastAPI:
    """The app that the service without Ray serves, with one worker."""
    texts = load_movielens().items["text"].tolist()
    encoder = load_encoder(n_threads=1, calibration=calibration_sample(texts))
    return create_app(movielens_recommender(encoder), embeddings_model="minilm")


def main() -> None:
    """Serve until SIGTERM."""
    with ray_started(), serve_replicas(make_app, n_replicas=usable_cores()) as url:
        stay_at(url)


if __name__ == "__main__":
    main()
