"""Reads a request's JSON body after the key was checked, if its Content-Type is JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from mrag_pipeline.serving.http.disconnects import client_left
from mrag_pipeline.serving.http.problem_table import WrongMediaType
from mrag_pipeline.serving.http.problems import shortened

M = TypeVar("M", bound=BaseModel)


def body_of(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads the request's body as the model.

    FastAPI's own would parse the body before any other dependency runs, even the guard. Types
    are strict: "5" is not a number.

    Raises: WrongMediaType; RequestValidationError (bad JSON too).
    """

    async def body(request: Request) -> M:
        _check(request.headers.get("content-type", ""))
        try:
            return model.model_validate_json(await request.body(), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError(
                [{**detail, "loc": ("body", *detail["loc"])} for detail in details]
            ) from None
        except ClientDisconnect:
            raise client_left() from None

    return body


def _check(content_type: str) -> None:
    media, _, rest = content_type.partition(";")
    kind = media.strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    charset = rest.replace('"', "").strip().lower()
    if not is_json or (charset.startswith("charset=") and charset != "charset=utf-8"):
        raise WrongMediaType(
            f"Content-Type: {shortened(content_type) or '(none)'}",
            "application/json in UTF-8",
            "send the header `Content-Type: application/json`",
        )
