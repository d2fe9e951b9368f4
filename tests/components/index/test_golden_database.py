"""A Milvus Lite database of mrag 0.1 is read and written on."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pymilvus import MilvusClient

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.milvus import rows
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.repair import repair
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.staging.deltas import open_delta
from mrag_pipeline.staging.shards import open_staging
from tests.support.builds import RecordingProgress
from tests.support.changed_rows import change_chunk, chunk_ids
from tests.support.index_rows import TEXTS, texts
from tests.support.living_index import Living, a_document, assert_same, audited

GOLDEN = Path(__file__).parents[2] / "golden" / "format_0_1"


def test_its_version_is_live_and_its_record_is_kept_with_what_is_unknown(tmp_path: Path) -> None:
    """A field of a later mrag survives a write by this one."""
    database = shutil.copytree(GOLDEN / "database", tmp_path / "index.db")
    with closing(open_index(MilvusSpec(uri=str(database)), "docs")) as index:
        version = index.live()
        assert version is not None
        record = index.record(version)
        assert record is not None
        counts = {name: index.count(name) for name in record.collections()}
        assert set(counts.values()) == {record.num_chunks}
        index.write_record(replace(record, unknown={"later": 1}))
        again = index.record(version)
        assert again is not None
        index.write_record(replace(again, synced_at="2026-11-29T00:00:00+00:00"))
        last = index.record(version)
        assert isinstance(last, VersionRecord)
        assert (last.unknown, last.synced_at[:4]) == ({"later": 1}, "2026")


def test_its_rows_are_audited_and_written_without_a_proof(tmp_path: Path) -> None:
    """The chunks collection has no field for one; with 0.1's staging every row is compared."""
    database = shutil.copytree(GOLDEN / "database", tmp_path / "index.db")
    spec = StagingSpec(uri=str(GOLDEN / "staging"))
    with closing(open_index(MilvusSpec(uri=str(database)), "docs")) as index:
        record = live_record(index)
        base = open_staging(spec, "docs", record.version)
        staged = StagedVersion.open(
            record, base, lambda number: open_delta(spec, "docs", record.version, number)
        )
        progress = RecordingProgress()
        assert audit(record, None, index, progress).unproven == record.num_chunks
        report = audit(record, staged, index, progress)
        assert (report.findings, report.unproven) == ((), 0)
        [row_id, *_] = chunk_ids(index, record)
        change_chunk(index, record, row_id, metadata='{"tenant": "b"}')
        assert audit(record, None, index, progress).findings == ()
        [finding] = audit(record, staged, index, progress).findings
        assert "text or metadata" in finding.what
        assert repair(record, staged, index, progress).restored == 1
        assert audit(record, staged, index, progress).findings == ()


def test_a_version_that_0_1_has_synced_is_whole_and_is_synced_on(tmp_path: Path) -> None:
    """Its sync's staging is read, and the next one has its number."""
    database = shutil.copytree(GOLDEN / "synced" / "database", tmp_path / "index.db")
    staging = shutil.copytree(GOLDEN / "synced" / "staging", tmp_path / "staging")
    with closing(open_index(MilvusSpec(uri=str(database)), "docs")) as index:
        same = [a_document(0, edition=1), *[a_document(i) for i in range(2, 5)]]
        living = Living(staging, same, index, num_heads=2)
        record = live_record(index)
        assert (record.syncs, record.num_documents, record.pushes) == (1, 4, 0)
        report = audited(living)
        assert (report.findings, report.unproven, report.staged_shards > 1) == ((), 0, True)
        assert living.sync()[1] is None
        living.items = same[1:]
        living.sync()
        assert live_record(index).syncs == 2
        assert audited(living).findings == ()
        assert_same(living, living.rebuilt(tmp_path / "fresh"))


def test_a_writer_of_0_1_can_write_on_into_a_database_of_today(tmp_path: Path) -> None:
    """Its rows have no proof, and are said to have none."""
    with closing(open_index(MilvusSpec(uri=str(tmp_path / "index.db")), "docs")) as index:
        index.load(TEXTS, [texts(["a"])])
    client = MilvusClient(str(tmp_path / "index.db"))
    client.load_collection(TEXTS.name)
    client.upsert(TEXTS.name, rows.of(texts(["b"], first_id=2)))
    client.close()
    with closing(open_index(MilvusSpec(uri=str(tmp_path / "index.db")), "docs")) as index:
        assert index.proofs(TEXTS.name, [1, 2]) == {1: "", 2: ""}
