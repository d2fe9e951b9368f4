"""A service that leaves is not ready, and answers all the same."""

from __future__ import annotations

import asyncio

import httpx
from fastapi import FastAPI

from mrag_pipeline.serving.http.leaving import Leaving


def test_a_leaving_service_is_not_ready_and_answers() -> None:
    """With a problem that says why; other routes are as before."""
    api = FastAPI()

    @api.get("/readyz")
    async def readyz() -> str:
        return "ready"

    @api.get("/v1/index")
    async def index() -> str:
        return "index"

    app = Leaving(api)

    def got(path: str) -> httpx.Response:
        async def get() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
                return await client.get(path)

        return asyncio.run(get())

    assert got("/readyz").json() == "ready"
    app.leave()
    refused = got("/readyz")
    assert (refused.status_code, refused.json()["status"]) == (503, 503)
    assert int(refused.headers["Retry-After"]) >= 1
    assert "about to stop" in refused.json()["detail"]
    assert got("/v1/index").json() == "index"
