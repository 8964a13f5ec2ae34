"""sentence-transformers on Ray Serve, with the batches that Ray's manual shows.

One replica for each core. A batch does not wait to fill, which would delay every lone
request.
"""

import base64
import os
import socket
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.children.peer_worker import load_model
from benchmarks.children.worker import stay_at

CORES = len(os.sched_getaffinity(0))
MOST = 512  # requests at a replica, as in ours


@serve.deployment(num_replicas=CORES, max_ongoing_requests=MOST)
class Embeddings:
    """``/v1/embeddings`` for one text a request, in base64."""

    def __init__(self) -> None:
        self.model = load_model()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0)
    async def encode(self, texts: list[str]) -> Any:
        """Unit vectors of the texts that arrived together."""
        return list(self.model.encode(texts, normalize_embeddings=True))

    async def __call__(self, request: Request) -> Any:
        """Answer in the shape of OpenAI's API."""
        query = await request.json()
        vector = await self.encode(query["input"])
        coded = base64.b64encode(vector.tobytes()).decode()
        data = [{"object": "embedding", "index": 0, "embedding": coded}]
        return {"object": "list", "data": data, "model": query["model"]}


def main() -> None:
    """Serve until SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ray.init("local", include_dashboard=False, num_cpus=max(4, CORES))
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Embeddings.bind())
    stay_at(f"http://127.0.0.1:{port}")
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
