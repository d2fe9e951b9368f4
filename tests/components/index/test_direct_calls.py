"""Direct calls send what pymilvus sends, and read what it reads, of a gRPC server of our own."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types
import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

from mrag_pipeline.index.milvus.direct_answers import Late
from mrag_pipeline.index.milvus.direct_calls import DirectCalls, DirectSearch
from mrag_pipeline.index.milvus.schema import CHUNK_FIELDS, search_params
from mrag_pipeline.ports import Ranking
from mrag_pipeline.settings.milvus import MilvusSpec

TOKEN = "root:Milvus"
HITS = {0: ([7, 2**62], [0.75, 0.5]), 1: ([], []), 2: ([5], [-0.25])}


class Milvus(milvus_pb2_grpc.MilvusServiceServicer):
    """Records its requests; answers as scripted for each collection."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[Any, Any], Any]] = {}
        self.release = threading.Event()

    def Connect(self, request: Any, context: Any) -> Any:  # noqa: N802
        return milvus_pb2.ConnectResponse(status=common_pb2.Status())

    def Search(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append((request, dict(context.invocation_metadata())))
        return self.answers.get(request.collection_name, hits)(request, context)

    def Query(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append((request, dict(context.invocation_metadata())))
        return self.answers.get(request.collection_name, no_rows)(request, context)


def hits(request: Any, context: Any) -> Any:
    """HITS for each query of the request."""
    found = schema_pb2.SearchResultData(num_queries=request.nq, top_k=2, primary_field_name="id")
    for query in range(request.nq):
        ids, scores = HITS[query]
        found.topks.append(len(ids))
        found.ids.int_id.data.extend(ids)
        found.scores.extend(scores)
    return milvus_pb2.SearchResults(status=common_pb2.Status(), results=found)


def no_rows(request: Any, context: Any) -> Any:
    answer = milvus_pb2.QueryResults(status=common_pb2.Status())
    answer.fields_data.add(field_name="chunk_id", type=DataType.INT64).scalars.long_data.data[
        :
    ] = []
    return answer


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Milvus, MilvusClient]]:
    milvus = Milvus()
    server = grpc.server(ThreadPoolExecutor(8))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(milvus, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = MilvusClient(f"http://127.0.0.1:{port}", token=TOKEN, db_name="mine", timeout=10)
    yield milvus, client
    milvus.release.set()
    client.close()
    server.stop(None)


@pytest.fixture
def milvus(served: tuple[Milvus, MilvusClient]) -> Milvus:
    served[0].asked.clear()
    served[0].answers.clear()
    return served[0]


@pytest.fixture
def client(served: tuple[Milvus, MilvusClient], milvus: Milvus) -> MilvusClient:
    return served[1]


def vectors(num_rows: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(num_rows, 6)).astype(np.float32)


def call(name: str, num_rows: int, limit: int) -> DirectSearch:
    return DirectSearch(name, vectors(num_rows), "float32", limit, "")


def without_time(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != "client-request-unixmsec"}


@pytest.mark.parametrize("level", ["Strong", "Bounded", "Eventually"])
@pytest.mark.parametrize("index_type", ["FLAT", "HNSW", "IVF_FLAT"])
@pytest.mark.parametrize(("num_rows", "matching"), [(1, ""), (3, "chunk_id in [1, 2]")])
def test_a_search_is_the_message_that_pymilvus_sends(
    client: MilvusClient, milvus: Milvus, level: Any, index_type: str, num_rows: int, matching: str
) -> None:
    """Every field, the user and the database are equal."""
    spec = MilvusSpec(consistency=level, search_params={"hints": "x"})
    rows = vectors(num_rows)
    client.search(
        "heads",
        data=list(rows),
        limit=9,
        filter=matching,
        output_fields=["chunk_id"],
        search_params=search_params(index_type, 9, spec.search_params),
        anns_field="vector",
        consistency_level=level,
        timeout=5,
    )
    direct = DirectCalls(client, spec, index_type)
    direct.search([call("heads", 2, 9)], 5, 1)  # a template for what follows
    direct.search([DirectSearch("heads", rows, "float32", 9, matching)], 5, 1)
    theirs, _, ours = milvus.asked
    assert ours[0] == theirs[0]
    assert without_time(ours[1]) == without_time(theirs[1])
    assert ours[1]["authorization"] == base64.b64encode(TOKEN.encode()).decode()
    assert ours[1]["dbname"] == "mine"


@pytest.mark.parametrize("level", ["Strong", "Bounded", "Eventually"])
@pytest.mark.parametrize("limit", [None, 40])
def test_a_read_is_the_message_that_pymilvus_sends(
    client: MilvusClient, milvus: Milvus, level: str, limit: int | None
) -> None:
    """Every field, the user and the database are equal."""
    matching, bound = 'document_id == "a"', {} if limit is None else {"limit": limit}
    client.query(
        "chunks",
        filter=matching,
        output_fields=list(CHUNK_FIELDS),
        consistency_level=level,
        timeout=5,
        **bound,
    )
    direct = DirectCalls(client, MilvusSpec(), "FLAT")
    assert direct.query("chunks", matching, CHUNK_FIELDS, limit, level, 5)() == []
    theirs, ours = milvus.asked
    assert ours[0] == theirs[0]
    assert without_time(ours[1]) == without_time(theirs[1])


def test_hits_are_those_that_pymilvus_reads(client: MilvusClient, milvus: Milvus) -> None:
    """Rankings of different lengths are padded; ids exceed 2**53."""
    found = client.search("heads", data=list(vectors(3)), limit=3, anns_field="vector")
    [ours] = DirectCalls(client, MilvusSpec(), "FLAT").search([call("heads", 3, 3)], 5, 1)
    assert isinstance(ours, Ranking)
    assert ours.ids.tolist() == [[7, 2**62, -1], [-1] * 3, [5, -1, -1]]
    for query, theirs in enumerate(found):
        assert ours.ids[query, : len(theirs)].tolist() == theirs.ids
        assert ours.scores[query, : len(theirs)].tolist() == theirs.distances
        assert np.isneginf(ours.scores[query, len(theirs) :]).all()


def test_rows_are_those_that_pymilvus_reads(client: MilvusClient, milvus: Milvus) -> None:
    """Every kind of field that a collection of ours has, and vectors."""
    answer = milvus_pb2.QueryResults(status=common_pb2.Status())
    add = answer.fields_data.add
    add(field_name="chunk_id", type=DataType.INT64).scalars.long_data.data.extend([1, 2**62])
    add(field_name="ordinal", type=DataType.INT32).scalars.int_data.data.extend([0, 3])
    add(field_name="text", type=DataType.VARCHAR).scalars.string_data.data.extend(["", "ü 𝄞\n"])
    metadata = [{"year": 2024, "by": ["a", None]}, {}]
    said = [json.dumps(one).encode() for one in metadata]
    add(field_name="metadata", type=DataType.JSON).scalars.json_data.data.extend(said)
    field = add(field_name="vector", type=DataType.FLOAT_VECTOR).vectors
    field.dim = 2
    field.float_vector.data.extend([0.5, 1.5, -2.0, 0.1])
    milvus.answers["chunks"] = lambda request, context: answer
    theirs = list(client.query("chunks", filter="chunk_id > 0", output_fields=["*"]))
    ours = DirectCalls(client, MilvusSpec(), "FLAT").query(
        "chunks", "", ["*"], None, "Bounded", 5
    )()
    assert isinstance(ours, list)
    plain = [{**row, "vector": [float(one) for one in row["vector"]]} for row in ours]
    assert plain == [
        {**row, "vector": np.array(row["vector"], np.float32).tolist()} for row in theirs
    ]
    assert [row["metadata"] for row in ours] == metadata


def test_calls_run_in_parallel_up_to_the_limit(client: MilvusClient, milvus: Milvus) -> None:
    """Each call waits until the allowed number has arrived; one more would never arrive."""
    together = threading.Barrier(3)

    def meet(request: Any, context: Any) -> Any:
        together.wait(5)
        return hits(request, context)

    milvus.answers["heads"] = meet
    calls = [call("heads", 1, 2)] * 6
    found = DirectCalls(client, MilvusSpec(), "FLAT").search(calls, 10, 3)
    assert [isinstance(one, Ranking) for one in found] == [True] * 6


def test_all_callers_share_one_limit_of_parallel_calls(
    client: MilvusClient, milvus: Milvus
) -> None:
    """Each caller gets its answers; none waits for itself."""
    under_way, most, lock = 0, 0, threading.Lock()

    def counted(request: Any, context: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.005)
        with lock:
            under_way -= 1
        return hits(request, context)

    milvus.answers["heads"] = counted
    direct = DirectCalls(client, MilvusSpec(search_threads=3), "FLAT")
    calls = [call("heads", 1, 2)] * 12
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: direct.search(calls, 20, 8), range(6)))
    assert all(isinstance(one, Ranking) for some in found for one in some)
    assert most == 3


def test_a_caller_without_a_slot_in_time_is_late(client: MilvusClient, milvus: Milvus) -> None:
    """It does not delay later callers."""
    begun, hold = threading.Event(), threading.Event()

    def held(request: Any, context: Any) -> Any:
        begun.set()
        hold.wait(20)
        return hits(request, context)

    milvus.answers["slow"] = held
    direct = DirectCalls(client, MilvusSpec(search_threads=1), "FLAT")
    with ThreadPoolExecutor(1) as other:
        first = other.submit(direct.search, [call("slow", 1, 2)], 20, 8)
        assert begun.wait(20)
        assert direct.search([call("heads", 1, 2)] * 2, 0.1, 8) == [Late.LATE, Late.LATE]
        hold.set()
        assert isinstance(first.result()[0], Ranking)
    assert isinstance(direct.search([call("heads", 1, 2)], 5, 8)[0], Ranking)


def test_each_fault_has_its_own_outcome(client: MilvusClient, milvus: Milvus) -> None:
    """A late call is not repeated; pymilvus repeats all others and names their errors."""

    def hang(request: Any, context: Any) -> Any:
        milvus.release.wait(20)
        return hits(request, context)

    def abort(request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNAVAILABLE, "no server")

    def refused(request: Any, context: Any) -> Any:
        status = common_pb2.Status(code=100, reason="no such collection")
        return milvus_pb2.SearchResults(status=status)

    def odd(request: Any, context: Any) -> Any:
        answer = hits(request, context)
        answer.results.scores.append(1.0)
        return answer

    milvus.answers = {"hangs": hang, "down": abort, "gone": refused, "odd": odd}
    names = ["hangs", "down", "heads", "gone", "odd"]
    direct = DirectCalls(client, MilvusSpec(), "FLAT")
    found = direct.search([call(name, 1, 2) for name in names], 0.5, 8)
    assert [one if one is Late.LATE else type(one) for one in found] == [
        *(Late.LATE, type(None), Ranking, type(None), type(None))
    ]
    read = [direct.query(name, "", ["chunk_id"], None, "Bounded", 0.5)() for name in names[:3]]
    assert read == [Late.LATE, None, []]


def test_a_closed_client_gives_no_direct_answer() -> None:
    """The call then goes to pymilvus, which raises its own error."""
    server = grpc.server(ThreadPoolExecutor(2))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(Milvus(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = MilvusClient(f"http://127.0.0.1:{port}", timeout=10)
    client.close()
    direct = DirectCalls(client, MilvusSpec(), "FLAT")
    assert direct.search([call("heads", 1, 2)], 1, 1) == [None]
    assert direct.query("chunks", "", ["chunk_id"], None, "Bounded", 1)() is None
    server.stop(None)
