"""`/v1/index` and `/v1/chunks/{chunk_id}`."""

# No `from __future__ import annotations`: FastAPI reads these, and they name the guard.

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from mrag_pipeline.errors import NotFound, NotReady
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http import wire_format
from mrag_pipeline.serving.http.api_ports import Caller, Guard
from mrag_pipeline.serving.http.disconnects import unless_left
from mrag_pipeline.serving.http.json_response import json_of
from mrag_pipeline.serving.http.openapi import ALWAYS, problems
from mrag_pipeline.serving.security.admission import Admission
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import Chunk, IndexState

INT64_MAX = 2**63 - 1

ChunkId = Annotated[
    str, Path(pattern="^[0-9]{1,19}$", description="The `chunk_id` of a hit.", examples=["42"])
]


def index_router(
    backend: Backend,
    admission: Admission,
    guard: Guard,
    spec: ServeSpec,
    retrieve: RetrieveSpec,
    chat_model: str = "",
) -> APIRouter:
    """The routes over a backend.

    Args:
        chat_model: that /v1/answer asks; empty: none is configured.
    """
    router = APIRouter(prefix="/v1", tags=["index"])

    @router.get(
        "/index",
        summary="The live version",
        response_model=IndexState,
        responses=problems(504, *ALWAYS),
    )
    async def index(request: Request, caller: Annotated[Caller, Depends(guard)]) -> Response:
        """The live version, its heads, and the strategies to choose from."""
        state = await unless_left(request, backend.state(), spec.timeout_s)
        if state.record is None:
            raise NotReady(state.reason, "a live version")
        return json_of(
            wire_format.index_state(
                state.record,
                spec.examples,
                retrieve.strategy,
                admission.default_k(),
                chat_model,
                shows_counts=caller.tenant is None,
            )
        )

    @router.get(
        "/chunks/{chunk_id}",
        summary="One passage",
        response_model=Chunk,
        responses=problems(403, 404, 422, 504, *ALWAYS),
    )
    async def chunk(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        chunk_id: ChunkId,
        tenant: Annotated[
            str | None,
            Query(max_length=512, description="404 unless it is this tenant's."),
        ] = None,
    ) -> Response:
        """A passage of the live version; another tenant's is 404."""
        only = admission.narrowed(None, tenant, caller)
        number = int(chunk_id)
        row = None
        if number <= INT64_MAX:
            row = await unless_left(request, backend.chunk(number, only), spec.timeout_s)
        if row is None:
            raise no_chunk(chunk_id)
        return json_of(wire_format.chunk(row))

    return router


def no_chunk(chunk_id: str) -> NotFound:
    """The error for a chunk that is not there, or not for the caller to see."""
    return NotFound(
        f"no chunk {chunk_id} in the live version",
        "a chunk_id from a search of this version",
        "search again: a sync or a new version may have replaced it",
    )
