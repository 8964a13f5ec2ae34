"""The service of the usual tutorial: FastAPI, and sentence-transformers per request."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.children.peer_worker import load_model


class Query(BaseModel):
    """A text, and the number of items to return."""

    text: str
    k: int = 10


def create_app(ids: list[str], texts: list[str]) -> FastAPI:
    """Make the service of a catalogue of texts."""
    model = load_model()
    index = faiss.IndexFlatIP(model.get_sentence_embedding_dimension() or 0)
    index.add(np.asarray(model.encode(texts, normalize_embeddings=True)))
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.post("/recommend")
    def recommend(query: Query) -> dict[str, Any]:
        vectors = model.encode([query.text], normalize_embeddings=True)
        scores, items = index.search(vectors, query.k)
        found = [ids[item] for item in items[0]]
        return {"items": found, "scores": scores[0].tolist()}

    return app


def main() -> None:
    """Serve the catalogue of a JSON file ``{"ids": [...], "texts": [...]}``."""
    app = create_app(**json.loads(Path(sys.argv[1]).read_text()))
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        host, port = listener.getsockname()[:2]
        print(f"listening on http://{host}:{port}", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
