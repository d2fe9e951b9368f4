"""The private names of pymilvus that calls use; `lean_import.py` has those of its import.

They save an object a hit and a dict a row. Where a release of pymilvus has renamed one, the
callers get None and go through the public client: slower, with the same answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymilvus import MilvusClient

from mrag_pipeline.settings.vectors import VectorType

log = logging.getLogger(__name__)

_BULK_CALLS = ("do_bulk_insert", "get_bulk_insert_state", "list_bulk_insert_tasks")


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Milvus's protocol messages, and how pymilvus makes those that it sends."""

    milvus: Any  # the module milvus_pb2
    common: Any  # the module common_pb2
    search_request: Callable[..., Any]
    query_request: Callable[..., Any]
    guarantee_timestamp: Callable[..., Any]  # sets the consistency level's fields
    metadata: Callable[..., Any]  # of a call context, as gRPC takes it
    placeholders: dict[VectorType, int]


def load_messages() -> Messages | None:
    """The names of the pymilvus that is installed; None if one of them is missing."""
    try:
        from pymilvus.client import ts_utils
        from pymilvus.client.call_context import _api_level_md
        from pymilvus.client.prepare import Prepare
        from pymilvus.client.types import PlaceholderType
        from pymilvus.grpc_gen import common_pb2, milvus_pb2

        return Messages(
            milvus_pb2,
            common_pb2,
            Prepare.search_requests_with_expr,
            Prepare.query_request,
            ts_utils.construct_guarantee_ts,
            _api_level_md,
            {
                "float32": PlaceholderType.FloatVector,
                "float16": PlaceholderType.FLOAT16_VECTOR,
                "bfloat16": PlaceholderType.BFLOAT16_VECTOR,
            },
        )
    except (ImportError, AttributeError) as error:
        log.warning("pymilvus_private_name_missing error=%s", error)
        return None


MESSAGES = load_messages()


def handler_of(client: MilvusClient) -> Any | None:
    """The object behind the client that sends its calls; None if this pymilvus has none.

    Raises: MilvusException if the client is closed.
    """
    get_connection = getattr(client, "_get_connection", None)
    return None if get_connection is None else get_connection()


def stub_of(client: MilvusClient) -> Any | None:
    """The gRPC stub over the client's channel; None if this pymilvus has none.

    Raises: MilvusException if the client is closed.
    """
    return getattr(handler_of(client), "_stub", None)


def call_context_of(client: MilvusClient) -> Any | None:
    """Which database a call is for, and who asks."""
    make_context = getattr(client, "_generate_call_context", None)
    return None if make_context is None else make_context()


def has_bulk_calls(client: MilvusClient) -> bool:
    """Whether files can be imported over the client's own connection."""
    handler = handler_of(client)
    return all(hasattr(handler, name) for name in _BULK_CALLS)
