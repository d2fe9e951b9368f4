"""A small app behind the real guard and observer, and clients for it."""

# No `from __future__ import annotations`: FastAPI reads these, and they name the guard.

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, TypeVar

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from mrag_pipeline.errors import Forbidden
from mrag_pipeline.serving.http import error_handlers
from mrag_pipeline.serving.security.guard import KeyCaller, KeyGuard
from mrag_pipeline.serving.telemetry.observer import RequestObserver

T = TypeVar("T")
BASE = "http://127.0.0.1:8000"


def app_with(guard: KeyGuard, observer: RequestObserver | None = None) -> FastAPI:
    """`/who` returns the caller, `/size` the body's length; the other routes fail or wait.

    `/stream` sets `app.state.streaming` after its first piece and waits for `app.state.go`.
    """
    app = FastAPI()
    error_handlers.install(app)

    @app.get("/who")
    async def who(caller: Annotated[KeyCaller, Depends(guard)]) -> dict[str, str | None]:
        return {"name": caller.name, "tenant": caller.tenant}

    @app.post("/size")
    async def size(request: Request, caller: Annotated[KeyCaller, Depends(guard)]) -> int:
        return len(await request.body())

    @app.post("/batch/{cost}")
    async def batch(cost: int, caller: Annotated[KeyCaller, Depends(guard)]) -> int:
        guard.spend(caller, cost - 1)
        return cost

    @app.get("/items/{item}")
    async def item(item: str, caller: Annotated[KeyCaller, Depends(guard)]) -> str:
        return item

    @app.get("/stream")
    async def stream(caller: Annotated[KeyCaller, Depends(guard)]) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"a"
            app.state.streaming.set()
            await app.state.go.wait()
            yield b"b"

        return StreamingResponse(pieces())

    @app.get("/broken")
    async def broken(caller: Annotated[KeyCaller, Depends(guard)]) -> None:
        raise RuntimeError("insides")

    @app.get("/forbidden")
    async def forbidden(caller: Annotated[KeyCaller, Depends(guard)]) -> None:
        raise Forbidden("another's")

    guard.protect(app)
    if observer is not None:
        observer.install(app)
    return app


def asked(app: FastAPI, asking: Callable[[httpx.AsyncClient], Awaitable[T]], base: str = BASE) -> T:
    """The callable's result with a client of the app."""

    async def run() -> T:
        app.state.streaming, app.state.go = asyncio.Event(), asyncio.Event()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await asking(client)

    return asyncio.run(run())


def got(
    app: FastAPI,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    base: str = BASE,
    **more: object,
) -> httpx.Response:
    """One request's response."""
    return asked(
        app,
        lambda client: client.request(method, path, headers=headers, **more),  # type: ignore[arg-type]
        base,
    )
