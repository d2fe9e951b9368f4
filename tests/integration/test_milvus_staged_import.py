"""Staged files that a real Milvus server imports where they are (decisions 125 and 142).

Needs `pip install --no-deps milvus==2.3.5`, which carries the server; skips elsewhere.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mrag_pipeline.domain.documents import Chunk, DeadLetter, MetadataValue
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import StagingError
from mrag_pipeline.index.milvus.adapter import MilvusIndex
from mrag_pipeline.ports import CollectionSpec, ShardOutput, StagedTables
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.bulk_files import BulkFolder
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.crash_scenarios import FIRST
from tests.support.fake_staging import HEADS, PLAN, STANDARD_DIM, a_card, a_manifest, table_of
from tests.support.index_rows import HOSTILE, vectors
from tests.support.living_index import Living, assert_same, audited
from tests.support.milvus_server import Server, milvus_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VERSION, DIM = "vaaaaaaaaaaaa", 32
HEAD = CollectionSpec(f"docs_{VERSION}_l05_h00", "head", DIM)
CHUNKS = CollectionSpec(f"docs_{VERSION}_chunks", "chunks", STANDARD_DIM)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as made:
        yield made


def opened(server: Server, name: str, bulk: Path, bulk_path: str = "") -> MilvusIndex:
    """An index whose every staged file is worth a task of its own."""
    spec = MilvusSpec(uri=server.uri, timeout_s=20, build_timeout_s=60, bulk_min_rows=1)
    return MilvusIndex(spec, name, BulkFolder(str(bulk), bulk_path, in_place_bytes=0))


def staged(folder: Path, num_rows: int = 2_000, compression: Any = "zstd") -> ShardFolders:
    """Two shards of so many chunks, none left out; the chunks as a server imports them."""
    spec = StagingSpec(uri=str(folder), compression=compression)
    made = ShardFolders(spec, "docs", VERSION, import_bytes=0)
    made.write_manifest(a_manifest(card=a_card(HEADS, DIM)))
    random = np.random.default_rng(0)
    for shard in range(2):
        rows = range(shard * num_rows, (shard + 1) * num_rows)
        made_vectors = random.normal(size=(num_rows, len(HEADS), DIM)).astype(np.float32)
        output = ShardOutput(
            shard=shard,
            chunks=[a_chunk(row) for row in rows],
            vectors=made_vectors,
            standard=made_vectors[:, 0, :STANDARD_DIM].copy(),
            sums=ImportanceSums.of(made_vectors),
            documents=[],
            dead_letters=[],
            num_tokens=0,
            num_bytes=0,
        )
        made.write_shard(output, PLAN)
    made.write_duplicates({})
    return made


def a_chunk(row: int) -> Chunk:
    """One with a text, a title and metadata that are hard to write."""
    text = HOSTILE[row % len(HOSTILE)]
    metadata: dict[str, MetadataValue] = (
        {"by": "Zoë 𝄞", "year": row, "open": True} if row % 2 else {}
    )
    return Chunk(2**62 + row, f"d{row}", row % 7, 0, len(text), text, text, metadata)


def chunks_of(staging: ShardFolders) -> StagedTables:
    return StagedTables((0, 1), staging.chunks, staging.chunks_file)


def rows_of(staging: ShardFolders) -> StagedTables:
    return StagedTables(
        (0, 1),
        lambda shard: staging.head(shard, HEADS[0]),
        lambda shard: staging.head_file(shard, HEADS[0]),
    )


def imported_files(index: MilvusIndex) -> list[str]:
    """The names that the server is given from now on."""
    names: list[str] = []
    handler: Any = index._client._get_connection()
    call = handler.do_bulk_insert

    def noted(collection: str, partition: str, files: list[str], **options: Any) -> Any:
        names.extend(files)
        return call(collection, partition, files, **options)

    handler.do_bulk_insert = noted
    return names


def assert_loaded(index: MilvusIndex, staging: ShardFolders) -> None:
    """The collection holds the staged rows, each once and to the bit."""
    blocks = list(index.vector_blocks(HEAD))
    ids = np.concatenate([ids for ids, _ in blocks])
    order = np.argsort(ids)
    tables = list(rows_of(staging))
    wanted = np.concatenate([table["chunk_id"].to_numpy() for table in tables])
    np.testing.assert_array_equal(ids[order], wanted)
    found = np.concatenate([vectors for _, vectors in blocks])[order]
    flat = np.concatenate([table["vector"].combine_chunks().flatten() for table in tables])
    np.testing.assert_array_equal(found, flat.reshape(-1, DIM))


def assert_chunks_loaded(index: MilvusIndex, staging: ShardFolders, num_rows: int) -> None:
    """Each row once, its vector to the bit; texts and proofs of the first and the last ones."""
    blocks = list(index.vector_blocks(CHUNKS))
    ids = np.concatenate([ids for ids, _ in blocks])
    order = np.argsort(ids)
    table = pa.concat_tables(chunks_of(staging))
    np.testing.assert_array_equal(ids[order], table["chunk_id"].to_numpy())
    found = np.concatenate([vectors for _, vectors in blocks])[order]
    np.testing.assert_array_equal(found, vector_matrix(table["vector"]))
    some = [*range(50), *range(num_rows - 50, num_rows)]
    wanted = {2**62 + row: a_chunk(row) for row in some}
    stored = index.chunks(CHUNKS.name, list(wanted))
    for chunk_id, chunk in wanted.items():
        row = stored[chunk_id]
        assert (row.title, row.text, row.metadata) == (chunk.title, chunk.text, chunk.metadata)
        assert (row.document_id, row.ordinal, row.end) == (
            chunk.document_id,
            chunk.ordinal,
            chunk.end,
        )
    answers = index._client.query(
        CHUNKS.name, ids=list(wanted), output_fields=["proof"], consistency_level="Strong"
    )
    proofs = table.take(some)["proof"].to_pylist()
    assert {row["chunk_id"]: row["proof"] for row in answers} == dict(
        zip(wanted, proofs, strict=True)
    )


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("compression", "num_rows"),
    [("zstd", 100_000), ("snappy", 2_000), ("gzip", 2_000), ("none", 2_000)],
)
def test_staged_files_are_imported_where_they_are(
    server: Server, tmp_path: Path, compression: str, num_rows: int
) -> None:
    """Nothing is written below `milvus.bulk_uri`, staging is as it was, and the rows are equal."""
    staging = staged(tmp_path / "staging", num_rows, compression)
    before, bulk = content(tmp_path / "staging"), tmp_path / "bulk"
    with closing(opened(server, "docs", bulk)) as index:
        names = imported_files(index)
        assert index.load(HEAD, rows_of(staging)) == 2 * num_rows
        assert_loaded(index, staging)
        assert index.load(CHUNKS, chunks_of(staging)) == 2 * num_rows
        assert_chunks_loaded(index, staging, 2 * num_rows)
    assert len(names) == 4
    assert all(Path(name).is_relative_to(tmp_path / "staging") for name in names)
    assert not bulk.exists()
    assert content(tmp_path / "staging") == before


@pytest.mark.parametrize("import_bytes", [inf, 0])
def test_a_whole_ingest_with_duplicates(
    server: Server, tmp_path: Path, import_bytes: float
) -> None:
    """Verify and audit find nothing; what could not be imported was copied and removed."""
    corpus = [*FIRST[:4], replace(FIRST[0], source="again"), *FIRST[4:]]
    name = "texts" if import_bytes == 0 else "ingest"
    living = Living(tmp_path / "staging", corpus, shard_bytes=200, num_heads=2, name=name)
    living.import_bytes = import_bytes
    with closing(opened(server, name, tmp_path / "bulk")) as index:
        names = imported_files(index)
        replace(living, index=index).ingest()
        in_place = [Path(name).is_relative_to(tmp_path / "staging") for name in names]
        assert in_place.count(False) == 3  # a shard of each head and of the chunks, or all chunks
        assert in_place.count(True) >= 2
        num_chunks_files = sum(Path(name).name.startswith("chunks-") for name in names)
        assert (num_chunks_files > 0) == (import_bytes == 0)
        again = replace(living, index=index)
        report = audited(again)
        assert ([str(one) for one in report.findings], report.unproven) == ([], 0)
        assert_same(again, again.rebuilt(tmp_path / "rebuilt"))
    assert not list((tmp_path / "bulk").rglob("*.parquet"))


def test_a_server_that_does_not_see_staging_gets_copies(server: Server, tmp_path: Path) -> None:
    """As one in a container that has mounted a part of the disk; the rows are equal."""
    shared, seen = tmp_path / "shared", tmp_path / "seen"
    staging = staged(shared / "staging")
    seen.mkdir()
    (seen / HEAD.name).symlink_to(shared / HEAD.name)
    with closing(opened(server, "docs", shared, str(seen))) as index:
        names = imported_files(index)
        assert index.load(HEAD, rows_of(staging)) == 4_000
        assert_loaded(index, staging)
    in_place = [Path(name).is_relative_to(seen / "staging") for name in names]
    assert in_place == [True, True, False, False]
    assert not list((shared / HEAD.name).rglob("*.parquet"))


@pytest.mark.parametrize("num_bytes", [0, 100, -100])
def test_a_staged_file_that_is_cut_short_is_named(
    server: Server, tmp_path: Path, num_bytes: int
) -> None:
    """Empty, without its end, or without its last bytes; the server goes on with other files."""
    staging = staged(tmp_path / "staging")
    file = staging.head_file(1, HEADS[0])
    assert file is not None
    whole = Path(file.path).read_bytes()
    Path(file.path).write_bytes(whole[:num_bytes])
    with closing(opened(server, "docs", tmp_path / "bulk")) as index:
        with pytest.raises(StagingError, match=r"l05_h00-\w+\.parquet is missing or damaged"):
            index.load(HEAD, rows_of(staging))
        Path(file.path).write_bytes(whole)
        assert index.load(HEAD, rows_of(staging)) == 4_000
        assert_loaded(index, staging)


class Died(Exception):
    pass


def dies(_: int) -> None:
    """After the first task was submitted."""
    raise Died


def test_staging_goes_when_no_import_reads_it_any_more(server: Server, tmp_path: Path) -> None:
    """Of a load that died: the next load, or the drop before a removal, waits for its tasks."""
    staging = staged(tmp_path / "staging", num_rows=20_000)
    few = table_of(range(100), vectors(100, DIM))
    with closing(opened(server, "docs", tmp_path / "bulk")) as index:
        with pytest.raises(Died):
            index.load(HEAD, rows_of(staging), dies)
        assert index.load(HEAD, rows_of(staging)) == 40_000
        assert_loaded(index, staging)
        with pytest.raises(Died):
            index.load(HEAD, rows_of(staging), dies)
        index.drop(HEAD.name)
        shutil.rmtree(tmp_path / "staging")
        assert index.load(HEAD, [few]) == 100


def test_a_drop_without_a_bulk_folder_holds_up_no_import(server: Server, tmp_path: Path) -> None:
    """A config without `milvus.bulk_uri` may retire what another's killed load has begun.

    Dropped at once, the collection's task would keep the server's other imports waiting for 15
    minutes.
    """
    staging = staged(tmp_path / "staging", num_rows=20_000)
    other = replace(HEAD, name=HEAD.name.replace("h00", "h01"))
    with closing(opened(server, "docs", tmp_path / "bulk")) as imports:
        with pytest.raises(Died):
            imports.load(HEAD, rows_of(staging), dies)
        with closing(MilvusIndex(MilvusSpec(uri=server.uri, timeout_s=20), "docs")) as plain:
            plain.drop(HEAD.name)
        shutil.rmtree(tmp_path / "staging")
        started = time.monotonic()
        assert imports.load(other, [table_of(range(100), vectors(100, DIM))]) == 100
        assert time.monotonic() - started < 60


def test_a_shard_whose_duplicates_are_found_later_is_copied(server: Server, tmp_path: Path) -> None:
    """What was left out is in no row."""
    staging = staged(tmp_path / "staging")
    with closing(opened(server, "docs", tmp_path / "bulk")) as index:
        assert index.load(HEAD, rows_of(staging)) == 4_000
        staging.write_duplicates({1: [DeadLetter("d3999", "", "", "")]})
        assert index.load(HEAD, rows_of(staging)) == 3_999
        assert_loaded(index, staging)
