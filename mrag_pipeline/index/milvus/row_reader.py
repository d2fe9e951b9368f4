"""Reads rows of Milvus: by a condition, by ids, or all of them in blocks.

Each read is first made as a direct call (`direct_calls.py`). If that gives nothing, pymilvus makes
it, with its retries and its errors.
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
from mrag_pipeline.settings.milvus import MilvusSpec

Rows = list[dict[str, Any]]

_IDS_PER_QUERY = 512  # texts of 64 KB at most: 32 MB an answer
_BLOCK_ROWS = 4_000  # ids or marks of one answer; a server answers 16,384 rows at most
_IDS = 2**63  # chunk ids are below it, and spread evenly
_LEAST_S = 0.001


class RowReader:
    """Reads rows as Milvus answers them; safe to share by threads."""

    def __init__(
        self,
        client: MilvusClient,
        direct: DirectCalls,
        spec: MilvusSpec,
        ready: Callable[[str], None],
    ) -> None:
        """Ready to read.

        Args:
            ready: has a collection in memory.
        """
        self._client = client
        self._direct = direct
        self._spec = spec
        self._ready = ready

    def rows(
        self,
        collection: str,
        matching: str,
        fields: Sequence[str],
        limit: int | None = None,
        consistency: str = "",
    ) -> Rows:
        """The rows that match, as many as the limit at most."""
        level = consistency or self._spec.consistency
        with translated(f"cannot read {collection}"):
            self._ready(collection)
            until = time.monotonic() + self._spec.timeout_s
            found = self._direct.query(
                collection, matching, fields, limit, level, self._spec.timeout_s
            )()
            if found is Late.LATE:
                raise grpc.FutureTimeoutError
            if found is not None:
                return found
            bound = {} if limit is None else {"limit": limit}
            return list(
                self._client.query(
                    collection,
                    filter=matching,
                    output_fields=list(fields),
                    **bound,
                    consistency_level=level,
                    timeout=max(_LEAST_S, until - time.monotonic()),
                )
            )

    def by_id(self, collection: str, ids: Sequence[int], fields: Sequence[str]) -> Rows:
        """The rows that exist."""
        found: Rows = []
        for at in range(0, len(ids), _IDS_PER_QUERY):
            found += self.rows(collection, ids_in(ids[at : at + _IDS_PER_QUERY]), fields)
        return found

    def start(
        self, collection: str, ids: Sequence[int], fields: Sequence[str]
    ) -> Callable[[], Rows]:
        """Asks for a few rows of a collection in memory; what it gives waits, and is what came."""
        few, level = ids_in(ids[:_IDS_PER_QUERY]), self._spec.consistency
        coming = self._direct.query(collection, few, fields, None, level, self._spec.timeout_s)

        def came() -> Rows:
            found = coming()
            return found if isinstance(found, list) else []

        return came

    def blocks(
        self,
        collection: str,
        fields: Sequence[str],
        total: int,
        wanted: str = "",
        consistency: str = "Strong",
    ) -> Iterator[Rows]:
        """All rows by ranges of ids, which neither Lite's nor any server's limits touch.

        Args:
            total: about how many there are; 0 if nobody knows.
            wanted: only those that match.
        """
        width = max(1, _IDS * _BLOCK_ROWS // (2 * max(1, total)))
        ranges = [(at, min(at + width, _IDS)) for at in range(0, _IDS, width)][::-1]
        while ranges:
            start, stop = ranges.pop()
            between = f"chunk_id >= {start} and chunk_id < {stop}"
            if stop == _IDS:  # no int64 itself
                between = f"chunk_id >= {start}"
            matching = both(between, wanted)
            block = self.rows(collection, matching, fields, _BLOCK_ROWS, consistency)
            if len(block) >= _BLOCK_ROWS and stop - start > 1:
                middle = (start + stop) // 2
                ranges += [(middle, stop), (start, middle)]
            elif block:
                yield block
