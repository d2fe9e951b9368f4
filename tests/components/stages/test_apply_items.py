"""A sync's items: whoever does them, and whenever they end, the version is that of a rebuild."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import IndexCapabilities, OpenPool, WorkerPool
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.sync import apply_items, item_comparison, staged_change
from mrag_pipeline.stages.sync.apply_items import DeleteItem, WriteItem, may_double
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.builds import RecordingProgress
from tests.support.crash_table import torn
from tests.support.living_index import Living, a_document, assert_same, audited
from tests.support.scripted_kills import Killable, Killed, Switch

FIRST = [a_document(i) for i in range(12)]
# Four changed, one of which keeps its passages; three gone; three new.
CHANGED = [
    *(a_document(i, edition=1) for i in range(3)),
    replace(FIRST[3], title="Another title"),
    *FIRST[7:],
    *(a_document(i) for i in (20, 21, 22)),
]


class SharedIndex(ExactIndex):
    """As a server: several processes may change it, and so many collections at once."""

    def __init__(self, at_once: int = 1) -> None:
        super().__init__("docs")
        self._at_once = at_once

    def capabilities(self) -> IndexCapabilities:
        return replace(super().capabilities(), is_shared=True, loads_at_once=self._at_once)


class Shuffled(SerialPool):
    """Does items in any order."""

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        shuffled = list(items)
        random.Random(3).shuffle(shuffled)
        yield from super().run(shuffled)


def shuffled(work: Any, _num_bytes: int = 0) -> Shuffled:
    return Shuffled(lambda: work)


@pytest.fixture(params=[1, 4], ids=["one after the other", "in threads"])
def at_once(request: pytest.FixtureRequest) -> int:
    """Collections that an item changes at a time."""
    return int(request.param)


POOLS = pytest.mark.parametrize("pools", [in_this_process, shuffled])


@pytest.fixture(autouse=True)
def _small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards, and several items of each kind."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    monkeypatch.setattr(item_comparison, "shard_bytes", lambda *_: 150)
    monkeypatch.setattr(apply_items, "SUMS_IDS", 3)
    monkeypatch.setattr(apply_items, "DELETED_IDS", 3)


def a_living(
    folder: Path, pools: OpenPool = in_this_process, at_once: int = 1, is_shared: bool = True
) -> Living:
    """Twelve documents, live, and a corpus that has changed since."""
    index = SharedIndex(at_once) if is_shared else ExactIndex("docs")
    made = Living(folder / "staging", FIRST, index, pools=pools)
    made.ingest()
    made.items, made.progress = CHANGED, RecordingProgress()
    return made


def without_times(record: VersionRecord) -> str:
    return replace(record, created_at="", synced_at="", published_at="").to_json()


@POOLS
@pytest.mark.parametrize("is_on_disk", [False, True])
def test_a_sync_is_the_same_on_any_pool(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pools: OpenPool,
    at_once: int,
    is_on_disk: bool,
) -> None:
    """The rows of a rebuild; the record, its sums included, as one process counts it."""
    if is_on_disk:
        monkeypatch.setattr(staged_change, "ROWS_IN_MEMORY", 2)
        monkeypatch.setattr(staged_change, "IDS_AT_ONCE", 0)
        monkeypatch.setattr("mrag_pipeline.stages.sorted_ids._IDS_IN_MEMORY", 2)
        monkeypatch.setattr("mrag_pipeline.stages.sync.spooled_marks._BYTES_IN_MEMORY", 1)
        monkeypatch.setattr("mrag_pipeline.staging.deltas._PART_MARKS", 5)
    serial = a_living(tmp_path / "serial")
    living = a_living(tmp_path / "living", pools, at_once)
    serial.sync()
    _, applied = living.sync()
    assert applied is not None
    assert (applied.chunks_added, applied.chunks_removed) == (14, 14)
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))
    assert without_times(live_record(living.index)) == without_times(live_record(serial.index))
    assert not audited(living).findings
    totals = {name: total for name, total, unit in living.progress.phases if unit == "items"}
    assert totals["check"] >= 3 + 5
    assert totals["apply"] >= 3 + 4
    assert {name: living.progress.done[name] for name in totals} == totals


def test_a_push_is_one_pass_over_each_collection(tmp_path: Path) -> None:
    """As many calls as before there were items."""
    living = a_living(tmp_path)
    switch = Switch()
    living.index = Killable(living.index, switch)
    living.push([a_document(0, edition=1), a_document(30)], deleted=["d5"])
    kinds = ("add", "delete")
    assert [sum(f"index: {kind} rows" in p for p in switch.points) for kind in kinds] == [5, 2 * 5]
    assert [name for name, _, _ in living.progress.phases] == ["compare", "embed", "check", "apply"]


class FailsOnce:
    """The index does not answer at the first item of a kind."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.has_failed = False

    def pools(self, inner: OpenPool) -> OpenPool:
        def opened(work: Any, num_bytes: int) -> WorkerPool[Any, Any]:
            def done(item: Any) -> Any:
                if isinstance(item, self.kind) and not self.has_failed:
                    self.has_failed = True
                    raise IndexUnavailable("no answer")
                return work(item)

            return inner(done, num_bytes)

        return opened


@POOLS
@pytest.mark.parametrize("kind", [apply_items.AddedItem, apply_items.SumsItem])
def test_an_error_while_it_is_checked_changes_nothing(
    tmp_path: Path, pools: OpenPool, at_once: int, kind: type
) -> None:
    """It reaches whoever runs the phase, who runs it again."""
    living = a_living(tmp_path, FailsOnce(kind).pools(pools), at_once)
    before = living.content(), live_record(living.index).to_json()
    with pytest.raises(IndexUnavailable):
        living.sync()
    assert (living.content(), live_record(living.index).to_json()) == before
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


@POOLS
@pytest.mark.parametrize("kind", [WriteItem, DeleteItem])
def test_an_error_while_it_writes_is_made_up_for(
    tmp_path: Path, pools: OpenPool, at_once: int, kind: type
) -> None:
    """No chunk is in some heads only meanwhile; the phase that is run again finishes it."""
    living = a_living(tmp_path, FailsOnce(kind).pools(pools), at_once)
    with pytest.raises(IndexUnavailable):
        living.sync()
    assert torn(living.index) == []
    assert live_record(living.index).pending
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))
    assert not audited(living).findings


def test_a_pool_may_try_an_item_again(tmp_path: Path) -> None:
    """A dead worker's item is done by another."""

    def tried_twice(work: Any, _num_bytes: int = 0) -> SerialPool:
        return SerialPool(lambda: work, attempts=2)

    living = a_living(tmp_path, FailsOnce(WriteItem).pools(tried_twice))
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


def killed(folder: Path, at: int, pools: OpenPool, at_once: int) -> Living | None:
    """A sync that was killed before that write; None if it has fewer."""
    living = a_living(folder, pools, at_once)
    inner, switch = living.index, Switch(at)
    lock = Lock()
    before = switch.before

    def one_at_a_time(point: str) -> None:
        with lock:
            before(point)

    switch.before = one_at_a_time  # type: ignore[method-assign]
    living.index = Killable(inner, switch)
    try:
        living.sync()
    except Killed:
        living.index = inner
        living.progress = RecordingProgress()
        return living
    return None


@POOLS
def test_a_kill_between_any_two_writes_leaves_no_trace(
    tmp_path: Path, pools: OpenPool, at_once: int
) -> None:
    """Before one write in eight of all shards and blocks; a reader sees no half chunk meanwhile."""
    num_kills = 0
    for at in range(0, 1_000, 8):
        living = killed(tmp_path / str(at), at, pools, at_once)
        if living is None:
            break
        num_kills += 1
        assert torn(living.index) == []
        living.sync()
        assert_same(living, living.rebuilt(tmp_path / str(at) / "rebuilt"))
        assert not audited(living).findings
    assert num_kills > 3


def points(living: Living, run: Callable[[], object]) -> list[str]:
    """The writes of rows that a run makes."""
    inner, switch = living.index, Switch()
    living.index = Killable(inner, switch)
    run()
    living.index = inner
    return [point for point in switch.points if "add rows" in point]


@pytest.mark.parametrize("is_shared", [True, False])
def test_shards_that_are_written_are_not_written_again(tmp_path: Path, is_shared: bool) -> None:
    """Their chunks rows prove it, on a server; a power cut may have lost rows of a local file."""
    pools = FailsOnce(DeleteItem).pools(in_this_process)
    living = a_living(tmp_path, pools, is_shared=is_shared)
    with pytest.raises(IndexUnavailable):
        living.sync()
    living.progress = RecordingProgress()
    num_shards = len(living.delta(live_record(living.index)).manifest().shards)  # type: ignore[union-attr]
    written = points(living, living.sync)
    if is_shared:
        assert written == []
        assert f"{num_shards} of {num_shards} shards were written already" in living.progress.notes
    else:
        assert len(written) == 5 * num_shards
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


def test_a_shard_of_which_a_row_is_missing_is_written_again(tmp_path: Path) -> None:
    """All of it, the others not."""
    living = a_living(tmp_path, FailsOnce(DeleteItem).pools(in_this_process))
    with pytest.raises(IndexUnavailable):
        living.sync()
    record = live_record(living.index)
    shard = living.delta(record).chunk_ids(1)
    living.index.delete(record.chunks_collection(), shard[:1].tolist())
    assert len(points(living, living.sync)) == 5
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


def test_one_worker_writes_a_shard() -> None:
    """A second one at the same time is not known to do no harm; reading and deleting are."""
    assert not may_double(WriteItem(0, 0, 1, is_repeated=False))
    ids = np.zeros(1, np.int64)
    assert may_double(apply_items.AddedItem(0, 0, 1, looks_up=True))
    assert may_double(apply_items.SumsItem(0, ids, 1))
    assert may_double(apply_items.DeleteItem(0, ids, 1))
