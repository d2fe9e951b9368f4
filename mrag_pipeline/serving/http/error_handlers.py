"""Turns every error of the app into a problem response."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrag_pipeline.errors import MragError
from mrag_pipeline.serving.http.problems import (
    invalid,
    note_error,
    request_id_of,
    respond,
    response_of,
    shortened,
)
from mrag_pipeline.wire.schemas import Problem


class CatchAll:
    """Answers 500 for what no handler took; it is inside all other middleware, which see that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and responds if that fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except Exception as error:
            if started:  # the status is sent: all that is left is to break off
                raise
            await response_of(error, scope)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem. Call it before other middleware is added."""

    async def any_error(request: Request, error: Exception) -> Response:
        return response_of(error, request.scope)

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(error.errors(), request.scope)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        note_error(request.scope, HTTPException)
        problem = Problem(
            title=status.phrase,
            status=status,
            detail=f"{request.method} {shortened(request.url.path)}: {shortened(error.detail)}",
            expected="an endpoint of /openapi.json" if status in (404, 405) else "",
            request_id=request_id_of(request.scope),
        )
        return respond(problem, error.headers)

    app.add_exception_handler(MragError, any_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, any_error)
    app.add_middleware(CatchAll)
