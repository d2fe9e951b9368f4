"""The commands that the crash table kills, and the state that each starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from unittest import mock

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.retire import RetireSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.versions import export as export_stage
from mrag_pipeline.stages.versions.import_version import import_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.retire import retire
from mrag_pipeline.staging.exports import open_export
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.builds import RecordingProgress
from tests.support.damaged_versions import (
    damaged,
    damaged_and_a_shard_lost,
    damaged_without_staging,
)
from tests.support.living_index import Living, a_document, repaired
from tests.support.ranged_index import RangedIndex

FIRST = [a_document(i) for i in range(6)]
_RANGE_BYTES = 200.0  # of the chunks or words a shard, of a head two
_FROM_ROWS = partial(repaired, with_staging=False)
CHANGED = [a_document(0, edition=1), *FIRST[2:], a_document(7)]


@dataclass(frozen=True)
class Scenario:
    """A command, and the state it starts from."""

    name: str
    prepare: Callable[[Living], None]
    run: Callable[[Living], object]
    is_staging_whole: bool = True  # if not, an audit names what is lost of it


def scenarios() -> list[Scenario]:
    """The commands that are killed."""
    return [
        Scenario("ingest", lambda _: None, lambda living: living.ingest()),
        Scenario("ingest in ranges", _staged_for_ranges, lambda living: living.ingest()),
        Scenario("sync", _with_changes, lambda living: living.sync()),
        Scenario("push", _ingested, _push),
        Scenario("reindex", _with_other_chunking, lambda living: living.ingest()),
        Scenario("activate", _with_two, lambda living: activate(_older(living), living.index)),
        Scenario("retire", _with_two, _retire),
        Scenario("export", _ingested, _export),
        Scenario("import", _exported, _import),
        Scenario("import in ranges", _exported_for_ranges, _import),
        Scenario("repair", damaged, repaired),
        Scenario("repair without staging", damaged_without_staging, _FROM_ROWS),
        Scenario("repair, a staged shard lost", damaged_and_a_shard_lost, repaired, False),
    ]


def _staged_for_ranges(living: Living) -> None:
    """Everything is embedded."""
    living.index, living.range_bytes = RangedIndex(), _RANGE_BYTES
    living.shard_bytes = 100
    living.build()


def _ingested(living: Living) -> None:
    living.ingest()


def _with_changes(living: Living) -> None:
    living.ingest()
    living.sync()  # changes nothing, and leaves a cache that is replaced
    living.items = CHANGED


def _push(living: Living) -> None:
    living.push([a_document(0, edition=1), a_document(7)], deleted=["d1"], key="message-1")


def _with_other_chunking(living: Living) -> None:
    living.ingest()
    living.chunking = ChunkingSpec(max_tokens=16)


def _with_two(living: Living) -> None:
    _with_other_chunking(living)
    living.ingest()


def _older(living: Living) -> str:
    [older] = [r.version for r in living.index.records() if r.chunking.max_tokens == 8]
    return older


def _retire(living: Living) -> None:
    spec = RetireSpec(grace_hours=0, keep=0)

    def forget(version: str) -> None:
        ShardFolders(StagingSpec(uri=str(living.folder)), "docs", version).remove()

    retire(
        living.index, "docs", spec, datetime(2099, 1, 1, tzinfo=UTC), forget, RecordingProgress()
    )


def _export(living: Living) -> None:
    exported = open_export(str(living.folder.parent / "export"))
    export_stage.export_version(
        live_record(living.index), living.index, exported, RecordingProgress()
    )


def _exported(living: Living) -> None:
    living.ingest()
    _export(living)
    living.index = ExactIndex("docs")


def _exported_for_ranges(living: Living) -> None:
    """As several shards."""
    with mock.patch.object(export_stage, "CHUNKS_PER_SHARD", 3):
        _exported(living)
    living.index, living.range_bytes = RangedIndex(), _RANGE_BYTES


def _import(living: Living) -> VersionRecord:
    exported = open_export(str(living.folder.parent / "export"))
    record = import_version(
        exported, "docs", living.index, RecordingProgress(), range_bytes=living.range_bytes
    )
    return activate(record.version, living.index)
