"""``/v1/embeddings`` and ``/v1/models`` as OpenAI's clients expect them.

Answers and errors have the documented shape. Texts are encoded without a role, since a
request names none, and any model name is accepted: the answer names the one served.

Source: platform.openai.com/docs/api-reference/embeddings.
"""

import base64
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

from recsys_lib.arrays import Float32Array
from recsys_lib.compression.dimensions import first_dimensions
from recsys_lib.embeddings.transformer import TextEncoder
from recsys_lib.extras import needs
from recsys_lib.serving.batching import Batcher, BatchFailed, Refused

with needs("serving"):
    from fastapi import FastAPI, HTTPException, Request, Response
    from pydantic import BaseModel, ConfigDict, Field, ValidationError
    from pydantic_core import from_json, to_json

_MAX_TEXTS = 2048
_Text = Annotated[str, Field(min_length=1)]

Embedder = Batcher[list[str], tuple[Float32Array, int]]


class EmbeddingsQuery(BaseModel):
    """A request for the vectors of a text or of several."""

    model_config = ConfigDict(strict=True)  # clients send fields of their own
    input: _Text | Annotated[list[_Text], Field(min_length=1, max_length=_MAX_TEXTS)]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None


def embedder(encoder: Callable[[], TextEncoder], **limits: Any) -> Embedder:
    """Batch the texts of concurrent requests.

    Args:
        encoder: Returns the encoder of the moment.
        **limits: Of `Batcher`.
    """

    def encode(requests: Sequence[list[str]]) -> list[tuple[Float32Array, int]]:
        current = encoder()
        texts = [text for request in requests for text in request]
        vectors, counts = current.encode(texts), token_counts(current, texts)
        answers, start = [], 0
        for request in requests:
            rows = slice(start, start := start + len(request))
            answers.append((vectors[rows], sum(counts[rows])))
        return answers

    return Batcher(encode, **limits)


def token_counts(encoder: Any, texts: list[str]) -> list[int]:
    """Tokens that the encoder reads of each text; 0 if it has no tokeniser."""
    tokenizer = getattr(encoder, "tokenizer", None)
    if tokenizer is None:
        return [0] * len(texts)
    return [len(row.ids) for row in tokenizer.encode_batch_fast(texts)]


def add_embeddings(
    app: FastAPI,
    batcher: Embedder,
    model: str,
    read_body: Callable[[Request], Awaitable[bytes]],
) -> None:
    """Offer ``/v1/embeddings``, and ``/v1/models`` with the name of its model.

    Args:
        app: Of the service.
        batcher: Of `embedder`; runs as long as the app.
        model: Name that answers give.
        read_body: Reads a body up to the limit of the service.
    """

    @app.post("/v1/embeddings", openapi_extra=_REQUEST)
    async def embeddings(request: Request) -> Response:
        """Embed texts, in the shape of OpenAI's API."""
        try:
            body = from_json(await read_body(request))
        except ValueError as error:
            return _error(400, f"body must be JSON; got: {error}")
        except HTTPException as error:
            return _error(error.status_code, str(error.detail))
        try:
            query = EmbeddingsQuery.model_validate(body)
        except ValidationError as error:
            return _error(422, *_fault(error))
        return await _answer(query, batcher, model)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        """List the one model, in the shape of OpenAI's API."""
        named = {"id": model, "object": "model", "created": 0, "owned_by": "recsys_lib"}
        listed = to_json({"object": "list", "data": [named]})
        return Response(listed, media_type="application/json")


async def _answer(query: EmbeddingsQuery, batcher: Embedder, model: str) -> Response:
    texts = [query.input] if isinstance(query.input, str) else query.input
    try:
        vectors, n_tokens = await batcher.submit(texts)
    except Refused as refused:
        wait = str(max(1, math.ceil(refused.retry_after_s)))
        return _error(503, str(refused), headers={"Retry-After": wait})
    except BatchFailed as error:
        logging.getLogger(__name__).exception("a batch failed", exc_info=error)
        return _error(500, "the embeddings could not be computed")
    if query.dimensions is not None:
        if query.dimensions > vectors.shape[1]:
            wanted = f"dimensions must be at most {vectors.shape[1]}"
            return _error(422, f"{wanted}; got {query.dimensions}", "dimensions")
        vectors = first_dimensions(vectors, query.dimensions)
    rows = vectors.astype("<f4")
    coded: list[Any] = rows.tolist()
    if query.encoding_format == "base64":
        coded = [base64.b64encode(row.tobytes()).decode() for row in rows]
    data = [
        {"object": "embedding", "index": i, "embedding": x} for i, x in enumerate(coded)
    ]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    found = {"object": "list", "data": data, "model": model, "usage": usage}
    return Response(to_json(found), media_type="application/json")


def _fault(error: ValidationError) -> tuple[str, str]:
    """The first fault as a sentence, and the field that it is in."""
    fault = error.errors(include_url=False, include_context=False)[0]
    name = str(fault["loc"][0]) if fault["loc"] else "body"
    if name == "input":
        wanted = f"a text or 1 to {_MAX_TEXTS} texts, none of them empty"
        return f"input must be {wanted} (token ids are not read)", name
    return f"{name}: {fault['msg']}", name


def _error(
    status: int,
    message: str,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    said = {"message": message, "type": kind, "param": param, "code": None}
    content = to_json({"error": said})
    return Response(content, status, headers, media_type="application/json")


_SCHEMA = EmbeddingsQuery.model_json_schema()
_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _SCHEMA}},
    }
}
