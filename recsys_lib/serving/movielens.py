"""The book's films as a recommender, for measurements of the service."""

from recsys_lib.data.movielens import load_movielens
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.serving.dataset_service import dataset_recommender
from recsys_lib.serving.recommender import Recommender


def movielens_recommender(encoder: TextEncoder) -> Recommender:
    """Recommend films as `dataset_service.dataset_recommender` does.

    Args:
        encoder: Embeds the descriptions of the films now, and texts later.

    Raises:
        FileNotFoundError: If the MovieLens data are missing.
    """
    return dataset_recommender(load_movielens(), encoder)
