"""The OpenAPI document: FastAPI's routes, with bodies, problems and this service's limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.http.problem_table import INTERNAL, TABLE, TYPES, type_of
from mrag_pipeline.serving.http.problems import MEDIA_TYPE
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import (
    AnswerBody,
    AnswerEnd,
    BatchBody,
    Problem,
    SearchBody,
    TextPiece,
)

# Bodies (read by `json_body.body_of`), problems and event data, which no route names.
UNROUTED = (SearchBody, BatchBody, AnswerBody, TextPiece, AnswerEnd, Problem)
REF = "#/components/schemas/{model}"
# Statuses that any request can get.
ALWAYS = (401, 429, 500, 503)
ANSWER_EVENT = {
    "type": "object",
    "description": "One event. `data` is JSON: a SearchAnswer, TextPiece, AnswerEnd or Problem.",
    "properties": {
        "event": {"type": "string", "enum": ["search", "text", "done", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
ANSWER_EVENTS = """event: search
data: {"version": "v0123456789ab", "hits": [...], ...}

event: text
data: {"text": "Open the URL with urllib.request [1]"}

event: done
data: {"answer": "...", "citations": [...], "unsourced": [], "model": "...", "prompt_tokens": 812}

"""
EXAMPLE_ID = "0f6a3d0c5d6f4c0f9b5f3f1a2b4c6d8e"
EXAMPLES = {
    422: Problem(
        type=type_of(ConfigError),
        title=TABLE[ConfigError].title,
        status=422,
        detail="k = 5000",
        expected="at most 100",
        fix="ask for fewer",
        request_id=EXAMPLE_ID,
    )
}
_HEADERS = {
    401: ("WWW-Authenticate", "How to send a key.", "string"),
    429: ("Retry-After", "Seconds to wait.", "integer"),
    503: ("Retry-After", "Seconds to wait.", "integer"),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: each status with its problems."""
    return {status: _response(status) for status in sorted(statuses)}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """A route's `openapi_extra`: the JSON body that `json_body.body_of` reads."""
    examples = model.model_config.get("json_schema_extra") or {}
    assert isinstance(examples, dict)
    named = {f"example {n}": {"value": body} for n, body in enumerate(examples["examples"], 1)}  # type: ignore[arg-type]
    schema = {"$ref": REF.format(model=model.__name__)}
    content = {"application/json": {"schema": schema, "examples": named}}
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI, spec: ServeSpec, retrieve: RetrieveSpec) -> Callable[[], dict[str, Any]]:
    """The function for `app.openapi`; it builds the document once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _built(app, spec, retrieve)
        return app.openapi_schema

    return openapi


def _built(app: FastAPI, spec: ServeSpec, retrieve: RetrieveSpec) -> dict[str, Any]:
    built = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = built.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in _definitions(UNROUTED).items():
        schemas.setdefault(name, schema)
    _limit(schemas, spec, retrieve)
    return built


def _definitions(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    _, document = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    definitions: dict[str, Any] = document["$defs"]
    return definitions


def _limit(schemas: dict[str, Any], spec: ServeSpec, retrieve: RetrieveSpec) -> None:
    """Replaces the schemas' upper bounds and defaults by this service's."""
    for name in ("SearchBody", "AnswerBody"):
        fields = schemas[name]["properties"]
        fields["query"]["maxLength"] = spec.max_query_chars
        _option(fields["k"], "integer")["maximum"] = spec.max_k
        fields["k"]["default"] = min(retrieve.k, spec.max_k)
        _option(fields["strategy"], "string")["enum"] = list(STRATEGIES)
        fields["strategy"]["default"] = retrieve.strategy
        _option(fields["windows"], "array")["items"]["maxLength"] = spec.max_query_chars
    tokens = schemas["AnswerBody"]["properties"]["max_context_tokens"]
    tokens["anyOf"][0]["maximum"] = spec.max_context_tokens
    schemas["BatchBody"]["properties"]["searches"]["maxItems"] = spec.max_batch_queries


def _option(field: dict[str, Any], kind: str) -> dict[str, Any]:
    """The schema of that type among those that a field may have."""
    return next(option for option in field["anyOf"] if option.get("type") == kind)


def _response(status: int) -> dict[str, Any]:
    kinds = {kind: row for kind, row in TABLE.items() if row.status == status}
    titles = list(dict.fromkeys(row.title for row in kinds.values())) or [INTERNAL.title]
    example = EXAMPLES.get(status) or Problem(
        type=type_of(next(iter(kinds))) if kinds else f"{TYPES}internal",
        title=titles[0],
        status=status,
        detail=next((row.instead for row in kinds.values()), "") or "what happened",
        fix="what to do",
        request_id=EXAMPLE_ID,
    )
    schema = {"$ref": REF.format(model=Problem.__name__)}
    shown = example.model_dump(exclude_none=True)
    response: dict[str, Any] = {
        "description": "; ".join(titles),
        "content": {MEDIA_TYPE: {"schema": schema, "example": shown}},
    }
    if status in _HEADERS:
        name, meaning, kind = _HEADERS[status]
        response["headers"] = {name: {"description": meaning, "schema": {"type": kind}}}
    return response
