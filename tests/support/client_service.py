"""A service made of a function, called by either client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from mrag_pipeline.client import AsyncClient, Client

Handler = Callable[[httpx.Request], httpx.Response]
URL = "http://127.0.0.1:8000"

ANSWER: dict[str, Any] = {
    "version": "v1",
    "strategy": "aspect",
    "windows": [{"text": "bees", "start": 0, "end": 4, "scale": "query"}],
    "voters": ["l05_h00", "standard"],
    "missing_voters": [],
    "hits": [
        {
            "chunk_id": "9007199254740993",
            "document_id": "d1",
            "ordinal": 0,
            "start": 0,
            "end": 10,
            "title": "Bees",
            "text": "Bees hum.",
            "metadata": {"year": 2020},
            "vote": 1.5,
            "window": 0,
            "votes_by_window": [1.5],
            "votes_by_voter": [1.0, 0.5],
        }
    ],
    "seconds": {"encode": 0.01, "total": 0.02},
}


def each_client(test: Any) -> Any:
    """Runs the test with `asking` bound to the blocking client, then to asyncio's."""
    return pytest.mark.parametrize("asking", [ask_waiting, ask_async], ids=["sync", "async"])(test)


def ask_waiting(handler: Handler, method: str, *args: Any, **options: Any) -> Any:
    """What `Client` answers; `settings` are its own."""
    settings = options.pop("settings", {})
    with Client(URL, transport=httpx.MockTransport(handler), **settings) as client:
        found = getattr(client, method)(*args, **options)
        return list(found) if isinstance(found, Iterator) else found


def ask_async(handler: Handler, method: str, *args: Any, **options: Any) -> Any:
    """What `AsyncClient` answers."""
    settings = options.pop("settings", {})

    async def ask() -> Any:
        transport = httpx.MockTransport(handler)
        async with AsyncClient(URL, transport=transport, **settings) as client:
            found = getattr(client, method)(*args, **options)
            return [one async for one in found] if hasattr(found, "__anext__") else await found

    return asyncio.run(ask())


class Scripted:
    """Returns its answers in turn, then repeats the last one; records its requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = answers
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        # A response can be read once; each request gets its own.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def body(self, at: int = 0) -> Any:
        """The JSON of a request."""
        return json.loads(self.requests[at].content)


def problem(status: int, retry_after: str | None = None, **told: Any) -> httpx.Response:
    """Problem details."""
    headers = {"content-type": "application/problem+json"}
    if retry_after is not None:
        headers["retry-after"] = retry_after
    body = {"title": "No", "status": status, "detail": "why", **told}
    return httpx.Response(status, headers=headers, json=body)
