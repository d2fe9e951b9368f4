"""A small Milvus collection of named texts, for a few facts about the index.

Reads use consistency level Strong: they see every write that ended before they began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pymilvus import MilvusClient, MilvusException

from mrag_pipeline.index.milvus import lite
from mrag_pipeline.index.milvus.connection import is_released, translated
from mrag_pipeline.index.milvus.schema import quoted, record_schema
from mrag_pipeline.settings.milvus import MilvusSpec

_VECTOR = [1.0, 0.0]  # Milvus requires a vector field
_MAX_ROWS = 16_000  # a server returns at most 16,384 rows


class NamedTexts:
    """Texts of at most 60 KB under names of at most 256 characters."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, collection: str) -> None:
        self._client = client
        self._spec = spec
        self.collection = collection
        self._ready = False

    def put(self, name: str, payload: str) -> None:
        """Stores a text, replacing the earlier one; for a moment a reader may see neither."""
        row = {"part": name, "payload": payload, "vector": _VECTOR}
        with translated(f"cannot write to {self.collection}"):
            self._client.upsert(self.collection, [row], timeout=self._spec.timeout_s)

    def remove(self, names: Iterable[str]) -> None:
        """Removes the names that exist."""
        removed_names = list(names)
        if removed_names:
            with translated(f"cannot write to {self.collection}"):
                self._client.delete(
                    self.collection, ids=removed_names, timeout=self._spec.timeout_s
                )

    def names(self, prefix: str) -> list[str]:
        """The names that start with the prefix, sorted."""
        with translated(f"cannot read {self.collection}"):
            rows = self._rows(f"part like {quoted(prefix + '%')}", ["part"], _MAX_ROWS)
        return sorted(row["part"] for row in rows)

    def payloads(self, names: Iterable[str]) -> Mapping[str, str]:
        """The texts of the names that exist, by name."""
        quoted_names = ", ".join(map(quoted, names))
        with translated(f"cannot read {self.collection}"):
            rows = self._rows(f"part in [{quoted_names}]", ["part", "payload"])
        return {row["part"]: row["payload"] for row in rows}

    def all(self) -> Mapping[str, str]:
        """All texts by name, in one read."""
        with translated(f"cannot read {self.collection}"):
            rows = self._rows('part like "%"', ["part", "payload"], _MAX_ROWS)
        return {row["part"]: row["payload"] for row in rows}

    def _rows(
        self, matching: str, fields: Sequence[str], limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The rows that match; loaded again if a server that was restarted has released them."""
        read = partial(
            self._client.query,
            self.collection,
            filter=matching,
            output_fields=list(fields),
            consistency_level="Strong",
            timeout=self._spec.timeout_s,
            **({} if limit is None else {"limit": limit}),
        )
        try:
            return list(read())
        except MilvusException as error:
            if not is_released(error):
                raise
        self._ready = False
        self.open()
        return list(read())

    def forget(self) -> None:
        """The collection was dropped: the next write creates it again."""
        self._ready = False

    def flush(self) -> None:
        """Returns when everything written is on disk."""
        with translated(f"cannot write to {self.collection}"):
            self._client.flush(self.collection, timeout=self._spec.build_timeout_s)

    def open(self) -> bool:
        """Whether the collection exists; if it does, it is loaded for reading."""
        with translated(f"cannot open {self.collection}"):
            if not self._ready and self._exists():
                if not self._indexed():
                    self._index()  # a run was killed between creating and indexing
                self._client.load_collection(self.collection, timeout=self._spec.build_timeout_s)
                self._ready = True
        return self._ready

    def create(self) -> None:
        """Creates the collection if it is missing; other processes may do so at the same time."""
        if self.open():
            return
        path = lite.database_path(self._spec.uri)
        with translated(f"cannot create {self.collection}"):
            if path is not None:
                lite.remove_leftover(path, self.collection)
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
