"""What a repair gives to the pool, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.proofs import proofs_of
from mrag_pipeline.ports import OpenPool
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.repair import Repaired, repair
from mrag_pipeline.stages.versions.row_items import RowChecker, RowsChecked, StagedRowsItem
from mrag_pipeline.stages.versions.stored_rows import chunk_of
from mrag_pipeline.staging.exports import open_export
from tests.support.builds import RecordingProgress
from tests.support.changed_rows import change_chunk, chunk_ids, negate_number
from tests.support.damaged_versions import damaged, damaged_and_a_shard_lost
from tests.support.living_index import Living, a_document, audited, repaired, staged_of

READS = {"ids", "vectors", "chunks", "marks", "marks_of", "proofs", "stale_words", "search"}
Works = Callable[[RowChecker], Callable[[Any], Any]]


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Living:
    """Ten documents, live, and synced once."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Living(tmp_path / "staging", [a_document(i) for i in range(10)])
    made.ingest()
    made.items = [a_document(0, edition=1), *made.items[2:], a_document(10)]
    made.sync()
    return made


def repaired_by(living: Living, open_pool: OpenPool, *, with_staging: bool = True) -> Repaired:
    staged = staged_of(living) if with_staging else None
    record = live_record(living.index)
    return repair(record, staged, living.index, living.progress, open_pool)


def pool_of(done_by: Works) -> OpenPool:
    """Pools whose items are done by what is made of the work."""

    def opened(work: Any, _num_bytes: int) -> SerialPool:
        assert isinstance(work, RowChecker)
        return in_this_process(done_by(work))

    return opened


class Watched:
    """An index that notes what is read outside of items."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.is_in_item = False
        self.read_outside: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in READS and not self.is_in_item:
            self.read_outside.append(name)
        return getattr(self.inner, name)


@pytest.mark.parametrize("with_staging", [True, False])
def test_a_whole_version_is_read_once_and_by_items_only(living: Living, with_staging: bool) -> None:
    """But for the ids of its chunks where staging does not know them."""
    living.index = watched = Watched(living.index)
    record = live_record(living.index)
    num_pools = 0

    def opened(work: Any, num_bytes: int) -> SerialPool:
        nonlocal num_pools
        num_pools += 1

        def done(item: Any) -> Any:
            watched.is_in_item = True
            try:
                return work(item)
            finally:
                watched.is_in_item = False

        assert num_bytes > 4 * record.num_chunks * record.encoder.standard_dim
        return in_this_process(done)

    living.progress = RecordingProgress()
    done = repaired_by(living, opened, with_staging=with_staging)
    assert (done.restored, done.removed, done.recounted) == (0, 0, False)
    assert done.record.to_json() == record.to_json()
    assert watched.read_outside == ([] if with_staging else ["ids"])
    assert num_pools == 1
    [(phase, num_items, unit)] = living.progress.phases
    assert (phase, unit) == ("repair", "items")
    assert living.progress.done == {"repair": num_items}
    assert living.progress.facts == {"chunks": record.num_chunks}


class Drawing(SerialPool):
    """A pool that refuses a list of items."""

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        assert not isinstance(items, Sequence)
        return super().run(items)


def test_items_are_drawn_by_the_pool(living: Living, tmp_path: Path) -> None:
    """Of an audit, a repair and an export: none of them holds a list that grows."""

    def opened(work: Any, _num_bytes: int) -> SerialPool:
        return Drawing(lambda: work)

    index, record = living.index, live_record(living.index)
    assert audit(record, staged_of(living), index, living.progress, opened).findings == ()
    damage(living)
    repaired_by(living, opened)
    export = open_export(str(tmp_path / "export"))
    export_version(live_record(index), index, export, living.progress, opened)


def damage(living: Living) -> None:
    """A head lacks rows and has another vector."""
    record = live_record(living.index)
    ids = chunk_ids(living.index, record)
    living.index.delete(record.head_collections()[1], ids[2:5])
    negate_number(living.index, record, ids[7])


def not_reached(work: RowChecker) -> Callable[[Any], Any]:
    """A worker that does not reach the staging folder."""
    return replace(work, staged=None)


def of_another_folder(work: RowChecker) -> Callable[[Any], Any]:
    """A worker whose folder of that name has other chunks."""

    def done(item: Any) -> Any:
        is_staged = isinstance(item, StagedRowsItem)
        return work(replace(item, ids=IdSum()) if is_staged else item)

    return done


@pytest.mark.parametrize("done_by", [not_reached, of_another_folder])
def test_shards_that_workers_do_not_have_are_compared_here(living: Living, done_by: Works) -> None:
    """As where staging is a folder of the command's own machine."""
    content = living.content()
    damage(living)
    done = repaired_by(living, pool_of(done_by))
    assert (done.restored, done.documents_removed) == (4, 0)
    assert living.content() == content
    assert audited(living).findings == ()


def test_damage_that_only_a_worker_sees_is_none(living: Living) -> None:
    """As with an older folder at the same path: nothing is written, and no document goes."""
    record = live_record(living.index)

    def lying(work: RowChecker) -> Callable[[Any], Any]:
        def done(item: Any) -> Any:
            answer = work(item)
            if isinstance(answer, RowsChecked) and isinstance(item, StagedRowsItem):
                assert work.staged is not None
                chunks = work.staged.chunks(item.shard)
                assert chunks is not None
                answer.checked.altered[record.head_collections()[0]] = chunks.ids.tolist()
            return answer

        return done

    done = repaired_by(living, pool_of(lying))
    assert (done.restored, done.removed) == (0, 0)
    assert live_record(living.index).to_json() == record.to_json()
    damage(living)
    assert repaired_by(living, pool_of(lying)).restored == 4
    assert audited(living).findings == ()


def test_a_row_of_an_older_state_is_written_again(living: Living) -> None:
    """Its proof proves it; staging says that it should be another one."""
    content, index, record = living.content(), living.index, live_record(living.index)
    row_id, name = chunk_ids(index, record)[0], record.chunks_collection()
    chunk = replace(chunk_of(index.chunks(name, [row_id])[row_id]), title="older")
    heads = [index.vectors(head, [row_id])[row_id] for head in record.head_collections()]
    standard = index.vectors(name, [row_id])[row_id]
    [proof] = proofs_of([chunk], standard[None], np.array(heads)[None])
    change_chunk(index, record, row_id, title="older", proof=proof)
    assert repaired(living).restored == 1
    assert living.content() == content


def test_what_was_written_is_compared_again(tmp_path: Path) -> None:
    """Once: then nothing is wrong any more, and the record is that of before."""
    living = Living(tmp_path, [a_document(i) for i in range(6)], num_heads=2)
    damaged(living)
    living.progress = RecordingProgress()
    record = live_record(living.index)
    done = repaired(living)
    assert [phase for phase, _, _ in living.progress.phases] == ["repair", "check"]
    assert replace(done.record, repairs=0).to_json() == record.to_json()
    assert audited(living).findings == ()


@pytest.mark.parametrize("file", ["heads/l00_h01-*.parquet", "chunks-*.parquet"])
def test_what_cannot_be_made_whole_is_removed_once(tmp_path: Path, file: str) -> None:
    """Its staged file is damaged: the document goes, once; it is back when the file is."""
    living = Living(tmp_path, [a_document(i) for i in range(6)], shard_bytes=200, num_heads=2)
    living.ingest()
    index, record, content = living.index, live_record(living.index), living.content()
    row_id = int(living.staging(record.version).chunk_ids(0)[0])
    if file.startswith("heads"):
        negate_number(index, record, row_id)
    else:
        change_chunk(index, record, row_id, text="other")
    [damaged_file] = living.folder.glob(f"*/{record.version}/shards/00000/{file}")
    whole = damaged_file.read_bytes()
    damaged_file.write_bytes(b"garbage")
    first = repaired(living)
    assert (first.documents_removed, first.recounted) == (1, True)
    for _ in range(2):
        living.progress = RecordingProgress()
        again = repaired(living)
        assert (again.restored, again.removed, again.documents_removed) == (0, 0, 0)
        assert again.record.to_json() == first.record.to_json()
        assert [phase for phase, _, _ in living.progress.phases] == ["repair"]
    damaged_file.write_bytes(whole)
    assert repaired(living).documents_removed == 0
    assert living.content() == content
    assert audited(living).findings == ()


def test_with_a_staged_shard_lost_the_other_rows_are_restored(tmp_path: Path) -> None:
    """A document whose shard is lost goes if a row is wrong; its words are made from its rows."""
    living = Living(tmp_path, [a_document(i) for i in range(6)], shard_bytes=200, num_heads=2)
    damaged_and_a_shard_lost(living)
    before = live_record(living.index)
    done = repaired(living)
    assert (done.restored, done.documents_removed, done.recounted) == (2, 1, True)
    assert done.record.num_documents == before.num_documents - 1
    [finding] = audited(living).findings
    assert "shard that cannot be read" in finding.what
    again = repaired(living)
    assert (again.restored, again.removed, again.recounted) == (0, 0, False)
