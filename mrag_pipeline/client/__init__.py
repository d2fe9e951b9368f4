"""A typed client of the query service, `Client` and `AsyncClient`.

    from mrag_pipeline.client import Client, field

    with Client("http://127.0.0.1:8000") as service:
        answer = service.search("parse CSV over HTTP", filter=field("metadata.year") >= 2020)

Imports httpx, httpx-sse, pydantic and tenacity, which is all that `pip install mrag-pipeline`
brings: no model, no index, no server.
"""

from mrag_pipeline.client.blocking import Client
from mrag_pipeline.client.coroutines import AsyncClient
from mrag_pipeline.client.events import AnswerEvent
from mrag_pipeline.client.filters import Field, Where, field
from mrag_pipeline.client.problems import (
    AnswerUnreadable,
    ServiceBusy,
    ServiceProblem,
    ServiceRefused,
    ServiceUnreachable,
)
from mrag_pipeline.wire.document_schemas import (
    DocumentPassages,
    DocumentSummary,
    PassageNeighbours,
)
from mrag_pipeline.wire.schemas import (
    AnswerEnd,
    BatchAnswer,
    Chunk,
    Citation,
    HeadState,
    IndexState,
    SearchAnswer,
    SearchBody,
    SearchHit,
    TextPiece,
    VoterShares,
    WindowPart,
    WordedAnswer,
)

__all__ = [
    "AnswerEnd",
    "AnswerEvent",
    "AnswerUnreadable",
    "AsyncClient",
    "BatchAnswer",
    "Chunk",
    "Citation",
    "Client",
    "DocumentPassages",
    "DocumentSummary",
    "Field",
    "HeadState",
    "IndexState",
    "PassageNeighbours",
    "SearchAnswer",
    "SearchBody",
    "SearchHit",
    "ServiceBusy",
    "ServiceProblem",
    "ServiceRefused",
    "ServiceUnreachable",
    "TextPiece",
    "VoterShares",
    "Where",
    "WindowPart",
    "WordedAnswer",
    "field",
]
