"""Rows that Milvus Lite stores twice after a kill at a bad moment: found by audit, mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from milvus_lite.storage.wal import WAL

from mrag_pipeline.index.milvus import lite_clients
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from tests.support.lite_files import wait_until_merged
from tests.support.living_index import Living, a_document, audited, repaired


def written_again(living: Living, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes the first chunk's rows three times over, and keeps the logs of the last time.

    With the file that was there these are the four at which Lite merges.
    """
    delete = WAL.close_and_delete

    def kept(log: Any) -> None:
        folder = logs / Path(log.wal_dir).parent.name
        shutil.copytree(log.wal_dir, folder, dirs_exist_ok=True)
        delete(log)

    record = live_record(living.index)
    staged = StagedVersion(living.staging(record.version), [])
    specs = collections_of(record)
    heads = record.encoder.heads
    for last in (False, False, True):
        if last:
            monkeypatch.setattr(WAL, "close_and_delete", kept)
        for number, collection in enumerate(specs):
            head = heads[number] if number < len(heads) else None
            table = next(iter(staged.tables(head)))
            living.index.upsert(collection, table.slice(0, 1))
    monkeypatch.setattr(WAL, "close_and_delete", delete)


@pytest.fixture
def doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Living]:
    """A live version of which each collection has a row twice."""
    spec = MilvusSpec(uri=str(tmp_path / "x.db"))
    with closing(open_index(spec, "docs")) as index:
        living = Living(tmp_path / "staging", [a_document(i) for i in range(6)], index=index)
        living.ingest()
        written_again(living, tmp_path / "logs", monkeypatch)
    for logs in (tmp_path / "logs").iterdir():
        shutil.copytree(
            logs, tmp_path / "x.db" / "collections" / logs.name / "wal", dirs_exist_ok=True
        )
    with monkeypatch.context() as patched:
        patched.setattr(lite_clients, "remove_leftovers", lambda _: None)
        with closing(open_index(spec, "docs")) as index:
            for name in index.collections():
                index.count(name)  # opens it
            wait_until_merged(tmp_path / "x.db", index.collections())
    with closing(open_index(spec, "docs")) as index:
        living.index = index
        yield living


def test_doubled_rows_are_found_and_written_once(doubled: Living) -> None:
    """In every head, in the chunks and in the words."""
    record = live_record(doubled.index)
    found = [one for one in audited(doubled).findings if one.what == "ids that are there twice"]
    assert {one.where for one in found} == {*record.collections()}
    done = repaired(doubled)
    assert (done.removed, done.restored) == (0, len(record.collections()))
    assert audited(doubled).findings == ()
    assert repaired(doubled).restored == 0


def test_without_staging_their_documents_leave(doubled: Living) -> None:
    """One document; the next sync adds it again."""
    assert repaired(doubled, with_staging=False).documents_removed == 1
    assert audited(doubled, with_staging=False).findings == ()
    doubled.sync()
    assert audited(doubled).findings == ()
