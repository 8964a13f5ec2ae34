"""The recommender over HTTP: batched, bounded and observable.

A request that cannot be answered within its deadline gets status 503 and Retry-After:
at once if the queue is full, else at the deadline.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any, TypedDict

from recsys_lib.extras import needs
from recsys_lib.serving.batching import Batcher, BatchFailed, Refused
from recsys_lib.serving.embeddings_api import add_embeddings, embedder
from recsys_lib.serving.item_filter import Filter, ItemFields, Value
from recsys_lib.serving.recommender import (
    Recommendation,
    Recommender,
    SwitchingRecommender,
)

with needs("serving"):
    import pydantic
    from fastapi import FastAPI, HTTPException, Request, Response
    from fastapi.responses import PlainTextResponse
    from fastapi.routing import APIRoute
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        exposition,
    )
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
    from starlette.types import Receive, Scope, Send


MAX_BODY_BYTES = 1 << 20
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_LATENCIES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_ONE: dict[str, Any] = {"oneOf": [{"required": ["text"]}, {"required": ["history"]}]}

ItemId = Annotated[str, Field(min_length=1, max_length=64)]


def _whole(number: object) -> object:
    """Read 14.0 as 14: both are the same integer in JSON."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number


_Value = Annotated[Value, BeforeValidator(_whole)]


class Query(BaseModel):
    """A request for items, by a text or by the ids of the items of a history."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_ONE)
    text: Annotated[str, Field(min_length=1, max_length=2000)] = ""
    history: Annotated[list[ItemId], Field(max_length=1000)] = []
    k: Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)] = 10
    filter: Annotated[
        dict[str, _Value | Annotated[list[_Value], Field(max_length=1000)]],
        Field(max_length=16),
    ] = {}

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> "Query":
        if ("text" in self.model_fields_set) == ("history" in self.model_fields_set):
            raise ValueError("exactly one of text and history must be given")
        return self


Answers = Batcher[Query, bytes]


class _Limits(TypedDict):
    """Options of a `Batcher`."""

    workers: int
    max_batch: int
    max_queue: int
    deadline_ms: float


class Metrics:
    """The metrics that /metrics shows, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="recsys", registry=self.registry)
        histogram = partial(Histogram, namespace="recsys", registry=self.registry)
        gauge = partial(Gauge, namespace="recsys", registry=self.registry)
        self.requests = counter("requests", "Answers by status", ["status"])
        self.refused = counter("refused", "Answers 503 by reason", ["reason"])
        self.latency_s = histogram(
            "latency_seconds", "Seconds to an answer 200", buckets=_LATENCIES_S
        )
        self.batch_size = histogram(
            "batch_size", "Queries computed together", buckets=_BATCH_SIZES
        )
        self.queue_length = gauge("queue_length", "Queries that wait")


def create_app(
    recommender: Recommender | SwitchingRecommender,
    *,
    workers: int = 1,
    max_batch: int = 32,
    max_queue: int = 256,
    deadline_ms: float = 1000.0,
    catalogue: Container[str] | None = None,
    embeddings_model: str = "",
) -> FastAPI:
    """Make the HTTP service of one recommender.

    The app warms up before it has started. ``app.state.ready`` is true from then until
    it shuts down.

    Args:
        recommender: Called from all workers' threads.
        workers: As in `Batcher`.
        max_batch: As in `Batcher`.
        max_queue: As in `Batcher`.
        deadline_ms: As in `Batcher`.
        catalogue: The ids of the items. A history without any of them gets status 422
            in place of an answer by popularity; None for no such check.
        embeddings_model: Name under which ``/v1/embeddings`` offers the recommender's
            encoder; "" not to offer it.

    Raises:
        ValueError: If an option is out of its range.
    """
    metrics = Metrics()
    limits = _Limits(
        workers=workers,
        max_batch=max_batch,
        max_queue=max_queue,
        deadline_ms=deadline_ms,
    )
    batcher: Answers = Batcher(
        lambda queries: answer(recommender, queries),
        on_batch=metrics.batch_size.observe,
        **limits,
    )
    metrics.queue_length.set_function(lambda: batcher.waiting)
    batchers: list[Batcher[Any, Any]] = [batcher]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for each in batchers:
                await running.enter_async_context(each)
            await _warm_up(recommender, workers)
            app.state.ready = True
            yield
            app.state.ready = False

    app = FastAPI(title="Recommender", lifespan=lifespan)
    app.state.ready = False
    app.router.route_class = _BareRoute
    # what stands in for a recommender need not have fields
    fields = getattr(recommender, "fields", ItemFields())
    _add_recommend(app, batcher, metrics, catalogue, fields)
    _add_probes(app, metrics)
    if embeddings_model:
        vectors = embedder(lambda: recommender.encoder, **limits)
        batchers.append(vectors)
        add_embeddings(app, vectors, embeddings_model, _body)
    return app


def answer(
    recommender: Recommender | SwitchingRecommender, queries: Sequence[Query]
) -> list[bytes]:
    """Compute a batch: the answer to each query as JSON, in their order."""
    k = max(query.k for query in queries)
    of_text = [query for query in queries if query.text]
    others = [query for query in queries if not query.text]
    texts, histories = [x.text for x in of_text], [x.history for x in others]
    by_text = iter(recommender.recommend_texts(texts, k, *_filters(of_text)))
    by_history = iter(recommender.recommend_histories(histories, k, *_filters(others)))
    return [
        _json(next(by_text if query.text else by_history), query.k) for query in queries
    ]


def _filters(queries: Sequence[Query]) -> list[list[Filter]]:
    """The filters as one argument, or no argument if there are none."""
    filters: list[Filter] = [query.filter for query in queries]
    return [filters] if any(filters) else []


async def _warm_up(
    recommender: Recommender | SwitchingRecommender, workers: int
) -> None:
    """Answer short and long texts, alone and in a batch, in all workers at once.

    Engines compile a model for each new shape, and for each thread that runs it.
    """
    queries = [Query(text="a film " * n) for n in (3, 6, 8, 11, 30)]
    batches = [[query] for query in queries] + [[*queries, Query(history=[])]]
    run = asyncio.get_running_loop().run_in_executor
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            calls = [run(pool, answer, recommender, batch) for _ in range(workers)]
            await asyncio.gather(*calls)


class _BareRoute(APIRoute):
    """Calls its endpoint with the request: 30 us faster than by injection.

    Where it answers GET it also answers HEAD, which load balancers send; the server
    leaves out the body.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD" and "GET" in (self.methods or ()):
            scope = {**scope, "method": "GET"}
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def _add_recommend(
    app: FastAPI,
    batcher: Answers,
    metrics: Metrics,
    catalogue: Container[str] | None,
    fields: ItemFields,
) -> None:
    @app.post("/recommend", openapi_extra=_request(fields), responses=_RESPONSES)
    async def recommend(request: Request) -> Response:
        """Recommend items for a text or a history, best first."""
        start = time.perf_counter()
        response = await _response(request, batcher, metrics, catalogue, fields)
        metrics.requests.labels(response.status_code).inc()
        if response.status_code == 200:
            metrics.latency_s.observe(time.perf_counter() - start)
        return response


async def _response(
    request: Request,
    batcher: Answers,
    metrics: Metrics,
    catalogue: Container[str] | None,
    fields: ItemFields,
) -> Response:
    try:
        body = await _body(request)
        query = Query.model_validate_json(body)
        if _is_foreign(query.history, catalogue):
            return _problem(422, _foreign(query.history))
        try:
            fields.check(query.filter)
        except ValueError as error:
            fault = {"type": "filter", "loc": ["filter"], "msg": str(error)}
            return _problem(422, [fault])
        return Response(await batcher.submit(query), media_type="application/json")
    except ValidationError as error:
        faults = error.errors(
            include_url=False, include_context=False, include_input=False
        )
        return _problem(422, faults[:20])
    except HTTPException as error:
        return _problem(error.status_code, error.detail)
    except ClientDisconnect:
        return _problem(400, "the request ended early")  # the client has gone
    except Refused as error:
        metrics.refused.labels(type(error).__name__).inc()
        wait = str(max(1, math.ceil(error.retry_after_s)))
        return _problem(503, str(error), {"Retry-After": wait})
    except BatchFailed as error:
        logging.getLogger(__name__).exception("a batch failed", exc_info=error)
        return _problem(500, "the recommendation could not be computed")


def _is_foreign(history: Sequence[str], catalogue: Container[str] | None) -> bool:
    """Whether a history has items, and none of them is in the catalogue."""
    if catalogue is None or not history:
        return False
    return not any(item in catalogue for item in history)


def _foreign(history: Sequence[str]) -> list[dict[str, Any]]:
    """The fault of such a history, in the form of pydantic's."""
    few = ", ".join(repr(item) for item in history[:5])
    wanted = "at least one id must be in the catalogue, or the history empty"
    return [{"type": "unknown", "loc": ["history"], "msg": f"{wanted}; got {few}"}]


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
    named = {"titles": found.titles[:k]} if found.titles else {}
    return to_json({**best, **named, "unknown": found.unknown})


def _add_probes(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/health")
    async def health(request: Request) -> Response:
        """Say that the process is alive."""
        return Response(b'{"status":"alive"}', media_type="application/json")

    @app.get("/ready", responses={503: _RESPONSES[503]})
    async def ready(request: Request) -> Response:
        """Say whether it is ready for requests: warmed up and not shutting down."""
        if app.state.ready:
            return Response(b'{"status":"ready"}', media_type="application/json")
        return _problem(503, "not ready", {"Retry-After": "1"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics(request: Request) -> Response:
        """Show the metrics for Prometheus."""
        content = exposition.generate_latest(metrics.registry)
        return Response(content, media_type=exposition.CONTENT_TYPE_LATEST)


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _request(fields: ItemFields) -> dict[str, Any]:
    """The body of a request; its filter names the fields and their types."""
    types = {bool: "boolean", int: "integer", str: "string"}
    schema = Query.model_json_schema()
    named = {}
    for name in fields.names:
        one = {"type": types[fields.kind(name)]}
        many = {"type": "array", "items": one, "maxItems": 1000}
        named[name] = {"anyOf": [one, many]}
    chosen = {"type": "object", "properties": named, "additionalProperties": False}
    schema["properties"]["filter"] = chosen
    return {"requestBody": {"required": True, **_content(schema)}}


_FOUND = TypeAdapter(Recommendation).json_schema()
_PROBLEM = _content({"type": "object", "required": ["detail"]})
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Best first", **_content(_FOUND)},
    413: {"description": "Body too large", **_PROBLEM},
    422: {"description": "Not a query", **_PROBLEM},
    500: {"description": "Could not be computed", **_PROBLEM},
    503: {"description": "Refused for now; see Retry-After", **_PROBLEM},
}
