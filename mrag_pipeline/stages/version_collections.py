"""Which collections a version has."""

from __future__ import annotations

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import (
    VersionRecord,
    chunks_collection,
    head_collection,
    lexical_collection,
)
from mrag_pipeline.ports import CollectionSpec


def collections_of(version: Manifest | VersionRecord) -> tuple[CollectionSpec, ...]:
    """The H head collections in their order, the lexical one if there is one, the chunks last.

    Args:
        version: its plan, or its record.
    """
    index, name, card = version.index, version.version, version.encoder
    heads = (
        CollectionSpec(head_collection(index, name, head), "head", card.head_dim)
        for head in card.heads
    )
    chunks = CollectionSpec(chunks_collection(index, name), "chunks", card.standard_dim)
    if version.lexical is None:
        return (*heads, chunks)
    words = CollectionSpec(lexical_collection(index, name), "lexical", 0, version.lexical)
    return (*heads, words, chunks)
