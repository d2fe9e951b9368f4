"""Reads Milvus's answers to direct calls: hits as arrays, rows as columns.

An answer that failed, or whose shape is not known (grouped or nested hits, nullable fields),
gives None: pymilvus is asked instead. Shape legend: W queries, c hits per ranking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types
import numpy as np
from pymilvus import DataType

from mrag_pipeline.ports import Ranking

_HALVES = {
    DataType.FLOAT16_VECTOR: "float16_vector",
    DataType.BFLOAT16_VECTOR: "bfloat16_vector",
}
_SCALARS = {
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.VARCHAR: "string_data",
    DataType.JSON: "json_data",
}


class Late(Enum):
    """No answer within the call's time: pymilvus would not ask again either."""

    LATE = "late"


def ranking_of(future: Any, num_queries: int, limit: int) -> Ranking | Late | None:
    """Waits for a search's answer: (W, c), W = `num_queries`, c = `limit`."""
    answer = _successful(future)
    if answer is None or isinstance(answer, Late):
        return answer
    results = answer.results
    ids, scores, counts = results.ids.int_id.data, results.scores, results.topks
    is_flat = len(counts) == num_queries and len(ids) == len(scores) == sum(counts)
    is_empty = not counts and not ids and not scores
    if not (is_flat or is_empty) or max(counts, default=0) > limit:
        return None
    shape = (num_queries, limit)
    ranking = Ranking(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
    if is_flat:
        is_hit = np.arange(limit) < np.array(counts)[:, None]
        ranking.ids[is_hit] = np.fromiter(ids, np.int64, len(ids))
        ranking.scores[is_hit] = np.fromiter(scores, np.float32, len(scores))
    return ranking


def rows_of(future: Any) -> list[dict[str, Any]] | Late | None:
    """Waits for a query's answer: its rows, as pymilvus gives them."""
    answer = _successful(future)
    if answer is None or isinstance(answer, Late):
        return answer
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


def _successful(future: Any) -> Any:
    """The answer if its status is success; Late or None otherwise."""
    if future is None:
        return None
    try:
        answer = future.result()
    except grpc.RpcError as error:
        return Late.LATE if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED else None
    except grpc.FutureCancelledError:
        return None
    status = answer.status
    return answer if status.code == 0 and status.error_code == 0 else None


def _column(field: Any) -> Iterable[Any] | None:
    if field.type == DataType.FLOAT_VECTOR:
        numbers = np.array(field.vectors.float_vector.data, np.float32)
        return numbers.reshape(-1, field.vectors.dim)
    if field.type in _HALVES:
        content = getattr(field.vectors, _HALVES[field.type])
        width = 2 * field.vectors.dim
        return [[content[start : start + width]] for start in range(0, len(content), width)]
    scalar = _SCALARS.get(field.type)
    if scalar is None:
        return None
    values = getattr(field.scalars, scalar).data
    return map(json.loads, values) if scalar == "json_data" else values
