"""`/livez` and `/readyz`: for process supervisors and load balancers. No key needed."""

from __future__ import annotations

from fastapi import APIRouter

from mrag_pipeline.errors import NotReady
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http.openapi import problems
from mrag_pipeline.wire.schemas import Health


def health_router(backend: Backend) -> APIRouter:
    """The routes over a backend."""
    router = APIRouter(tags=["health"])

    @router.get("/livez", summary="Whether the process is alive", responses=problems(500))
    async def livez() -> Health:
        """Does not touch the index."""
        return Health(status="alive")

    @router.get("/readyz", summary="Whether questions are answered", responses=problems(500, 503))
    async def readyz() -> Health:
        """503 with the reason if not."""
        state = await backend.state()
        if not state.ready or state.record is None:
            raise NotReady(state.reason, "a live version that the service's encoder built")
        return Health(status="ready", version=state.record.version)

    return router
