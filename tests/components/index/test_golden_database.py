"""A Milvus Lite database of mrag 0.1 is read and written on."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec

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
