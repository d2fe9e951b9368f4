"""A typed client of the query service, `Client` and `AsyncClient`.

    from mrag_pipeline.client import Client, field

    with Client("http://127.0.0.1:8000") as service:
        answer = service.search("parse CSV over HTTP", filter=field("metadata.year") >= 2020)

Needs httpx, pydantic and tenacity, and imports nothing else of this package's: no model, no
index, no server.
"""

from mrag_pipeline.client.blocking import Client
from mrag_pipeline.client.coroutines import AsyncClient
from mrag_pipeline.client.filters import Field, Where, field
from mrag_pipeline.client.problems import (
    AnswerUnreadable,
    ServiceBusy,
    ServiceProblem,
    ServiceRefused,
    ServiceUnreachable,
)
from mrag_pipeline.serving.schemas import (
    BatchAnswer,
    Chunk,
    Citation,
    HeadState,
    IndexState,
    SearchAnswer,
    SearchBody,
    SearchHit,
    WindowPart,
    WordedAnswer,
)

__all__ = [
    "AnswerUnreadable",
    "AsyncClient",
    "BatchAnswer",
    "Chunk",
    "Citation",
    "Client",
    "Field",
    "HeadState",
    "IndexState",
    "SearchAnswer",
    "SearchBody",
    "SearchHit",
    "ServiceBusy",
    "ServiceProblem",
    "ServiceRefused",
    "ServiceUnreachable",
    "Where",
    "WindowPart",
    "WordedAnswer",
    "field",
]
