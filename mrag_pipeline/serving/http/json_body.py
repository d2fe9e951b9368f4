"""A request's JSON body, read after the key was checked and taken only if it says it is JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from mrag_pipeline.serving.http.disconnects import left
from mrag_pipeline.serving.http.problem_table import WrongMediaType
from mrag_pipeline.serving.http.problems import shortened

M = TypeVar("M", bound=BaseModel)


def body_of(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads the request's body as the model.

    FastAPI's own would parse the body before any other dependency runs, the guard's too. Types
    are taken as they are: "5" is no number.

    Raises: WrongMediaType; RequestValidationError (bad JSON too).
    """

    async def body(request: Request) -> M:
        _check(request.headers.get("content-type", ""))
        try:
            return model.model_validate_json(await request.body(), strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError(
                [{**one, "loc": ("body", *one["loc"])} for one in found]
            ) from None
        except ClientDisconnect:
            raise left() from None

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
            f"a body of type {shortened(content_type) or 'that is not said'}",
            "application/json in UTF-8",
            "send the header `Content-Type: application/json`",
        )
