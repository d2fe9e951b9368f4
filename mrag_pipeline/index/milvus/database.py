"""One connection to one Milvus database, and what is known of it; safe to share by threads."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from pymilvus import MilvusClient, MilvusException

from mrag_pipeline.domain.proofs import PROOF
from mrag_pipeline.index.milvus import lite
from mrag_pipeline.index.milvus.capabilities import MilvusRelease
from mrag_pipeline.index.milvus.connection import connect, disconnect, is_released, translated
from mrag_pipeline.index.milvus.direct_calls import DirectCalls
from mrag_pipeline.index.milvus.read_only import is_read_only
from mrag_pipeline.index.milvus.schema import check_params, has_field, vector_type
from mrag_pipeline.ports import IndexCapabilities
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_PARTITION = "_default"  # every collection of a server has it


class MilvusDatabase:
    """Milvus Lite in this process, or a server: what all parts of an index on it share."""

    def __init__(self, spec: MilvusSpec, index: str) -> None:
        """Connected; nothing is created.

        Raises: ConfigError, IndexBusy if another process has the Lite database, IndexUnavailable.
        """
        self._spec = spec
        self._index = index
        self._path = lite.database_path(spec.uri)
        self._client: MilvusClient = connect(spec)
        self._is_closed = False
        try:
            with translated(f"cannot ask {spec.uri} for its version"):
                version = str(self._client.get_server_version(timeout=spec.timeout_s))
            self._release = MilvusRelease.of(version)
            self._index_type = self._release.check_index_type(spec.index_type)
            check_params(self._index_type, spec.index_params, spec.search_params)
            self._release.check_vector_dtype(spec.vector_dtype)
        except BaseException:
            self.close()
            raise
        is_shared = self._path is None
        self._capabilities = self._release.capabilities(spec, is_shared)
        self._direct = DirectCalls(self._client, spec, self._index_type)
        self._loaded: set[str] = set()
        self._load_locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._vector_types: dict[str, VectorType] = {}
        self._has_proof: dict[str, bool] = {}
        self._range_names: dict[str, list[str]] = {}  # a collection's partitions of its own

    def describe(self) -> str:
        """One line for people: which Milvus, and where it is."""
        note = " (read-only for this user)" if self._path and is_read_only(self._path) else ""
        return f"{self._release} at {self._spec.uri}{note}"

    def capabilities(self) -> IndexCapabilities:
        """What this Milvus can do, as far as the config allows it."""
        return self._capabilities

    def size_bytes(self) -> int | None:
        """The Lite database's files, all its indexes together; None on a server."""
        return None if self._path is None else lite.size_bytes(self._path)

    def close(self) -> None:
        """Closes the connection and gives up Lite's lock; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            disconnect(self._client, self._spec)

    # -------------------------------------------------------------- for the parts
    def _ensure_loaded(self, collection: str) -> None:
        """Has the collection in memory; Lite forgets that when it is opened again."""
        if collection in self._loaded:
            return
        # One thread at a time: a second load makes the collection unreadable for the first.
        with self._load_locks[collection]:
            if collection not in self._loaded:
                replicas = 1 if self._release.is_lite else self._spec.replicas
                options = {"replica_number": replicas} if replicas > 1 else {}
                self._client.load_collection(
                    collection, timeout=self._spec.build_timeout_s, **options
                )
                self._loaded.add(collection)

    def _in_memory(self, collection: str, read: Callable[[], T]) -> T:
        """What the read returns, with the collection in memory.

        A server that was started again has released what this process had loaded, so a read that
        fails for that reason is repeated once.
        """
        self._ensure_loaded(collection)
        try:
            return read()
        except MilvusException as error:
            if not is_released(error):
                raise
        log.warning("collection_released name=%s", collection)
        self._loaded.discard(collection)
        self._ensure_loaded(collection)
        return read()

    def _vector_type(self, collection: str) -> VectorType:
        """The type that its vectors have: the config may have changed since. Read once."""
        if not self._release.has_halves:
            return "float32"
        if collection not in self._vector_types:
            description = self._client.describe_collection(collection, timeout=self._spec.timeout_s)
            self._vector_types[collection] = vector_type(description)
        return self._vector_types[collection]

    def _has_proofs(self, collection: str) -> bool:
        """Whether the collection has a field for proofs; those of mrag 0.1 have none. Read once."""
        if collection not in self._has_proof:
            description = self._client.describe_collection(collection, timeout=self._spec.timeout_s)
            self._has_proof[collection] = has_field(description, PROOF)
        return self._has_proof[collection]

    def _ranges_of(self, collection: str) -> list[str]:
        """The partitions that its load has filled, if it was loaded in ranges. Read once."""
        if self._release.is_lite:
            return []
        if collection not in self._range_names:
            names = self._client.list_partitions(collection, timeout=self._spec.timeout_s)
            self._range_names[collection] = [name for name in names if name != DEFAULT_PARTITION]
        return self._range_names[collection]

    def _exists(self, collection: str) -> bool:
        return bool(self._client.has_collection(collection, timeout=self._spec.timeout_s))

    def _is_indexed(self, collection: str) -> bool:
        return bool(self._client.list_indexes(collection))
