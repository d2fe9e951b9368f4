"""The table of an index's lease, as a small Milvus collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mrag_pipeline.index.milvus.connection import connect, disconnect
from mrag_pipeline.index.milvus.named_texts import NamedTexts
from mrag_pipeline.settings.milvus import MilvusSpec


@contextmanager
def open_lease_table(spec: MilvusSpec, index: str) -> Iterator[NamedTexts]:
    """The collection `{index}_lease`, created if missing; the connection ends with the block.

    Raises: ConfigError, IndexUnavailable.
    """
    client = connect(spec)
    try:
        table = NamedTexts(client, spec, f"{index}_lease")
        table.create()
        yield table
    finally:
        disconnect(client, spec)
