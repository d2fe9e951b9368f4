"""Every error as RFC 9457 problem details, by the one table from exception to status.

What the table does not name is a 500 that tells its request id and nothing else.
"""

from __future__ import annotations

import logging
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrag_pipeline import errors
from mrag_pipeline.errors import MragError, Overloaded, PermanentError
from mrag_pipeline.wire.schemas import Problem

MEDIA_TYPE = "application/problem+json"
# Where the service is only not ready, or an engine behind it does not answer.
RETRY_AFTER_S = 2.0
MAX_ERRORS = 20
CLIENT_LEFT = 499  # as nginx logs it; nobody reads the answer

log = logging.getLogger(__name__)


class NotJson(PermanentError):
    """A body that is not JSON."""


class TooLarge(PermanentError):
    """A body of more bytes than are read."""


class WrongMediaType(PermanentError):
    """A body that does not say it is JSON."""


class ClientLeft(PermanentError):
    """Whoever asked has hung up."""


TYPES = "urn:mrag:problem:"  # then the error's name in kebab-case: a problem's `type`


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    status: int
    title: str  # the same for every problem of the kind
    when: str  # for the docs
    # Told in place of what happened, where that names addresses, paths or another's answer.
    instead: str = ""


# The one table; the nearest class up an exception's tree counts.
TABLE: Mapping[type[MragError], Row] = {
    NotJson: Row(400, "The body is not JSON", "or JSON of a depth that nobody means"),
    errors.Unauthorized: Row(401, "No valid API key", "no key, or one that nobody knows"),
    errors.Forbidden: Row(403, "Not allowed with this key", "another tenant's documents"),
    errors.NotFound: Row(404, "Not found", "no such chunk, or not the caller's to see"),
    TooLarge: Row(413, "The body is too large", "above `serve.max_body_kb`"),
    WrongMediaType: Row(415, "The body must be application/json", "the header says otherwise"),
    errors.ConfigError: Row(
        422, "Cannot be asked like this", "over a limit, or what no strategy or filter is"
    ),
    errors.TooManyRequests: Row(429, "Too many requests", "more than the key's share"),
    ClientLeft: Row(CLIENT_LEFT, "The client has gone", "nobody reads it"),
    errors.NotConfigured: Row(501, "Not configured", "an answer in words without a chat model"),
    errors.LlmRefused: Row(
        502,
        "The chat model's answer is none",
        "a wrong key, another format, nothing said",
        "its endpoint refuses, or answers in another format",
    ),
    errors.LlmUnavailable: Row(
        502,
        "The chat model does not answer",
        "nobody there, busy, or it broke off",
        "its endpoint does not answer to the end",
    ),
    errors.NotReady: Row(503, "Not ready", "starting, or nothing fit to be asked"),
    errors.NoLiveVersion: Row(503, "No live version", "nothing was ingested yet"),
    errors.FingerprintMismatch: Row(
        503,
        "Another encoder's version",
        "the model is not the one that built the live version",
        "the service's encoder did not build the live version",
    ),
    errors.Overloaded: Row(503, "Overloaded", "the queues are full"),
    errors.IndexBusy: Row(
        503,
        "The index is busy",
        "an ingest has the Milvus Lite database",
        "another process owns it",
    ),
    errors.IndexUnavailable: Row(
        503, "The index does not answer", "down, or too slow", "it is down, or too slow"
    ),
    errors.WorkerLost: Row(
        503,
        "A part of the service was lost",
        "a replica died with the request, twice",
        "it is being started again",
    ),
    errors.OutOfTime: Row(504, "Out of time", "longer than `timeout_s`"),
    errors.HeadsMissing: Row(504, "Heads did not answer", "fewer in time than `min_heads`, or all"),
}
ASK_AGAIN = "ask again in a moment; the service's log has more under the request_id"
INTERNAL = Row(500, "Internal error", "a bug; the log has it under the `request_id`")
# Bodies and parameters that do not fit the schema, and pydantic's own word for bad JSON.
INVALID = TABLE[errors.ConfigError]


def row_of(error: type[BaseException]) -> tuple[str, Row]:
    """The problem's `type` and the table's line for an exception's; 500 if it is not named."""
    for kind in error.__mro__:
        if kind in TABLE:
            return type_of(kind), TABLE[kind]
    return f"{TYPES}internal", INTERNAL


def type_of(error: type[BaseException]) -> str:
    """`urn:mrag:problem:out-of-time` for OutOfTime."""
    return TYPES + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", error.__name__).lower()


def request_id_of(scope: Scope) -> str:
    """The request's id, given by whoever logs requests; a new one, kept, if nobody did."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if not state.get("request_id"):
        state["request_id"] = uuid.uuid4().hex
    return str(state["request_id"])


def problem_of(error: BaseException, request_id: str) -> Problem:
    """What a caller is told of an error: all of one of ours, nothing of the insides of others."""
    kind, row = row_of(type(error))
    detail, expected, fix = row.instead, "", ASK_AGAIN
    if row is INTERNAL:
        detail = "something went wrong inside the service"
    elif isinstance(error, MragError) and not row.instead:
        detail, expected, fix = error.found, error.expected, error.fix
    return Problem(
        type=kind,
        title=row.title,
        status=row.status,
        detail=printable(detail),
        expected=printable(expected),
        fix=printable(fix),
        request_id=request_id,
    )


def reported(error: BaseException, scope: Scope) -> Problem:
    """The error as a problem; what is not the caller's doing is logged with the request's id.

    Its type is left in the request's state, for whoever observes requests.
    """
    request_id = request_id_of(scope)
    scope["state"]["error"] = type(error).__name__
    told = problem_of(error, request_id)
    if told.status == INTERNAL.status:
        log.error("request_failed request_id=%s", request_id, exc_info=error)
    elif told.status > INTERNAL.status and not isinstance(error, errors.NotConfigured):
        kind = type(error).__name__
        log.warning("request_failed request_id=%s %s: %s", request_id, kind, shortened(error))
    return told


def response_of(error: BaseException, scope: Scope) -> Response:
    """An error as the response to its request, logged if it is the service's."""
    told = reported(error, scope)
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif told.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(math.ceil(RETRY_AFTER_S))
    elif told.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return respond(told, headers)


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response."""
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, dict(headers or {}), MEDIA_TYPE)


def invalid(found: Sequence[Any], scope: Scope) -> Response:
    """What pydantic found wrong, place by place; the values themselves are not repeated."""
    _tell(scope, RequestValidationError)
    places = [
        {
            "loc": [part if isinstance(part, int) else shortened(part) for part in one["loc"]],
            "msg": shortened(one["msg"]),
            "type": one["type"],
        }
        for one in found[:MAX_ERRORS]
    ]
    if any(place["type"] == "json_invalid" for place in places):
        return response_of(NotJson(places[0]["msg"], "one JSON object"), scope)
    more = len(found) - 1
    where = ".".join(str(part) for part in places[0]["loc"]) or "the body"
    detail = f"{where}: {places[0]['msg']}" + (f", and {more} more" if more else "")
    return respond(
        Problem(
            type=f"{TYPES}invalid",
            title=INVALID.title,
            status=INVALID.status,
            detail=detail,
            expected="what the schema at /openapi.json says",
            request_id=request_id_of(scope),
            errors=places,
        )
    )


def _tell(scope: Scope, error: type[BaseException]) -> None:
    """Leaves the error's type where whoever watches requests finds it."""
    scope.setdefault("state", {})["error"] = error.__name__


def printable(text: str) -> str:
    """A text that can be sent: what is no character (half a surrogate pair) replaced."""
    return text.encode("utf-8", "replace").decode()


def shortened(value: object, longest: int = 200) -> str:
    """A value as words of bounded length, for problems and logs."""
    text = printable(str(value))
    return text if len(text) <= longest else text[: longest - 3] + "..."


class LastResort:
    """What no handler took becomes a 500, inside all other middleware: they see the status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on, and answers for what failed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if started:  # the status is gone out: all that is left is to break off
                raise
            await response_of(error, scope)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem. Call it before other middleware is added."""

    async def ours(request: Request, error: Exception) -> Response:
        return response_of(error, request.scope)

    async def schema(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(error.errors(), request.scope)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        _tell(request.scope, HTTPException)
        told = Problem(
            title=status.phrase,
            status=status,
            detail=f"{request.method} {shortened(request.url.path)}: {shortened(error.detail)}",
            expected="an endpoint of /openapi.json" if status in (404, 405) else "",
            request_id=request_id_of(request.scope),
        )
        return respond(told, error.headers)

    app.add_exception_handler(MragError, ours)
    app.add_exception_handler(RequestValidationError, schema)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, ours)
    app.add_middleware(LastResort)
