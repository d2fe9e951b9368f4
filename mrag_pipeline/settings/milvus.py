"""`[milvus]`: where the index lives and how it is spoken to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mrag_pipeline.settings.bounds import Count, PositiveAmount, PositiveCount
from mrag_pipeline.settings.vectors import VectorType

Params = Mapping[str, int | float | str | bool]


@dataclass(frozen=True, slots=True)
class MilvusSpec:
    """The `[milvus]` part of the config file. The token is only ever in the environment."""

    uri: str = ".mrag/index.db"  # a path ending in .db: Milvus Lite; http(s)://host:port: a server
    token_env: str = "MRAG_MILVUS_TOKEN"  # the variable that holds "user:password" or an API key
    db_name: str = ""  # the server's database; empty: its default
    tls_ca: str = ""  # a PEM file of who signed the server's certificate; empty: the system's
    tls_cert: str = ""  # our own certificate and its key, where the server asks for one
    tls_key: str = ""
    vector_dtype: VectorType = "float32"  # of new collections; 16 bits need a server from 2.4 on
    index_type: str = "FLAT"
    index_params: Params = field(default_factory=dict)  # of building it; empty: the usual ones
    search_params: Params = field(default_factory=dict)
    replicas: PositiveCount = 1  # of each collection in the memory of a server's query nodes
    max_collections: PositiveCount = 65_536  # that the server's database takes; it does not tell
    timeout_s: PositiveAmount = 30  # of one call, the client's own retries included
    build_timeout_s: PositiveAmount = 600  # of one flush, index build or load into memory
    insert_rows: PositiveCount = 10_000  # rows per insert call
    load_threads: PositiveCount = 8  # collections loaded at a time on a server; Lite takes one
    search_threads: PositiveCount = 8  # searches in flight on a server; Lite takes one at a time
    bulk_uri: str = ""  # where files for the server's bulk import are written; empty: inserts
    bulk_path: str = ""  # the same place as the server names it; empty: the same
    bulk_min_rows: Count = 500_000  # of a collection; fewer rows are inserted
    consistency: Literal["Strong", "Bounded", "Eventually"] = "Bounded"  # of searches
