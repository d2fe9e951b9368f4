"""A server in this process that speaks Milvus's protocol, as far as loading and searching need.

It says which version it is, keeps every request it was sent, and holds vectors as the bytes that
came. Numbers are read by NumPy and ml_dtypes, searches are exact. It shows what our client sends
and how it reads answers; what a real server of that version does with them, only one can show.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types
import ml_dtypes
import numpy as np
from pymilvus import DataType
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

from mrag_pipeline.domain.exact_search import top_k

OK = common_pb2.Status()
NO_COLLECTION, NO_ALIAS = 100, 1600
# Of each vector type: how NumPy reads its bytes, where a message has it, and a query's tag.
TYPES: dict[int, tuple[Any, str, int]] = {
    DataType.FLOAT_VECTOR: (np.float32, "float_vector", 101),
    DataType.FLOAT16_VECTOR: (np.float16, "float16_vector", 102),
    DataType.BFLOAT16_VECTOR: (ml_dtypes.bfloat16, "bfloat16_vector", 103),
}


@dataclass
class Held:
    """A collection."""

    schema: schema_pb2.CollectionSchema
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    index: milvus_pb2.CreateIndexRequest | None = None

    @property
    def vector(self) -> schema_pb2.FieldSchema:
        """The vector's field."""
        [found] = [one for one in self.schema.fields if one.name == "vector"]
        return found

    def numbers(self, ids: Sequence[int]) -> np.ndarray:
        """The rows' vectors as float32."""
        kind = TYPES[self.vector.data_type][0]
        content = b"".join(self.rows[i]["vector"] for i in ids)
        return np.frombuffer(content, kind).astype(np.float32).reshape(len(ids), -1)


class ProtocolServer(milvus_pb2_grpc.MilvusServiceServicer):
    """One database in memory."""

    def __init__(self, version: str, token: str = "") -> None:
        """Empty.

        Args:
            token: that callers have to send; empty: none.
        """
        self.version = version
        self.token = token
        self.collections: dict[str, Held] = {}
        self.sent: defaultdict[str, list[Any]] = defaultdict(list)
        self.databases: set[str] = set()
        # By collection, the states that its only import task has, one at each question; the last
        # stays. None: the server answers no such question.
        self.imports: dict[str, list[int] | None] = {}

    def requests(self, name: str) -> list[Any]:
        """The requests of one kind, in order."""
        return self.sent[name]

    # ------------------------------------------------------------ being there
    def Connect(self, request: Any, context: Any) -> Any:  # noqa: N802
        info = common_pb2.ServerInfo(build_tags=self.version)
        return milvus_pb2.ConnectResponse(status=OK, identifier=1, server_info=info)

    def GetVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        return milvus_pb2.GetVersionResponse(status=OK, version=self.version)

    def AllocTimestamp(self, request: Any, context: Any) -> Any:  # noqa: N802
        return milvus_pb2.AllocTimestampResponse(status=OK, timestamp=1)

    # ------------------------------------------------------------ collections
    def CreateCollection(self, request: Any, context: Any) -> Any:  # noqa: N802
        schema = schema_pb2.CollectionSchema.FromString(request.schema)
        self.collections[request.collection_name] = Held(schema)
        return OK

    def DropCollection(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.collections.pop(request.collection_name, None)
        return OK

    def DescribeCollection(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.collections.get(request.collection_name)
        if held is None:
            return milvus_pb2.DescribeCollectionResponse(status=_missing(request.collection_name))
        return milvus_pb2.DescribeCollectionResponse(
            status=OK, schema=held.schema, collection_name=request.collection_name
        )

    def ShowCollections(self, request: Any, context: Any) -> Any:  # noqa: N802
        names = sorted(self.collections)
        return milvus_pb2.ShowCollectionsResponse(status=OK, collection_names=names)

    def ShowPartitions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return milvus_pb2.ShowPartitionsResponse(status=OK, partition_names=["_default"])

    def DescribeAlias(self, request: Any, context: Any) -> Any:  # noqa: N802
        none = common_pb2.Status(code=NO_ALIAS, reason="alias not found")
        return milvus_pb2.DescribeAliasResponse(status=none)

    def CreateIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.collections[request.collection_name].index = request
        return OK

    def DescribeIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.collections[request.collection_name]
        if held.index is None:
            none = common_pb2.Status(code=700, reason="index not found")
            return milvus_pb2.DescribeIndexResponse(status=none)
        told = milvus_pb2.IndexDescription(
            index_name="vector",
            field_name="vector",
            params=held.index.extra_params,
            state=common_pb2.IndexState.Finished,
        )
        return milvus_pb2.DescribeIndexResponse(status=OK, index_descriptions=[told])

    def LoadCollection(self, request: Any, context: Any) -> Any:  # noqa: N802
        return OK

    def GetLoadingProgress(self, request: Any, context: Any) -> Any:  # noqa: N802
        return milvus_pb2.GetLoadingProgressResponse(status=OK, progress=100)

    def Flush(self, request: Any, context: Any) -> Any:  # noqa: N802
        names = request.collection_names
        return milvus_pb2.FlushResponse(
            status=OK,
            coll_segIDs={name: schema_pb2.LongArray(data=[1]) for name in names},
            coll_flush_ts=dict.fromkeys(names, 1),
        )

    def GetFlushState(self, request: Any, context: Any) -> Any:  # noqa: N802
        return milvus_pb2.GetFlushStateResponse(status=OK, flushed=True)

    def ListImportTasks(self, request: Any, context: Any) -> Any:  # noqa: N802
        states = self.imports.get(request.collection_name, [])
        if states is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no privilege to list imports")
        assert states is not None  # `abort` raises
        tasks = [milvus_pb2.GetImportStateResponse(id=7, state=state) for state in states[:1]]
        if len(states) > 1:
            del states[0]
        return milvus_pb2.ListImportTasksResponse(status=OK, tasks=tasks)

    # ------------------------------------------------------------ rows
    def Insert(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.collections[request.collection_name]
        rows = _rows(request, held)
        held.rows.update(rows)
        ids = schema_pb2.IDs(int_id=schema_pb2.LongArray(data=list(rows)))
        return milvus_pb2.MutationResult(status=OK, IDs=ids, insert_cnt=len(rows))

    def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.Insert(request, context)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.collections[request.collection_name]
        for one in _matching(held, request.expr):
            del held.rows[one]
        return milvus_pb2.MutationResult(status=OK)

    def Query(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.collections[request.collection_name]
        ids = _matching(held, request.expr)
        if list(request.output_fields) == ["count(*)"]:
            count = _scalars("count(*)", DataType.INT64, long_data=[len(ids)])
            return milvus_pb2.QueryResults(status=OK, fields_data=[count])
        fields = [_scalars("chunk_id", DataType.INT64, long_data=ids)]
        if "vector" in request.output_fields:
            fields.append(_vectors(held, ids))
        return milvus_pb2.QueryResults(status=OK, fields_data=fields)

    def Search(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.collections[request.collection_name]
        kind, _, tag = TYPES[held.vector.data_type]
        [asked] = common_pb2.PlaceholderGroup.FromString(request.placeholder_group).placeholders
        if asked.type != tag:
            wrong = f"vector type must be the same, field {tag}, query {asked.type}"
            return milvus_pb2.SearchResults(status=common_pb2.Status(code=65535, reason=wrong))
        queries = np.stack([np.frombuffer(one, kind) for one in asked.values]).astype(np.float32)
        ids = _matching(held, request.dsl)
        limit = int({pair.key: pair.value for pair in request.search_params}["topk"])
        hits = top_k(np.array(ids, np.int64), held.numbers(ids), queries, min(limit, len(ids)))
        found = hits.ids.ravel().tolist()
        results = schema_pb2.SearchResultData(
            num_queries=len(queries),
            top_k=limit,
            scores=hits.scores.ravel().tolist(),
            ids=schema_pb2.IDs(int_id=schema_pb2.LongArray(data=found)),
            topks=[hits.ids.shape[1]] * len(queries),
            fields_data=[_scalars("chunk_id", DataType.INT64, long_data=found)],
            primary_field_name="chunk_id",
        )
        return milvus_pb2.SearchResults(status=OK, results=results)


class _Watching(grpc.ServerInterceptor):
    """Records the requests, and refuses those without the token."""

    def __init__(self, server: ProtocolServer) -> None:
        self._server = server

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """The handler, with a note of its requests."""
        handler = continuation(details)
        if handler is None:
            raise NotImplementedError(details.method)
        told = dict(details.invocation_metadata)
        name = details.method.rpartition("/")[2]

        def run(request: Any, context: Any) -> Any:
            if self._server.token and told.get("authorization") != self._server.token:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")
            if "dbname" in told:
                self._server.databases.add(told["dbname"])
            self._server.sent[name].append(request)
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            run, handler.request_deserializer, handler.response_serializer
        )


@contextmanager
def protocol_server(
    version: str, token: str = "", tls: grpc.ServerCredentials | None = None
) -> Iterator[tuple[str, ProtocolServer]]:
    """Its URI and itself, while the block runs; on loopback."""
    made = ProtocolServer(version, token)
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[_Watching(made)])
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(made, server)
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", tls)
    server.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", made
    finally:
        server.stop(grace=None).wait()


def _missing(name: str) -> Any:
    return common_pb2.Status(code=NO_COLLECTION, reason=f"can't find collection[{name}]")


def _rows(request: Any, held: Held) -> dict[int, dict[str, Any]]:
    columns: dict[str, Any] = {}
    for one in request.fields_data:
        if one.field_name == "vector":
            assert one.type == held.vector.data_type
            kind, place, _ = TYPES[one.type]
            content = getattr(one.vectors, place)
            if place == "float_vector":
                content = np.array(content.data, np.float32).tobytes()
            width = np.dtype(kind).itemsize * one.vectors.dim
            assert len(content) == width * request.num_rows
            columns["vector"] = [content[i : i + width] for i in range(0, len(content), width)]
        else:
            columns[one.field_name] = getattr(one.scalars, one.scalars.WhichOneof("data")).data
    rows = zip(*columns.values(), strict=True)
    return {row["chunk_id"]: row for row in (dict(zip(columns, r, strict=True)) for r in rows)}


def _vectors(held: Held, ids: Sequence[int]) -> Any:
    data_type = held.vector.data_type
    content = b"".join(held.rows[i]["vector"] for i in ids)
    found = schema_pb2.FieldData(field_name="vector", type=data_type)
    _, place, _ = TYPES[data_type]
    if place == "float_vector":
        found.vectors.float_vector.data.extend(np.frombuffer(content, np.float32).tolist())
    else:
        setattr(found.vectors, place, content)
    [dim] = [pair.value for pair in held.vector.type_params if pair.key == "dim"]
    found.vectors.dim = int(dim)
    return found


def _scalars(name: str, kind: DataType, **data: list[Any]) -> Any:
    [(place, values)] = data.items()
    found = schema_pb2.FieldData(field_name=name, type=kind)
    getattr(found.scalars, place).data.extend(values)
    return found


def _matching(held: Held, expression: str) -> list[int]:
    """The ids, rising, for the few expressions over ids that are asked of head collections."""
    if not expression:
        return sorted(held.rows)
    if listed := re.fullmatch(r"chunk_id in (\[.*\])", expression):
        return sorted(set(json.loads(listed[1])) & held.rows.keys())
    if one := re.fullmatch(r"chunk_id == (\d+)", expression):
        return [int(one[1])] if int(one[1]) in held.rows else []
    between = re.fullmatch(r"chunk_id >= (\d+)(?: and chunk_id < (\d+))?", expression)
    assert between, expression
    stop = int(between[2] or 2**63)
    return sorted(one for one in held.rows if int(between[1]) <= one < stop)
