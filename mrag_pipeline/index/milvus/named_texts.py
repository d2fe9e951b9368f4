"""A small collection of named texts: Milvus as a place for a few facts of our own.

Reads are at level Strong: they see every write that had ended when they began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pymilvus import MilvusClient, MilvusException

from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.schema import quoted, record_schema
from mrag_pipeline.settings.milvus import MilvusSpec

_VECTOR = [1.0, 0.0]  # Milvus asks for one
_MAX_ROWS = 16_000  # a server answers no more at once


class NamedTexts:
    """Texts of at most 60 KB under names of at most 256 characters."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, collection: str) -> None:
        self._client = client
        self._spec = spec
        self.collection = collection
        self._ready = False

    def put(self, name: str, payload: str) -> None:
        """Stores one, replacing what the name had; a reader may for a moment see neither."""
        row = {"part": name, "payload": payload, "vector": _VECTOR}
        with translated(f"cannot write to {self.collection}"):
            self._client.upsert(self.collection, [row], timeout=self._spec.timeout_s)

    def remove(self, names: Iterable[str]) -> None:
        """Removes those that are there."""
        gone = list(names)
        if gone:
            with translated(f"cannot write to {self.collection}"):
                self._client.delete(self.collection, ids=gone, timeout=self._spec.timeout_s)

    def names(self, prefix: str) -> list[str]:
        """The names that start so, sorted."""
        with translated(f"cannot read {self.collection}"):
            rows = self._client.query(
                self.collection,
                filter=f"part like {quoted(prefix + '%')}",
                output_fields=["part"],
                limit=_MAX_ROWS,
                consistency_level="Strong",
                timeout=self._spec.timeout_s,
            )
        return sorted(row["part"] for row in rows)

    def payloads(self, names: Iterable[str]) -> Mapping[str, str]:
        """What is stored under the names that are there."""
        wanted = ", ".join(map(quoted, names))
        with translated(f"cannot read {self.collection}"):
            rows = self._client.query(
                self.collection,
                filter=f"part in [{wanted}]",
                output_fields=["part", "payload"],
                consistency_level="Strong",
                timeout=self._spec.timeout_s,
            )
        return {row["part"]: row["payload"] for row in rows}

    def all(self) -> Mapping[str, str]:
        """Everything that is stored, in one read."""
        with translated(f"cannot read {self.collection}"):
            rows = self._client.query(
                self.collection,
                filter='part like "%"',
                output_fields=["part", "payload"],
                limit=_MAX_ROWS,
                consistency_level="Strong",
                timeout=self._spec.timeout_s,
            )
        return {row["part"]: row["payload"] for row in rows}

    def flush(self) -> None:
        """What was written is on disk when this returns."""
        with translated(f"cannot write to {self.collection}"):
            self._client.flush(self.collection, timeout=self._spec.build_timeout_s)

    def open(self) -> bool:
        """Whether the collection is there; if so, it can be read from now on."""
        with translated(f"cannot open {self.collection}"):
            if not self._ready and self._exists():
                if not self._indexed():
                    self._index()  # a run died between creating and indexing
                self._client.load_collection(self.collection, timeout=self._spec.build_timeout_s)
                self._ready = True
        return self._ready

    def create(self) -> None:
        """The collection is there, whoever else creates it at the same time."""
        if self.open():
            return
        with translated(f"cannot create {self.collection}"):
            try:
                self._client.create_collection(
                    self.collection, schema=record_schema(), timeout=self._spec.timeout_s
                )
            except MilvusException:
                if not self._exists():
                    raise
        self.open()

    def _index(self) -> None:
        params = self._client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="COSINE")
        try:
            self._client.create_index(
                self.collection, params, sync=False, timeout=self._spec.build_timeout_s
            )
        except MilvusException:
            if not self._indexed():
                raise

    def _exists(self) -> bool:
        return bool(self._client.has_collection(self.collection, timeout=self._spec.timeout_s))

    def _indexed(self) -> bool:
        return bool(self._client.list_indexes(self.collection))
