"""Errors as RFC 9457 problem details, ready to be sent.

An error that `problem_table.py` does not name is a 500 that tells its request id and nothing else.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.types import Scope

from mrag_pipeline.errors import ConfigError, MragError, NotConfigured, Overloaded
from mrag_pipeline.serving.http.problem_table import INTERNAL, TABLE, TYPES, NotJson, kind_of
from mrag_pipeline.wire.printable import printable
from mrag_pipeline.wire.schemas import Problem

MEDIA_TYPE = "application/problem+json"
# Retry-After of a 503 whose error names no time of its own.
RETRY_AFTER_S = 2.0
MAX_ERRORS = 20
ASK_AGAIN = "retry in a moment; the service's log has more under the request_id"

log = logging.getLogger(__name__)


def problem_of(error: BaseException, request_id: str) -> Problem:
    """The problem that callers see; nothing of an error that is not one of ours."""
    problem_type, kind = kind_of(type(error))
    detail, expected, fix = kind.instead, "", ASK_AGAIN
    if kind is INTERNAL:
        detail = "something went wrong inside the service"
    elif isinstance(error, MragError) and not kind.instead:
        detail, expected, fix = error.found, error.expected, error.fix
    return Problem(
        type=problem_type,
        title=kind.title,
        status=kind.status,
        detail=printable(detail),
        expected=printable(expected),
        fix=printable(fix),
        request_id=request_id,
    )


def reported(error: BaseException, scope: Scope) -> Problem:
    """The error as a problem; logged with the request's id unless the caller is to blame.

    The error's type is stored in the request's state for the observer.
    """
    request_id = request_id_of(scope)
    note_error(scope, type(error))
    problem = problem_of(error, request_id)
    if problem.status == INTERNAL.status:
        log.error("request_failed request_id=%s", request_id, exc_info=error)
    elif problem.status > INTERNAL.status and not isinstance(error, NotConfigured):
        name = type(error).__name__
        log.warning("request_failed request_id=%s %s: %s", request_id, name, shortened(error))
    return problem


def response_of(error: BaseException, scope: Scope) -> Response:
    """The error as the response to its request; logged if it is the service's."""
    problem = reported(error, scope)
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(math.ceil(RETRY_AFTER_S))
    elif problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return respond(problem, headers)


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response."""
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, dict(headers or {}), MEDIA_TYPE)


def invalid(validation_errors: Sequence[Any], scope: Scope) -> Response:
    """The response to a body or parameter that does not fit the schema; values are not repeated.

    Args:
        validation_errors: pydantic's.
    """
    note_error(scope, RequestValidationError)
    places = [
        {
            "loc": [part if isinstance(part, int) else shortened(part) for part in error["loc"]],
            "msg": shortened(error["msg"]),
            "type": error["type"],
        }
        for error in validation_errors[:MAX_ERRORS]
    ]
    if any(place["type"] == "json_invalid" for place in places):
        return response_of(NotJson(places[0]["msg"], "one JSON object"), scope)
    num_more = len(validation_errors) - 1
    where = ".".join(str(part) for part in places[0]["loc"]) or "the body"
    detail = f"{where}: {places[0]['msg']}" + (f", and {num_more} more" if num_more else "")
    kind = TABLE[ConfigError]
    return respond(
        Problem(
            type=f"{TYPES}invalid",
            title=kind.title,
            status=kind.status,
            detail=detail,
            expected="a request that fits the schema at /openapi.json",
            request_id=request_id_of(scope),
            errors=places,
        )
    )


def request_id_of(scope: Scope) -> str:
    """The request's id, set by the observer; a new one, stored, if there is none."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if not state.get("request_id"):
        state["request_id"] = uuid.uuid4().hex
    return str(state["request_id"])


def note_error(scope: Scope, error: type[BaseException]) -> None:
    """Stores the error's type where the observer reads it."""
    scope.setdefault("state", {})["error"] = error.__name__


def shortened(value: object, max_chars: int = 200) -> str:
    """The value as text of bounded length, for problems and logs."""
    text = printable(str(value))
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."
