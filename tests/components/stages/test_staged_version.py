"""What staging knows of a version after syncs; audit and repair with everything on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages import sorted_ids
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.versions import repair as repair_stage
from mrag_pipeline.stages.versions import row_answers, staged_proofs
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.row_items import RowChecker, ShardItem, ShardRead
from mrag_pipeline.stages.versions.staged_version import StagedShard, StagedVersion
from tests.support.builds import RecordingProgress
from tests.support.changed_rows import chunk_ids, negate_number
from tests.support.living_index import Living, a_document, assert_same, audited, repaired, staged_of

TEN = [a_document(i) for i in range(10)]


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Living:
    """Ten documents and three syncs: one document changes there and back, one goes and returns."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Living(tmp_path / "staging", TEN)
    made.ingest()
    for items in (
        [a_document(0, edition=1), *TEN[2:], a_document(10)],
        [TEN[0], *TEN[2:9], a_document(10)],
        [*TEN[:9], a_document(11)],
    ):
        made.items = items
        made.sync()
    return made


@pytest.fixture
def staged(living: Living) -> StagedVersion:
    return staged_of(living)


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that grows with the version is held."""
    monkeypatch.setattr(sorted_ids, "_IDS_IN_MEMORY", 3)
    monkeypatch.setattr(staged_proofs, "_PROOFS_IN_MEMORY", 3)
    monkeypatch.setattr(row_answers, "_KEYS_IN_MEMORY", 3)
    monkeypatch.setattr(repair_stage, "_DELETED_AT_ONCE", 1)


def test_each_chunk_is_staged_once_where_it_was_last(living: Living, staged: StagedVersion) -> None:
    """The ids are those of the index; so are the rows of each head, to the bit."""
    record = live_record(living.index)
    wanted = chunk_ids(living.index, record)
    assert sorted(int(i) for ids in staged.chunk_ids() for i in ids) == wanted
    assert staged.is_whole()
    for head, name in zip(record.encoder.heads, record.head_collections(), strict=True):
        stored = living.index.vectors(name, wanted)
        rows = [
            (chunk_id, vector.tobytes())
            for table in staged.tables(head)
            for chunk_id, vector in zip(
                table["chunk_id"].to_pylist(),
                vector_matrix(table["vector"]).astype(np.float32),
                strict=True,
            )
        ]
        assert sorted(rows) == [(i, stored[i].tobytes()) for i in wanted]


def test_a_shards_chunks_are_those_that_no_later_sync_changed(
    living: Living, staged: StagedVersion
) -> None:
    """With the proofs and rows that the index has; and any of them are found in their shard."""
    record = live_record(living.index)
    name, wanted = record.chunks_collection(), chunk_ids(living.index, record)
    assert staged.num_shards() == len(staged.id_sums()) == len(list(staged.shards()))
    seen = []
    for shard, id_sum in staged.id_sums().items():
        chunks = staged.chunks(shard)
        assert chunks is not None
        assert chunks.table is not None
        ids = chunks.ids.tolist()
        assert IdSum.of(chunks.ids) == id_sum
        assert chunks.table["chunk_id"].to_pylist() == ids
        assert dict(zip(ids, chunks.proofs, strict=True)) == living.index.proofs(name, ids)
        some = chunks.of(chunks.ids[1:])
        assert (some.ids.tolist(), some.proofs) == (ids[1:], chunks.proofs[1:])
        rows = staged.rows(shard, record.encoder.heads[0], chunks.ids[:1])
        assert rows is not None
        assert rows["chunk_id"].to_pylist() == ids[:1]
        seen += ids
    assert sorted(seen) == wanted
    places = dict(staged.located(np.array([17, wanted[0], wanted[-1]])))
    assert sorted(int(i) for ids in places.values() for i in ids) == [wanted[0], wanted[-1]]


@pytest.mark.parametrize("proofs_in_memory", [3, 1_000])
def test_proofs_are_those_of_the_index(
    living: Living, staged: StagedVersion, proofs_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the chunks that are asked for and staged, in memory or in a file."""
    monkeypatch.setattr(staged_proofs, "_PROOFS_IN_MEMORY", proofs_in_memory)
    record = live_record(living.index)
    ids = chunk_ids(living.index, record)
    stored = living.index.proofs(record.chunks_collection(), ids)
    assert staged.proofs([*ids, 17]) == stored
    assert staged.proofs(ids[5:6]) == {ids[5]: stored[ids[5]]}
    assert staged.proofs([]) == {}


def test_a_shard_that_cannot_be_read_is_passed_over(living: Living, staged: StagedVersion) -> None:
    """The chunks of the others are known, and that there may be more."""
    record = live_record(living.index)
    assert next(staged.shards()) == StagedShard(sync=0, number=0)
    own = {*next(staged.chunk_ids()).tolist()}
    assert own
    for file in living.folder.glob(f"docs/{record.version}/shards/00000/**/*.parquet"):
        file.unlink()
    staged = staged_of(living)
    assert not staged.is_whole()
    wanted = {*chunk_ids(living.index, record)}
    assert {int(i) for ids in staged.chunk_ids() for i in ids} == wanted - own
    for table in staged.tables(None):
        assert own.isdisjoint(table["chunk_id"].to_pylist())
    lost = StagedShard(sync=0, number=0)
    assert staged.chunks(lost) is None
    assert staged.rows(lost, None, np.array(sorted(own))) is None


def test_a_shards_ids_are_known_if_its_texts_cannot_be_read(
    living: Living, staged: StagedVersion
) -> None:
    """From the files of its heads; nothing proves its chunks then."""
    record = live_record(living.index)
    first = next(staged.shards())
    for file in living.folder.glob(f"docs/{record.version}/shards/00000/chunks*.parquet"):
        file.unlink()
    chunks = staged_of(living).chunks(first)
    assert chunks is not None
    assert chunks.table is None
    assert IdSum.of(chunks.ids) == staged.id_sums()[first]
    assert {*chunks.proofs} == {""}


def test_files_that_workers_do_not_reach_are_read_here(living: Living) -> None:
    """As where staging is a folder of the command's own machine."""
    record = live_record(living.index)
    victim = min(living.folder.glob("docs/*/shards/*/heads/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")

    def opened(work: Any, _num_bytes: int) -> SerialPool:
        assert isinstance(work, RowChecker)
        return in_this_process(replace(work, staged=None))

    staged, progress = staged_of(living), RecordingProgress()
    num_shards = len(list(staged.shards()))
    for open_pool in (in_this_process, opened):
        found = audit(record, staged, living.index, progress, open_pool)
        assert found.staged_shards == num_shards - 1
        [finding] = found.findings
        assert victim.name in finding.what


def test_damage_that_only_a_worker_sees_is_none(living: Living) -> None:
    """As with an older folder at the same path; staged ids are compared with the index then."""
    record, staged = live_record(living.index), staged_of(living)

    def opened(work: Any, _num_bytes: int) -> SerialPool:
        def lying(item: Any) -> Any:
            if isinstance(item, ShardItem):
                return ShardRead(item.shard, is_here=True, damage="another hash")
            return work(item)

        return in_this_process(lying)

    found = audit(record, staged, living.index, RecordingProgress(), opened)
    assert found.findings == ()
    assert found.staged_shards == len(list(staged.shards()))
    ids = chunk_ids(living.index, record)
    for collection in record.collections():
        living.index.delete(collection, ids[:1])
    found = audit(record, staged, living.index, RecordingProgress(), opened)
    assert "staged and not indexed" in {finding.what for finding in found.findings}


def rows_lost(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    index.delete(record.head_collections()[1], ids[2:9])


def chunks_lost(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    index.delete(record.chunks_collection(), ids[::5])


def vectors_altered(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    for row_id in ids[4:7]:
        negate_number(index, record, row_id)


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize("damage", [rows_lost, chunks_lost, vectors_altered])
@pytest.mark.parametrize("with_staging", [True, False])
def test_what_does_not_fit_in_memory_is_put_right(
    living: Living,
    damage: Callable[[VectorIndex, VersionRecord, list[int]], None],
    with_staging: bool,
    tmp_path: Path,
) -> None:
    """From staging to the bit; without it documents go, and are back after a sync."""
    record = live_record(living.index)
    damage(living.index, record, chunk_ids(living.index, record))
    assert audited(living, with_staging).findings
    repaired(living, with_staging)
    assert audited(living, with_staging).findings == ()
    if with_staging:
        assert_same(living, living.rebuilt(tmp_path / "rebuilt"))
