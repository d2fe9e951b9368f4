"""An export is found whole by its receipts, which are read once and not kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any
from weakref import ref

import pytest

from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.stages.versions.export import export_fingerprint
from mrag_pipeline.stages.versions.import_version import export_plan, read_export
from tests.support.fake_export import FakeExport
from tests.support.fake_staging import PLAN, a_card, a_manifest, an_output

NUM_SHARDS = 40


class Tracked(Receipt):
    """A receipt of which can be told how long it is held."""


class Watched:
    """Staging that counts the receipts that are read, and how many are held at one time."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._given: list[ref[Tracked]] = []
        self.num_read = self.most_held = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def receipt(self, shard: int, fingerprint: str) -> None:
        raise AssertionError("receipts are read in parallel, where each read waits")

    def receipts(self, shards: Iterable[int], fingerprint: str) -> Iterator[Receipt | None]:
        for receipt in self._inner.receipts(shards, fingerprint):
            self.num_read += 1
            if receipt is None:
                yield None
                continue
            values = {field.name: getattr(receipt, field.name) for field in fields(receipt)}
            tracked = Tracked(**values)
            self._given.append(ref(tracked))
            self.most_held = max(self.most_held, sum(one() is not None for one in self._given))
            yield tracked


def an_export(num_written: int = NUM_SHARDS) -> tuple[FakeExport, Watched]:
    """Of 4 chunks in each shard."""
    record = VersionRecord(
        index="docs",
        version="vaaaaaaaaaaaa",
        fingerprint=PLAN,
        encoder=a_card(),
        chunking=ChunkingSpec(),
        sums=an_output().sums,
        num_documents=2 * NUM_SHARDS,
        num_chunks=4 * NUM_SHARDS,
        num_dead_letters=0,
        created_at="2026-01-02T03:04:05+00:00",
        corpus="corpus",
    )
    manifest = a_manifest(num_shards=NUM_SHARDS)
    manifest = replace(manifest, fingerprint=export_fingerprint(record, manifest.shards))
    export = FakeExport()
    export.staging.write_manifest(manifest)
    for shard in range(num_written):
        export.staging.write_shard(an_output(shard), manifest.fingerprint)
    export.write_record(record)
    watched = Watched(export.staging)
    export._staging = watched  # type: ignore[assignment]
    return export, watched


def test_receipts_are_added_up_as_they_come() -> None:
    """A quarter of a million of them would be gigabytes; the plan alone reads none."""
    export, watched = an_export()
    record, manifest = read_export(export, "moved")
    assert (record.index, manifest.index, record.num_chunks) == ("moved", "moved", 4 * NUM_SHARDS)
    assert watched.num_read == NUM_SHARDS
    assert watched.most_held <= 2
    assert export_plan(export, "moved", ExactIndex("moved")) == manifest
    assert watched.num_read == NUM_SHARDS


def test_missing_shards_are_counted() -> None:
    """All of them, for the message."""
    export, _ = an_export(num_written=NUM_SHARDS - 3)
    with pytest.raises(StagingError, match=f"3 of its {NUM_SHARDS} shards are missing"):
        read_export(export, "docs")


def test_a_plan_that_is_gone_is_no_whole_export() -> None:
    """As where there never was one."""
    with pytest.raises(StagingError, match="no whole export"):
        export_plan(FakeExport(), "docs", ExactIndex("docs"))
