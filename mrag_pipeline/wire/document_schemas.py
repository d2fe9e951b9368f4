"""Answers of the API to looks without a question: documents, one of them, a passage's neighbours.

Imports only pydantic, as `schemas` does.
"""

from __future__ import annotations

from pydantic import Field, JsonValue

from mrag_pipeline.wire.schema import Schema
from mrag_pipeline.wire.schemas import Chunk


class DocumentSummary(Schema):
    """A document of the index, shown by one of its passages."""

    document_id: str
    title: str
    text: str = Field(description="The passage's beginning.")
    metadata: dict[str, JsonValue]


class DocumentList(Schema):
    """Documents of the live version."""

    version: str
    documents: list[DocumentSummary]


class DocumentPassages(Schema):
    """A document's passages, in its order."""

    version: str
    document_id: str
    title: str
    metadata: dict[str, JsonValue]
    num_passages: int = Field(description="Of the whole document.")
    passages: list[Chunk]


class Neighbour(Schema):
    """A near document, by its nearest passage."""

    chunk_id: str
    document_id: str
    title: str
    cosine: float


class VoterNeighbours(Schema):
    """The documents nearest to a passage in one space."""

    voter: str = Field(description="A head (l05_h07), or `standard`: the ordinary vector.")
    neighbours: list[Neighbour] = Field(description="Nearest first.")


class PassageNeighbours(Schema):
    """A passage's place in every head: the other documents around it."""

    version: str
    chunk_id: str
    document_id: str
    voters: list[VoterNeighbours]
