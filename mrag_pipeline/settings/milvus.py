"""`[milvus]`: where the index is, and how it is stored and searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mrag_pipeline.settings.bounds import Count, PositiveAmount, PositiveCount
from mrag_pipeline.settings.vectors import VectorType

Params = Mapping[str, int | float | str | bool]


@dataclass(frozen=True, slots=True)
class MilvusSpec:
    """Where the index is and how it is used. The token is only read from the environment."""

    uri: str = ".mrag/index.db"  # a path ending in .db: Milvus Lite; http(s)://host:port: a server
    token_env: str = "MRAG_MILVUS_TOKEN"  # environment variable with "user:password" or an API key
    db_name: str = ""  # the server's database; empty: its default
    tls_ca: str = ""  # PEM file of the CA that signed the server's certificate; empty: the system's
    tls_cert: str = ""  # PEM files of our certificate and its key, if the server requires one
    tls_key: str = ""
    vector_dtype: VectorType = "float32"  # of new collections; 16 bits need a server from 2.4 on
    index_type: str = "FLAT"
    index_params: Params = field(default_factory=dict)  # of the build; empty: the usual ones
    search_params: Params = field(default_factory=dict)
    replicas: PositiveCount = 1  # copies of each collection in the memory of a server's query nodes
    max_collections: PositiveCount = 65_536  # that the server's database allows; it cannot be asked
    advised_collections: PositiveCount = 500  # of a server's database; a plan refuses more
    timeout_s: PositiveAmount = 30  # for one call, the client's retries included
    build_timeout_s: PositiveAmount = 600  # for one flush, index build or load into memory
    insert_rows: PositiveCount = 10_000  # rows per insert call
    load_threads: PositiveCount = 8  # whole collections loaded or changed at a time on a server
    search_threads: PositiveCount = 8  # searches in flight on a server; one at a time on Lite
    range_mb: PositiveAmount = 4_096  # of a collection that one item loads on a server
    bulk_uri: str = ""  # folder for the server's bulk import files; empty: rows are inserted
    bulk_path: str = ""  # the same folder as the server names it; empty: the same name
    bulk_min_rows: Count = 500_000  # in a collection; fewer rows are inserted
    consistency: Literal["Strong", "Bounded", "Eventually"] = "Bounded"  # of searches
