"""Searches and reads as single gRPC calls: pymilvus's messages, answers as arrays and columns.

pymilvus makes an object of every hit and a dict of every row, and waits for one answer at a time.
Here its own message is kept and only the vectors in it are exchanged; it goes out over its own
channel, which knows the token, TLS and the database; and what comes back is read as it lies.

Nothing is tried twice here. What does not come out as it should, an error or an answer of a shape
that is not known, is None, and the caller asks pymilvus, which owns retries and what errors say.
Shape legend: W queries, D dimension, c hits per ranking.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client import ts_utils
from pymilvus.client.call_context import _api_level_md
from pymilvus.client.prepare import Prepare
from pymilvus.client.types import PlaceholderType
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from mrag_pipeline.index.milvus import rows
from mrag_pipeline.index.milvus.schema import search_params
from mrag_pipeline.ports import Ranking
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType

# What a client and a channel say that are closed.
_CLOSED = (MilvusException, ValueError)
_TEMPLATES = 1_024  # 13 collections by some depths of ranking
_PLACES: dict[VectorType, int] = {
    "float32": PlaceholderType.FloatVector,
    "float16": PlaceholderType.FLOAT16_VECTOR,
    "bfloat16": PlaceholderType.BFLOAT16_VECTOR,
}
_HALVES = {
    DataType.FLOAT16_VECTOR: "float16_vector",
    DataType.BFLOAT16_VECTOR: "bfloat16_vector",
}
_PARTS = {
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.VARCHAR: "string_data",
    DataType.JSON: "json_data",
}


class Late(Enum):
    """No answer within the call's time: pymilvus would not ask again either."""

    LATE = "late"


@dataclass(frozen=True, slots=True, eq=False)
class DirectSearch:
    """One search: what a server takes at once."""

    collection: str
    vectors: NDArray[np.float32]  # (W, D), numbers that `dtype` has
    dtype: VectorType  # of the collection
    limit: int  # c
    matching: str  # empty: all rows


class Direct:
    """Asks over a client's connection; safe to share by threads."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, index_type: str) -> None:
        self._client = client
        self._spec = spec
        self._index_type = index_type
        self._places = threading.BoundedSemaphore(spec.search_threads)
        self._template = lru_cache(_TEMPLATES)(self._search_message)

    def search(
        self, calls: Sequence[DirectSearch], timeout_s: float, at_once: int
    ) -> list[Ranking | Late | None]:
        """Each call's ranking, or why there is none; in order.

        All callers together have no more than `milvus.search_threads` under way.
        Args:
            at_once: calls under way at a time, from this one thread.
        """
        until = time.monotonic() + timeout_s
        given: deque[tuple[DirectSearch, Any]] = deque()
        found: list[Ranking | Late | None] = []
        try:
            for call in calls:
                if len(given) >= at_once:
                    found.append(self._taken(given))
                has_place = self._places.acquire(blocking=False)
                while given and not has_place:
                    found.append(self._taken(given))
                    has_place = self._places.acquire(blocking=False)
                if has_place or self._places.acquire(timeout=max(0.0, until - time.monotonic())):
                    given.append((call, self._sent(call, timeout_s)))
                else:
                    found.append(Late.LATE)  # nothing is given: all before it are in their place
            while given:
                found.append(self._taken(given))
        finally:
            if given:
                self._places.release(len(given))
        return found

    def _taken(self, given: deque[tuple[DirectSearch, Any]]) -> Ranking | Late | None:
        """What the oldest came to; its place is free."""
        call, coming = given.popleft()
        try:
            return _ranking(call, coming)
        finally:
            self._places.release()

    def query(
        self,
        collection: str,
        matching: str,
        fields: Sequence[str],
        limit: int | None,
        consistency: str,
        timeout_s: float,
    ) -> Callable[[], list[dict[str, Any]] | Late | None]:
        """Asks for the rows that match; what it gives waits for them, as pymilvus reads them."""
        try:
            message = query_message(collection, matching, fields, limit, consistency)
            stub = self._client._get_connection()._stub
            coming = stub.Query.future(message, timeout=timeout_s, metadata=self._metadata())
        except _CLOSED:
            coming = None
        return lambda: _rows(coming)

    # -------------------------------------------------------------- inside
    def _sent(self, call: DirectSearch, timeout_s: float) -> Any:
        """The answer to come; None if the connection is closed."""
        try:
            stub = self._client._get_connection()._stub
            return stub.Search.future(
                self.message(call), timeout=timeout_s, metadata=self._metadata()
            )
        except _CLOSED:
            return None

    def message(self, call: DirectSearch) -> milvus_pb2.SearchRequest:
        """What pymilvus would send."""
        message = milvus_pb2.SearchRequest()
        message.CopyFrom(self._template(call.collection, call.limit))
        group = common_pb2.PlaceholderGroup.FromString(message.placeholder_group)
        [place] = group.placeholders
        place.type = _PLACES[call.dtype]
        if call.dtype == "float32":
            place.values[:] = [row.astype("<f4").tobytes() for row in call.vectors]
        else:
            place.values[:] = rows.sent(call.vectors, call.dtype)
        message.placeholder_group = group.SerializeToString()
        message.nq = len(call.vectors)
        message.dsl = call.matching
        return message

    def _search_message(self, collection: str, limit: int) -> milvus_pb2.SearchRequest:
        """Pymilvus's own, for one vector; Prepare is what its client calls."""
        options: dict[str, Any] = {"consistency_level": self._spec.consistency}
        default = ts_utils.construct_guarantee_ts(collection, options)
        return Prepare.search_requests_with_expr(
            collection_name=collection,
            anns_field="vector",
            param=search_params(self._index_type, limit, self._spec.search_params),
            limit=limit,
            data=[np.zeros(1, np.float32)],
            expr="",
            output_fields=["chunk_id"],  # without it Lite sends the vectors along
            use_default_consistency=default,
            **options,
        )

    def _metadata(self) -> Any:
        return _api_level_md(self._client._generate_call_context())


def query_message(
    collection: str, matching: str, fields: Sequence[str], limit: int | None, consistency: str
) -> milvus_pb2.QueryRequest:
    """What pymilvus would send."""
    options: dict[str, Any] = {"consistency_level": consistency}
    if limit is not None:
        options["limit"] = limit
    default = ts_utils.construct_guarantee_ts(collection, options)
    return Prepare.query_request(
        collection, matching, list(fields), None, use_default_consistency=default, **options
    )


def _answer(coming: Any) -> Any:
    """What was answered rightly; Late, or None."""
    if coming is None:
        return None
    try:
        answer = coming.result()
    except grpc.RpcError as error:
        return Late.LATE if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED else None
    except grpc.FutureCancelledError:
        return None
    status = answer.status
    return answer if status.code == 0 and status.error_code == 0 else None


def _ranking(call: DirectSearch, coming: Any) -> Ranking | Late | None:
    answer = _answer(coming)
    if not isinstance(answer, milvus_pb2.SearchResults):
        return answer  # type: ignore[no-any-return]
    found = answer.results
    ids, scores, counts = found.ids.int_id.data, found.scores, found.topks
    num_queries = len(call.vectors)
    # What is none of these is an answer that is not known, as grouped or nested hits are.
    flat = len(counts) == num_queries and len(ids) == len(scores) == sum(counts)
    nothing = not counts and not ids and not scores
    if not (flat or nothing) or max(counts, default=0) > call.limit:
        return None
    shape = (num_queries, call.limit)
    ranking = Ranking(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
    if flat:
        held = np.arange(call.limit) < np.array(counts)[:, None]
        ranking.ids[held] = np.fromiter(ids, np.int64, len(ids))
        ranking.scores[held] = np.fromiter(scores, np.float32, len(scores))
    return ranking


def _rows(coming: Any) -> list[dict[str, Any]] | Late | None:
    answer = _answer(coming)
    if not isinstance(answer, milvus_pb2.QueryResults):
        return answer  # type: ignore[no-any-return]
    if answer.element_indices or not answer.fields_data:
        return None
    columns = {}
    for field in answer.fields_data:
        values = None if field.is_dynamic or field.valid_data else _column(field)
        if values is None:
            return None
        columns[field.field_name] = values
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(field: Any) -> Iterable[Any] | None:
    if field.type == DataType.FLOAT_VECTOR:
        numbers = np.array(field.vectors.float_vector.data, np.float32)
        return numbers.reshape(-1, field.vectors.dim)
    if field.type in _HALVES:
        content = getattr(field.vectors, _HALVES[field.type])
        width = 2 * field.vectors.dim
        return [[content[at : at + width]] for at in range(0, len(content), width)]
    part = _PARTS.get(field.type)
    if part is None:
        return None
    values = getattr(field.scalars, part).data
    return map(json.loads, values) if part == "json_data" else values
