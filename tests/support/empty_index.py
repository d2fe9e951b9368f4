"""An empty index on each kind of store that the contract suites run on."""

from __future__ import annotations

from pathlib import Path

from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.milvus_server import SERVER, empty

STORES = ["exact", "lite", *(["server"] if SERVER else [])]


def open_empty(store: str, folder: Path, insert_rows: int = 100) -> VectorIndex:
    """An empty index named docs; a small `insert_rows` makes a load send several messages."""
    if store == "exact":
        return ExactIndex("docs")
    if store == "server":
        empty(SERVER)
        return open_index(MilvusSpec(uri=SERVER, insert_rows=insert_rows), "docs")
    # Opening the index has to create the folder.
    uri = str(folder / "made" / "x.db")
    return open_index(MilvusSpec(uri=uri, insert_rows=insert_rows), "docs")
