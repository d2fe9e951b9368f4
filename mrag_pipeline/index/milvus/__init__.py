"""The index on Milvus: Lite in this process, or a server. The only room that imports pymilvus."""

from mrag_pipeline.index.milvus.lean_import import import_pymilvus

import_pymilvus()
