"""The Model Context Protocol: an index's tools and documents for assistants, by its official SDK.

A thin front over the query service: each call is one of the caller's own, made with the caller's
key, so that keys, tenants and limits are the service's and are checked there alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.server.mcpserver.resources.templates import ResourceSecurity
from mcp_types import ToolAnnotations

from mrag_pipeline import __version__
from mrag_pipeline.client import AsyncClient, SearchHit
from mrag_pipeline.client.problems import ServiceProblem
from mrag_pipeline.errors import MragError

Connect = Callable[[str], AsyncClient]
INSTRUCTIONS = """\
Searches a collection of documents. Ask whole questions: one that has several subjects finds \
documents for each. Cite what you use by its number and title. `aspects` says of each part of the \
question whether the collection has something on it; where it says `nothing here`, say so."""
PASSAGES = 100  # of one document in one resource
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def create_server(connect: Connect) -> MCPServer:
    """The server.

    Args:
        connect: a client of the service for a key; "" where the caller sent none.
    """
    server = MCPServer(
        "mrag", title="Multi-Head RAG", instructions=INSTRUCTIONS, version=__version__
    )

    @asynccontextmanager
    async def service(context: Context[Any, Any]) -> AsyncIterator[AsyncClient]:
        try:
            async with connect(_key(context.headers or {})) as client:
                yield client
        except MragError as error:
            raise ToolError(str(error)) from error

    @server.tool(annotations=_READS)
    async def search(
        query: str,
        context: Context[Any, Any],
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the API's word
        strategy: str | None = None,
    ) -> dict[str, Any]:
        """Find the documents that answer a question, each by its best passage.

        A filter is a condition such as {"field": "metadata.year", "op": "ge", "value": 2020}, or
        all, any or not of such. `read_more` names the resource with the whole document.
        """
        asked: dict[str, Any] = {"k": k, "filter": filter, "strategy": strategy}
        async with service(context) as client:
            answer = await client.search(
                query, **{name: value for name, value in asked.items() if value is not None}
            )
        return {
            "passages": [_passage(rank, hit) for rank, hit in enumerate(answer.hits, 1)],
            "aspects": [
                {"text": aspect.text, "verdict": aspect.verdict} for aspect in answer.aspects
            ],
            "warnings": answer.warnings,
            "version": answer.version,
        }

    @server.tool(annotations=_READS)
    async def answer_sources(
        query: str, context: Context[Any, Any], k: int | None = None
    ) -> dict[str, Any]:
        """Have the service's own chat model answer a question, with the sources that it cites."""
        asked: dict[str, Any] = {} if k is None else {"k": k}
        async with service(context) as client:
            answer = await client.answer(query, **asked)
        return {
            "answer": answer.answer,
            "sources": [_passage(cited.number, cited.hit) for cited in answer.citations],
            "unsourced": [aspect.text for aspect in answer.unsourced],
            "model": answer.model,
        }

    @server.tool(annotations=_READS)
    async def get_document(
        document_id: str, context: Context[Any, Any], offset: int = 0, limit: int = PASSAGES
    ) -> dict[str, Any]:
        """Read a document by its id: its passages from the offset on, in its order."""
        async with service(context) as client:
            found = await client.document(document_id, offset=offset, limit=limit)
        return {
            "document_id": found.document_id,
            "title": found.title,
            "metadata": found.metadata,
            "num_passages": found.num_passages,
            "passages": [passage.text for passage in found.passages],
        }

    @server.tool(annotations=_READS)
    async def index_status(context: Context[Any, Any]) -> dict[str, Any]:
        """What is searched: the live version, how many documents, the model, the strategies."""
        async with service(context) as client:
            state = await client.index()
        return state.model_dump(exclude={"heads"}) | {"num_heads": len(state.heads)}

    @server.resource(
        "mrag://document/{document_id}",
        title="A document",
        mime_type="text/plain",
        # An id is looked up in the index, never opened as a path.
        security=ResourceSecurity(exempt_params={"document_id"}),
    )
    async def document(document_id: str, context: Context[Any, Any]) -> str:
        """A document's passages, in its order."""
        try:
            async with connect(_key(context.headers or {})) as client:
                found = await client.document(document_id, limit=PASSAGES)
        except MragError as error:
            absent = isinstance(error, ServiceProblem) and error.status == 404
            raise (ResourceNotFoundError if absent else ResourceError)(str(error)) from error
        left = found.num_passages - len(found.passages)
        rest = [f"({left} more passages: get_document has them)"] if left > 0 else []
        return "\n\n".join([found.title, *(each.text for each in found.passages), *rest])

    return server


def _key(headers: Mapping[str, str]) -> str:
    """The key of the caller's request, sent as to the service itself; "" without one."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _passage(number: int, hit: SearchHit) -> dict[str, Any]:
    return {
        "number": number,
        "document_id": hit.document_id,
        "title": hit.title,
        "text": hit.text,
        "metadata": hit.metadata,
        "cosine": hit.cosine,
        "aspects": hit.aspects,
        "read_more": f"mrag://document/{quote(hit.document_id, safe='')}",
    }
