"""The recommender over HTTP: batched, bounded and observable.

A request that is not answered within its deadline is refused with 503 and Retry-After,
whether the queue was full at once or the answer came too late.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pydantic
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from recsys_lib.serving.batching import Batcher, BatchFailed, Refused
from recsys_lib.serving.recommender import Recommendation, Recommender

MAX_BODY_BYTES = 1 << 20
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_LATENCIES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_ONE: dict[str, Any] = {"oneOf": [{"required": ["text"]}, {"required": ["history"]}]}

ItemId = Annotated[str, Field(min_length=1, max_length=64)]


def _whole(number: object) -> object:
    """To JSON 14.0 is an integer, and the same one as 14."""
    whole = isinstance(number, float) and number.is_integer()
    return int(number) if whole else number  # type: ignore[call-overload]


class Query(BaseModel):
    """What is asked: items for a text, or for the ids of items met before."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_ONE)
    text: Annotated[str, Field(min_length=1, max_length=2000)] = ""
    history: Annotated[list[ItemId], Field(max_length=1000)] = []
    k: Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)] = 10

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> "Query":
        if ("text" in self.model_fields_set) == ("history" in self.model_fields_set):
            raise ValueError("exactly one of text and history must be given")
        return self


Answers = Batcher[Query, bytes]


class Metrics:
    """What /metrics shows, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "recsys"}
        self.requests = Counter("requests", "Answers by status", ["status"], **own)
        self.refused = Counter("refused", "Those that were 503", ["reason"], **own)
        self.latency_s = Histogram(
            "latency_seconds", "To an answer 200", buckets=_LATENCIES_S, **own
        )
        self.batch_size = Histogram(
            "batch_size", "Computed together", buckets=_BATCH_SIZES, **own
        )
        self.queue_length = Gauge("queue_length", "Waiting to be computed", **own)


def create_app(
    recommender: Recommender, *, workers: int = 1, **batching: Any
) -> FastAPI:
    """Make the service of one recommender.

    ``app.state.ready`` is true from the end of the warm-up, which start-up waits for,
    to the beginning of the drain.

    Args:
        recommender: Answers; called from as many threads as there are workers.
        workers: Batches computed at once.
        **batching: max_batch, max_queue, max_wait_ms, deadline_ms of `Batcher`.

    Raises:
        ValueError: If an option is out of its range.
    """
    metrics = Metrics()
    batcher: Answers = Batcher(
        lambda queries: answer(recommender, queries),
        on_batch=metrics.batch_size.observe,
        workers=workers,
        **batching,
    )
    metrics.queue_length.set_function(lambda: batcher.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            await _warm_up(recommender, workers)
            app.state.ready = True
            yield
            app.state.ready = False

    app = FastAPI(title="Recommender", lifespan=lifespan)
    app.state.ready = False
    app.router.route_class = _BareRoute
    _add_recommend(app, batcher, metrics)
    _add_probes(app, metrics)
    return app


def answer(recommender: Recommender, queries: Sequence[Query]) -> list[bytes]:
    """Compute a batch: the JSON of each answer, in the order of the queries."""
    texts = [query for query in queries if query.text]
    histories = [query for query in queries if not query.text]
    most = max(query.k for query in queries)
    by_text = recommender.recommend_texts([query.text for query in texts], most)
    by_history = recommender.recommend_histories(
        [query.history for query in histories], most
    )
    found = iter(by_text), iter(by_history)
    return [_json(next(found[not query.text]), query.k) for query in queries]


async def _warm_up(recommender: Recommender, workers: int) -> None:
    """Meet short and long texts, alone and together, in all workers at once.

    Engines compile as shapes come, for each thread that asks at the same time.
    """
    queries = [Query(text="a film " * n) for n in (3, 6, 8, 11, 30)]
    batches = [[query] for query in queries] + [[*queries, Query(history=[])]]
    run = asyncio.get_running_loop().run_in_executor
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            calls = [run(pool, answer, recommender, batch) for _ in range(workers)]
            await asyncio.gather(*calls)


class _BareRoute(APIRoute):
    """Calls its endpoint with the request itself: 30 us less than with injection."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def _add_recommend(app: FastAPI, batcher: Answers, metrics: Metrics) -> None:
    @app.post("/recommend", openapi_extra=_REQUEST, responses=_RESPONSES)
    async def recommend(request: Request) -> Response:
        """Recommend items for a text or a history, best first."""
        start = time.perf_counter()
        response = await _response(request, batcher, metrics)
        metrics.requests.labels(response.status_code).inc()
        if response.status_code == 200:
            metrics.latency_s.observe(time.perf_counter() - start)
        return response


async def _response(request: Request, batcher: Answers, metrics: Metrics) -> Response:
    try:
        body = await _body(request)
        query = Query.model_validate_json(body)
        return Response(await batcher.submit(query), media_type="application/json")
    except ValidationError as error:
        faults = error.errors(
            include_url=False, include_context=False, include_input=False
        )
        return _problem(422, faults[:20])
    except HTTPException as error:
        return _problem(error.status_code, error.detail)
    except ClientDisconnect:
        return _problem(400, "the request ended early")  # nobody reads it
    except Refused as error:
        metrics.refused.labels(type(error).__name__).inc()
        wait = str(max(1, math.ceil(error.retry_after_s)))
        return _problem(503, str(error), {"Retry-After": wait})
    except BatchFailed as error:
        logging.getLogger(__name__).exception("a batch failed", exc_info=error)
        return _problem(500, "the recommendation could not be computed")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"body must have at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _problem(
    status: int, detail: Any, headers: dict[str, str] | None = None
) -> Response:
    content = to_json({"detail": detail})
    return Response(content, status, headers, media_type="application/json")


def _json(found: Recommendation, k: int) -> bytes:
    best = {"items": found.items[:k], "scores": found.scores[:k]}
    return to_json({**best, "unknown": found.unknown})


def _add_probes(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/health")
    async def health(request: Request) -> Response:
        """Alive."""
        return Response(b'{"status":"alive"}', media_type="application/json")

    @app.get("/ready", responses={503: _RESPONSES[503]})
    async def ready(request: Request) -> Response:
        """Ready for requests: warmed up and not draining."""
        if app.state.ready:
            return Response(b'{"status":"ready"}', media_type="application/json")
        return _problem(503, "not ready", {"Retry-After": "1"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics(request: Request) -> Response:
        """Metrics for Prometheus."""
        content = exposition.generate_latest(metrics.registry)
        return Response(content, media_type=exposition.CONTENT_TYPE_LATEST)


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


_REQUEST = {"requestBody": {"required": True, **_content(Query.model_json_schema())}}
_FOUND = TypeAdapter(Recommendation).json_schema()
_PROBLEM = _content({"type": "object", "required": ["detail"]})
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Best first", **_content(_FOUND)},
    413: {"description": "Body too large", **_PROBLEM},
    422: {"description": "Not a query", **_PROBLEM},
    500: {"description": "Could not be computed", **_PROBLEM},
    503: {"description": "Refused for now; see Retry-After", **_PROBLEM},
}
