"""Looks without a question: `/v1/documents`, `/v1/document`, `/v1/chunks/{chunk_id}/neighbours`."""

# No `from __future__ import annotations`: FastAPI reads these, and they name the guard.

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from mrag_pipeline.errors import NotFound
from mrag_pipeline.query.browse import FindDocuments, FindNeighbours, ReadDocument
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http import wire_format
from mrag_pipeline.serving.http.api_ports import Caller, Guard
from mrag_pipeline.serving.http.disconnects import unless_left
from mrag_pipeline.serving.http.index_routes import INT64_MAX, ChunkId, no_chunk
from mrag_pipeline.serving.http.json_response import json_of
from mrag_pipeline.serving.http.openapi import ALWAYS, problems
from mrag_pipeline.serving.security.admission import Admission
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.document_schemas import (
    DocumentList,
    DocumentPassages,
    PassageNeighbours,
)

MAX_DOCUMENTS = 100
MAX_PASSAGES = 1000
MAX_NEIGHBOURS = 50

Tenant = Annotated[str | None, Query(max_length=512, description="Only this tenant's documents.")]


def document_router(
    backend: Backend, admission: Admission, guard: Guard, spec: ServeSpec
) -> APIRouter:
    """The routes over a backend."""
    router = APIRouter(prefix="/v1", tags=["index"])

    @router.get(
        "/documents",
        summary="Documents by id or title",
        response_model=DocumentList,
        responses=problems(403, 422, 504, *ALWAYS),
    )
    async def documents(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        text: Annotated[
            str,
            Query(
                max_length=512,
                description="How an id or a title begins; then what it has. Empty: any document.",
                examples=["http"],
            ),
        ] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_DOCUMENTS)] = 20,
        tenant: Tenant = None,
    ) -> Response:
        """Documents whose id or title begins with the text, then others that have it."""
        look = FindDocuments(text.strip(), limit, admission.narrowed(None, tenant, caller))
        found = await unless_left(request, backend.browse(look), spec.timeout_s)
        return json_of(wire_format.document_list(found))

    @router.get(
        "/document",
        summary="One document's passages",
        response_model=DocumentPassages,
        responses=problems(403, 404, 422, 504, *ALWAYS),
    )
    async def document(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        id: Annotated[  # noqa: A002  the name of the parameter
            str,
            Query(
                min_length=1,
                max_length=4096,
                description="A `document_id`.",
                examples=["library/os"],
            ),
        ],
        offset: Annotated[int, Query(ge=0, le=INT64_MAX)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PASSAGES)] = 100,
        tenant: Tenant = None,
    ) -> Response:
        """A document of the live version, passage by passage; another tenant's is 404."""
        look = ReadDocument(id, admission.narrowed(None, tenant, caller))
        found = await unless_left(request, backend.browse(look), spec.timeout_s)
        if found is None:
            raise NotFound(
                f"no document {id!r} in the live version",
                "a document_id of this version",
                "look for it with /v1/documents",
            )
        return json_of(wire_format.document_passages(found, offset, limit))

    @router.get(
        "/chunks/{chunk_id}/neighbours",
        summary="A passage's place in every head",
        response_model=PassageNeighbours,
        responses=problems(403, 404, 422, 504, *ALWAYS),
    )
    async def neighbours(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        chunk_id: ChunkId,
        k: Annotated[int, Query(ge=1, le=MAX_NEIGHBOURS, description="Documents by head.")] = 5,
        tenant: Tenant = None,
    ) -> Response:
        """The other documents nearest to a passage, by each head and by the ordinary vector."""
        only = admission.narrowed(None, tenant, caller)
        found = None
        if int(chunk_id) <= INT64_MAX:
            look = FindNeighbours(int(chunk_id), k, only)
            found = await unless_left(request, backend.browse(look), spec.timeout_s)
        if found is None:
            raise no_chunk(chunk_id)
        return json_of(wire_format.passage_neighbours(found))

    return router
