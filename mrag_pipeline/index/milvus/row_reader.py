"""Reads rows from Milvus: by a condition, by ids, or all of them in blocks.

Each read is tried as a direct call first (`direct_calls.py`). If that gives no answer, pymilvus
makes the call, with its own retries and errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types
from pymilvus import MilvusClient

from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.direct_answers import Late
from mrag_pipeline.index.milvus.direct_calls import DirectCalls
from mrag_pipeline.index.milvus.expressions import both, ids_in
from mrag_pipeline.index.milvus.in_memory import InMemory
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.settings.milvus import MilvusSpec

Rows = list[dict[str, Any]]

_IDS_PER_QUERY = 512  # at 64 KB of text at most, an answer has 32 MB
BLOCK_ROWS = 16_000  # ids or marks in one answer; a server returns at most 16,384 rows
_MIN_TIMEOUT_S = 0.001


class RowReader:
    """Reads rows in Milvus's form; threads may share it."""

    def __init__(
        self,
        client: MilvusClient,
        direct: DirectCalls,
        spec: MilvusSpec,
        in_memory: InMemory,
    ) -> None:
        """Sends nothing yet.

        Args:
            in_memory: reads from a collection that is in the server's memory then.
        """
        self._client = client
        self._direct = direct
        self._spec = spec
        self._in_memory = in_memory

    def rows(
        self,
        collection: str,
        matching: str,
        fields: Sequence[str],
        limit: int | None = None,
        consistency: str = "",
    ) -> Rows:
        """The rows that match, at most `limit`."""
        level = consistency or self._spec.consistency
        with translated(f"cannot read {collection}"):
            return self._in_memory(
                collection, lambda: self._read(collection, matching, fields, limit, level)
            )

    def _read(
        self, collection: str, matching: str, fields: Sequence[str], limit: int | None, level: str
    ) -> Rows:
        deadline = time.monotonic() + self._spec.timeout_s
        direct_rows = self._direct.query(
            collection, matching, fields, limit, level, self._spec.timeout_s
        )()
        if direct_rows is Late.LATE:
            raise grpc.FutureTimeoutError
        if direct_rows is not None:
            return direct_rows
        limit_argument = {} if limit is None else {"limit": limit}
        return list(
            self._client.query(
                collection,
                filter=matching,
                output_fields=list(fields),
                **limit_argument,
                consistency_level=level,
                timeout=max(_MIN_TIMEOUT_S, deadline - time.monotonic()),
            )
        )

    def by_id(self, collection: str, ids: Sequence[int], fields: Sequence[str]) -> Rows:
        """The rows with these ids, as far as they exist."""
        rows: Rows = []
        for start in range(0, len(ids), _IDS_PER_QUERY):
            batch = ids[start : start + _IDS_PER_QUERY]
            rows += self.rows(collection, ids_in(batch), fields)
        return rows

    def start(
        self, collection: str, ids: Sequence[int], fields: Sequence[str]
    ) -> Callable[[], Rows]:
        """Asks for a few rows; the function it returns waits for them, and gives [] on failure.

        The collection must be in the server's memory.
        """
        matching, level = ids_in(ids[:_IDS_PER_QUERY]), self._spec.consistency
        wait = self._direct.query(collection, matching, fields, None, level, self._spec.timeout_s)

        def received_rows() -> Rows:
            rows = wait()
            return rows if isinstance(rows, list) else []

        return received_rows

    def blocks(
        self,
        collection: str,
        fields: Sequence[str],
        total: int,
        wanted: str = "",
        consistency: str = "Strong",
        start: int = 0,
        stop: int = ID_END,
    ) -> Iterator[Rows]:
        """All rows by ranges of ids, so that no limit of Lite or a server cuts an answer.

        Args:
            total: the approximate number of rows of the collection; 0 if it is unknown.
            wanted: an expression that the rows must match.
            start, stop: of the ids.
        """
        width = max(1, ID_END * BLOCK_ROWS // (2 * max(1, total)))
        ranges = [(low, min(low + width, stop)) for low in range(start, stop, width)][::-1]
        while ranges:
            low, high = ranges.pop()
            in_range = f"chunk_id >= {low} and chunk_id < {high}"
            if high == ID_END:  # which is no int64
                in_range = f"chunk_id >= {low}"
            matching = both(in_range, wanted)
            block = self.rows(collection, matching, fields, BLOCK_ROWS, consistency)
            if len(block) >= BLOCK_ROWS and high - low > 1:
                middle = (low + high) // 2
                ranges += [(middle, high), (low, middle)]
            elif block:
                yield block
