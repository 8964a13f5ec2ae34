"""Our service with its encoder swapped for sentence-transformers' default."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.children.peer_worker import load_model
from recsys_lib.embeddings.recipe import Role
from recsys_lib.serving.movielens import movielens_recommender
from recsys_lib.serving.service import create_app
from recsys_lib.serving.web_server import serve


class PeerEncoder:
    """sentence-transformers as an encoder of our service."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model.get_sentence_embedding_dimension())

    def encode(
        self, texts: Sequence[str], *, role: Role | None = None
    ) -> npt.NDArray[np.float32]:
        """Unit vectors (n, dim); the model has no prompts for roles."""
        vectors = self.model.encode(list(texts), normalize_embeddings=True)
        return np.asarray(vectors, dtype=np.float32)


def main() -> None:
    """Serve MovieLens on a free port."""
    model = load_model()
    serve(create_app(movielens_recommender(PeerEncoder(model))), port=0)


if __name__ == "__main__":
    main()
