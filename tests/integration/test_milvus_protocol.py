"""What we send to a Milvus server (one in this process): TLS, users, replicas, consistency."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import grpc  # type: ignore[import-untyped]  # it ships no types
import numpy as np
import pytest
import trustme
from numpy.typing import NDArray
from pymilvus.grpc_gen import common_pb2

from mrag_pipeline.errors import ConfigError, IndexUnavailable, PlanRefused
from mrag_pipeline.index.milvus import bulk_import
from mrag_pipeline.index.milvus.adapter import MilvusIndex, open_index
from mrag_pipeline.index.milvus.schema import schema
from mrag_pipeline.ports import CollectionSpec, SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.staging.bulk_files import BulkFolder
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, NEW, OLD, vectors
from tests.support.milvus_protocol_server import Held, protocol_server

VERSION = "v2.5.13"
CA = trustme.CA()


@pytest.fixture
def pem(tmp_path: Path) -> Callable[[str, trustme.Blob], str]:
    """A certificate or key as a file."""

    def write(name: str, blob: trustme.Blob) -> str:
        blob.write_to_path(tmp_path / name)
        return str(tmp_path / name)

    return write


def of_server(*, asks: bool = False) -> grpc.ServerCredentials:
    mine = CA.issue_cert("127.0.0.1")
    pair = (mine.private_key_pem.bytes(), mine.cert_chain_pems[0].bytes())
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=CA.cert_pem.bytes() if asks else None,
        require_client_auth=asks,
    )


def test_a_servers_collection_is_not_read_to_see_that_it_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One block of ids; an audit reads all of them on its workers."""
    read = []

    def ids(_: MilvusIndex, __: str) -> Iterator[NDArray[np.int64]]:
        for block in range(5):
            read.append(block)
            yield np.array([block])

    monkeypatch.setattr(MilvusIndex, "ids", ids)
    with (
        protocol_server(VERSION) as (uri, _),
        closing(open_index(MilvusSpec(uri=uri), "docs")) as index,
    ):
        index.load(HEAD, [table_of(range(10), vectors(10))])
        assert index.damage(HEAD.name) is None
        assert index.damage("docs_h99") is not None
    assert read == [0]


def test_a_servers_certificate_is_checked(pem: Callable[[str, trustme.Blob], str]) -> None:
    """With the configured CA we connect; with another or the system's we do not."""
    right, wrong = pem("ca.pem", CA.cert_pem), pem("other.pem", trustme.CA().cert_pem)
    with protocol_server(VERSION, tls=of_server()) as (uri, _):
        assert uri.startswith("https://")
        with closing(open_index(MilvusSpec(uri=uri, tls_ca=right), "docs")) as index:
            assert index.load(HEAD, [table_of(range(10), vectors(10))]) == 10
        for ca in (wrong, ""):
            with pytest.raises(IndexUnavailable):
                open_index(MilvusSpec(uri=uri, tls_ca=ca, timeout_s=2), "docs")


def test_a_server_may_ask_for_our_certificate(pem: Callable[[str, trustme.Blob], str]) -> None:
    """Mutual TLS: the server accepts us only with a certificate."""
    ours = CA.issue_cert("mrag@example.org")
    ca, cert = pem("ca.pem", CA.cert_pem), pem("cert.pem", ours.cert_chain_pems[0])
    key = pem("key.pem", ours.private_key_pem)
    with protocol_server(VERSION, tls=of_server(asks=True)) as (uri, _):
        spec = MilvusSpec(uri=uri, tls_ca=ca, tls_cert=cert, tls_key=key)
        with closing(open_index(spec, "docs")) as index:
            assert index.collections() == []
        with pytest.raises(IndexUnavailable):
            open_index(MilvusSpec(uri=uri, tls_ca=ca, timeout_s=2), "docs")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tls_ca": "ca.pem", "uri": "http://127.0.0.1:1"}, "http://127.0.0.1:1 does not use TLS"),
        ({"tls_ca": "none.pem"}, "cannot read milvus.tls_ca"),
        ({"tls_cert": "ca.pem"}, "only tls_cert"),
        ({"tls_ca": "ca.pem", "tls_key": "ca.pem"}, "only tls_ca, tls_key"),
    ],
)
def test_certificates_that_cannot_be_used_are_refused(
    changes: dict[str, str], told: str, tmp_path: Path, pem: Callable[[str, trustme.Blob], str]
) -> None:
    """Before connecting: certificates that would be ignored, and missing files."""
    pem("ca.pem", CA.cert_pem)
    uri = changes.pop("uri", "https://127.0.0.1:1")
    files: dict[str, Any] = {key: str(tmp_path / name) for key, name in changes.items()}
    changes["uri"] = uri  # parametrize shares it
    with pytest.raises(ConfigError) as caught:
        open_index(MilvusSpec(uri=uri, timeout_s=1, **files), "docs")
    assert told in caught.value.found


def test_the_token_and_the_database_go_with_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are sent as gRPC metadata; a wrong token is refused and never shown."""
    monkeypatch.setenv("MRAG_MILVUS_TOKEN", "writer:s3cret")
    token = base64.b64encode(b"writer:s3cret").decode()
    with protocol_server(VERSION, token=token) as (uri, server):
        with closing(open_index(MilvusSpec(uri=uri, db_name="tenant"), "docs")) as index:
            index.load(HEAD, [table_of(range(10), vectors(10))])
        assert server.databases == {"tenant"}
        monkeypatch.setenv("MRAG_MILVUS_TOKEN", "writer:wr0ng")
        with pytest.raises(ConfigError, match="refuses the token") as caught:
            open_index(MilvusSpec(uri=uri), "docs")
        assert "wr0ng" not in str(caught.value)


def test_a_collection_has_one_shard_and_as_many_copies_as_asked(tmp_path: Path) -> None:
    """Heads are small, so one shard is enough; replicas use memory and are set on loading."""
    with protocol_server(VERSION) as (uri, server):
        with closing(open_index(MilvusSpec(uri=uri, replicas=3), "docs")) as index:
            index.load(HEAD, [table_of(range(10), vectors(10))])
        assert [one.shards_num for one in server.requests("CreateCollection")] == [1]
        assert [one.replica_number for one in server.requests("LoadCollection")] == [3]


ROWS = [table_of(range(10), vectors(10))]
DROPS: dict[str, Callable[[VectorIndex], object]] = {
    "drop": lambda index: index.drop(HEAD.name),
    "load": lambda index: index.load(HEAD, ROWS),
    "rebuild": lambda index: index.rebuild(HEAD, ROWS),
}
STATES = ("ImportPending", "ImportStarted", "ImportPersisted", "ImportCompleted")


@pytest.mark.parametrize("name", DROPS)
@pytest.mark.parametrize("has_folder", [False, True])
def test_a_collection_is_dropped_when_its_imports_have_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, has_folder: bool
) -> None:
    """Also by a process whose config names no `milvus.bulk_uri`: another one's load was killed.

    What that load has copied goes with its collection, where the folder is known.
    """
    monkeypatch.setattr(bulk_import, "_POLL_S", 0.0)
    copy = tmp_path / HEAD.name / ("0" * 32) / "00000.parquet"
    files = BulkFolder(str(tmp_path)) if has_folder else None
    with (
        protocol_server("v2.3.5") as (uri, server),
        closing(open_index(MilvusSpec(uri=uri), "docs", files)) as index,
    ):
        index.load(HEAD, ROWS)
        copy.parent.mkdir(parents=True)
        copy.touch()
        server.imports[HEAD.name] = [common_pb2.ImportState.Value(state) for state in STATES]
        DROPS[name](index)
        assert len(server.requests("ListImportTasks")) == len(STATES)
        assert len(server.requests("DropCollection")) == 1
    assert copy.exists() is (not has_folder or name == "rebuild")


def test_a_server_that_lists_no_imports_drops_collections() -> None:
    """Or not to this user: who configures no imports needs no right to see them."""
    with (
        protocol_server(VERSION) as (uri, server),
        closing(open_index(MilvusSpec(uri=uri), "docs")) as index,
    ):
        index.load(HEAD, ROWS)
        server.imports[HEAD.name] = None
        index.drop(HEAD.name)
        assert len(server.requests("ListImportTasks")) == 1
        assert server.collections == {}


@pytest.mark.parametrize("level", ["Strong", "Bounded", "Eventually"])
def test_searches_read_at_the_level_that_is_configured(
    level: Literal["Strong", "Bounded", "Eventually"],
) -> None:
    """Counts and the rows that a sync compares are always read at Strong."""
    with protocol_server(VERSION) as (uri, server):
        with closing(open_index(MilvusSpec(uri=uri, consistency=level), "docs")) as index:
            index.load(HEAD, [table_of(range(10), vectors(10))])
            index.search([SearchRequest(HEAD.name, vectors(1), 3)])
            list(index.ids(HEAD.name))
            index.vectors(HEAD.name, [1])
        wanted = common_pb2.ConsistencyLevel.Value(level)
        strong = common_pb2.ConsistencyLevel.Strong
        assert {one.consistency_level for one in server.requests("CreateCollection")} == {wanted}
        assert {one.consistency_level for one in server.requests("Search")} == {wanted}
        queries = server.requests("Query")
        by_id = [one for one in queries if one.expr == "chunk_id in [1]"]
        assert {one.consistency_level for one in by_id} == {wanted}
        rest = [one for one in queries if one not in by_id]
        assert rest
        assert {one.consistency_level for one in rest} == {strong}


def test_planning_counts_the_versions_that_are_kept() -> None:
    """32 heads and their chunks, two versions stored and one to come, against the limit."""

    def of(version: str) -> list[CollectionSpec]:
        heads = [CollectionSpec(f"docs_{version}_l31_h{h:02d}", "head", 8) for h in range(32)]
        return [*heads, CollectionSpec(f"docs_{version}_chunks", "chunks", 8)]

    with protocol_server(VERSION) as (uri, server):
        for version in (OLD, NEW):
            server.collections |= {one.name: Held(schema(one)) for one in of(version)}
        coming = of("v" + "5" * 12)
        with closing(open_index(MilvusSpec(uri=uri, max_collections=99), "docs")) as index:
            index.check_limits(coming, 10)
            index.check_limits(of(NEW), 10)
        with closing(open_index(MilvusSpec(uri=uri, max_collections=98), "docs")) as index:
            with pytest.raises(PlanRefused, match="66 collections are there, and 33 would come"):
                index.check_limits(coming, 10)
            index.check_limits(of(NEW), 10)
        for advised, is_near in ((123, True), (124, False)):
            spec = MilvusSpec(uri=uri, advised_collections=advised)
            with closing(open_index(spec, "docs")) as index:
                assert bool(index.check_limits(coming, 10)) == is_near
        with closing(open_index(MilvusSpec(uri=uri, advised_collections=50), "docs")) as index:
            with pytest.raises(PlanRefused, match=r"50 at most \(milvus\.advised_collections\)"):
                index.check_limits(coming, 10)
            assert index.check_limits(of(NEW), 10) == ()
            assert index.load(HEAD, [table_of(range(10), vectors(10))]) == 10
