"""Searches and reads as single gRPC calls over pymilvus's own channel.

pymilvus makes an object of every hit and a dict of every row, and waits for one answer at a time.
Here its own message is reused and only the vectors in it are replaced; the call goes out over its
own channel, which knows the token, TLS and the database; `direct_answers.py` reads the answer.

Nothing is retried here. A call that fails, or that this pymilvus cannot make, gives None: the
caller then asks pymilvus, which owns the retries and the error messages.
Shape legend: W queries, D dimension, c hits per ranking.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusClient, MilvusException

from mrag_pipeline.index.milvus import pymilvus_private, rows
from mrag_pipeline.index.milvus.direct_answers import Late, ranking_of, rows_of
from mrag_pipeline.index.milvus.pymilvus_private import Messages
from mrag_pipeline.index.milvus.schema import search_params
from mrag_pipeline.ports import Ranking
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType

_CLOSED = (MilvusException, ValueError)  # raised by a closed client, by a closed channel
_TEMPLATES = 1_024  # 13 collections by some depths of ranking


@dataclass(frozen=True, slots=True, eq=False)
class DirectSearch:
    """One search of a size that a server takes at once."""

    collection: str
    vectors: NDArray[np.float32]  # (W, D), numbers that `dtype` has
    dtype: VectorType  # of the collection
    limit: int  # c
    matching: str  # empty: all rows


class DirectCalls:
    """Makes calls over a client's connection; safe to share by threads."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, index_type: str) -> None:
        self._client = client
        self._spec = spec
        self._index_type = index_type
        self._messages = pymilvus_private.MESSAGES
        self._free_slots = threading.BoundedSemaphore(spec.search_threads)
        self._template = lru_cache(_TEMPLATES)(self._search_message)

    def search(
        self, calls: Sequence[DirectSearch], timeout_s: float, at_once: int
    ) -> list[Ranking | Late | None]:
        """Each call's ranking, or why there is none; in order.

        All callers together have no more than `milvus.search_threads` calls under way.
        Args:
            at_once: calls under way at a time, from this one thread.
        """
        messages = self._messages
        if messages is None:
            return [None] * len(calls)
        deadline = time.monotonic() + timeout_s
        under_way: deque[tuple[DirectSearch, Any]] = deque()
        rankings: list[Ranking | Late | None] = []
        try:
            for call in calls:
                if len(under_way) >= at_once:
                    rankings.append(self._finish_oldest(under_way))
                has_slot = self._free_slots.acquire(blocking=False)
                while under_way and not has_slot:
                    rankings.append(self._finish_oldest(under_way))
                    has_slot = self._free_slots.acquire(blocking=False)
                seconds = max(0.0, deadline - time.monotonic())
                if has_slot or self._free_slots.acquire(timeout=seconds):
                    under_way.append((call, self._start_search(messages, call, timeout_s)))
                else:
                    rankings.append(Late.LATE)  # in order: no earlier call is under way
            while under_way:
                rankings.append(self._finish_oldest(under_way))
        finally:
            if under_way:
                self._free_slots.release(len(under_way))
        return rankings

    def query(
        self,
        collection: str,
        matching: str,
        fields: Sequence[str],
        limit: int | None,
        consistency: str,
        timeout_s: float,
    ) -> Callable[[], list[dict[str, Any]] | Late | None]:
        """Asks for the rows that match; returns a function that waits for them."""
        messages = self._messages
        if messages is None:
            return lambda: None
        try:
            message = _query_message(messages, collection, matching, fields, limit, consistency)
            future = self._start(messages, "Query", message, timeout_s)
        except _CLOSED:
            future = None
        return lambda: rows_of(future)

    # -------------------------------------------------------------- inside
    def _finish_oldest(self, under_way: deque[tuple[DirectSearch, Any]]) -> Ranking | Late | None:
        """Waits for the call that was started first, and frees its slot."""
        call, future = under_way.popleft()
        try:
            return ranking_of(future, len(call.vectors), call.limit)
        finally:
            self._free_slots.release()

    def _start_search(self, messages: Messages, call: DirectSearch, timeout_s: float) -> Any:
        """The answer's future; None if the connection is closed."""
        try:
            return self._start(messages, "Search", self._message(messages, call), timeout_s)
        except _CLOSED:
            return None

    def _start(self, messages: Messages, method: str, message: Any, timeout_s: float) -> Any:
        stub = pymilvus_private.stub_of(self._client)
        if stub is None:
            return None
        metadata = messages.metadata(pymilvus_private.call_context_of(self._client))
        return getattr(stub, method).future(message, timeout=timeout_s, metadata=metadata)

    def _message(self, messages: Messages, call: DirectSearch) -> Any:
        """The search request that pymilvus would send."""
        message = messages.milvus.SearchRequest()
        message.CopyFrom(self._template(messages, call.collection, call.limit))
        group = messages.common.PlaceholderGroup.FromString(message.placeholder_group)
        [placeholder] = group.placeholders
        placeholder.type = messages.placeholders[call.dtype]
        if call.dtype == "float32":
            placeholder.values[:] = [row.astype("<f4").tobytes() for row in call.vectors]
        else:
            placeholder.values[:] = rows.sent(call.vectors, call.dtype)
        message.placeholder_group = group.SerializeToString()
        message.nq = len(call.vectors)
        message.dsl = call.matching
        return message

    def _search_message(self, messages: Messages, collection: str, limit: int) -> Any:
        """A search request for one vector, made by pymilvus."""
        options: dict[str, Any] = {"consistency_level": self._spec.consistency}
        uses_default = messages.guarantee_timestamp(collection, options)
        return messages.search_request(
            collection_name=collection,
            anns_field="vector",
            param=search_params(self._index_type, limit, self._spec.search_params),
            limit=limit,
            data=[np.zeros(1, np.float32)],
            expr="",
            output_fields=["chunk_id"],  # without it Lite sends the vectors along
            use_default_consistency=uses_default,
            **options,
        )


def _query_message(
    messages: Messages,
    collection: str,
    matching: str,
    fields: Sequence[str],
    limit: int | None,
    consistency: str,
) -> Any:
    """The query request that pymilvus would send."""
    options: dict[str, Any] = {"consistency_level": consistency}
    if limit is not None:
        options["limit"] = limit
    uses_default = messages.guarantee_timestamp(collection, options)
    return messages.query_request(
        collection, matching, list(fields), None, use_default_consistency=uses_default, **options
    )
