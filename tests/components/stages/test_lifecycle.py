"""Versions side by side: activated, audited, repaired, retired, carried elsewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused, StagingError
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import CollectionSpec, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.retire import RetireSpec
from mrag_pipeline.stages.ingest.publish import activate, keep_ready
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.import_version import import_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.retire import drop, retire
from mrag_pipeline.staging.exports import open_export
from tests.support.builds import RecordingProgress
from tests.support.fake_staging import table_of
from tests.support.living_index import (
    Living,
    a_document,
    assert_same,
    audited,
    content_of,
    repaired,
)
from tests.support.scripted_kills import Killable, Killed, Switch

TEN = [a_document(i) for i in range(10)]
LATER = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def lite(folder: Path) -> VectorIndex:
    """The Milvus Lite database of a folder."""
    return open_index(MilvusSpec(uri=str(folder / "x.db")), "docs")


def synced(made: Living) -> Living:
    """Ten documents, live, and synced once: one new, one changed, one gone."""
    made.ingest()
    made.items = [a_document(0, edition=1), *TEN[2:], a_document(10)]
    made.sync()
    return made


@pytest.fixture(scope="module")
def synced_lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with staging and a closed database, to be copied."""
    folder = tmp_path_factory.mktemp("lite")
    with closing(lite(folder)) as index, pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        synced(Living(folder / "staging", TEN, index))
    return folder


@pytest.fixture(params=["exact", "bfloat16", "lite"])
def living(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Living]:
    """An index of each kind with a version that was synced."""
    index: VectorIndex = ExactIndex("docs")
    if request.param == "lite":
        shutil.copytree(request.getfixturevalue("synced_lite"), tmp_path, dirs_exist_ok=True)
        index = lite(tmp_path)
        items = [a_document(0, edition=1), *TEN[2:], a_document(10)]
        yield Living(tmp_path / "staging", items, index)
    else:
        made = Living(tmp_path / "staging", TEN, index)
        if request.param == "bfloat16":
            made.vector_dtype = request.param
            made.index = index = ExactIndex("docs", request.param)
        yield synced(made)
    index.close()


# ------------------------------------------------------------------ audit and repair
def test_a_whole_version_has_no_finding(living: Living) -> None:
    """After a build and a sync: every row, every sum, every staged file."""
    found = audited(living)
    assert [str(one) for one in found.findings] == []
    assert found.chunks == live_record(living.index).num_chunks
    assert found.staged_shards > 1


def broken(living: Living, how: str) -> None:
    record = live_record(living.index)
    head = record.head_collections()[1]
    spec = CollectionSpec(head, "head", record.encoder.head_dim)
    ids = sorted(int(i) for block in living.index.ids(head) for i in block)
    dim = record.encoder.head_dim
    if how == "row lost":
        living.index.delete(head, ids[:2])
    elif how == "row of no chunk":
        living.index.upsert(spec, table_of([5], np.ones((1, dim))))
    elif how == "text lost":
        living.index.delete(record.chunks_collection(), ids[3:4])
    elif how == "another vector":
        living.index.upsert(spec, table_of(ids[:1], np.ones((1, dim))))
    elif how == "record wrong":
        living.index.write_record(replace(record, sums=record.sums + record.sums, num_documents=99))


@pytest.mark.parametrize(
    "how", ["row lost", "row of no chunk", "text lost", "another vector", "record wrong"]
)
def test_damage_is_found_and_repaired_from_staging(
    living: Living, how: str, tmp_path: Path
) -> None:
    """Without embedding anything, the version is as it was, to the bit."""
    broken(living, how)
    assert audited(living).findings
    living.embedded = 0
    repaired(living)
    assert [str(one) for one in audited(living).findings] == []
    assert living.embedded == 0
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


@pytest.mark.parametrize("how", ["row lost", "row of no chunk", "text lost", "record wrong"])
def test_without_staging_a_document_is_whole_or_out(
    living: Living, how: str, tmp_path: Path
) -> None:
    """What cannot be made whole goes from every head; the next sync brings it back."""
    broken(living, how)
    repaired(living, with_staging=False)
    assert [str(one) for one in audited(living, with_staging=False).findings] == []
    if how == "text lost":
        return  # half a document is left, and nothing here says that it was longer
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


def test_a_damaged_staged_file_is_found(living: Living) -> None:
    """By its hash; every head's file is looked at."""
    victim = next(iter(sorted(living.folder.glob("docs/*/shards/*/heads/*.parquet"))))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    [finding] = audited(living).findings
    assert "damaged" in finding.what


def test_a_sync_that_was_cut_short_is_a_finding(living: Living) -> None:
    """And repair refuses to settle what the sync has to."""
    record = live_record(living.index)
    living.index.write_record(replace(record, pending="f" * 32))
    assert any("mrag sync" in str(one) for one in audited(living).findings)
    with pytest.raises(PlanRefused, match="mrag sync"):
        repaired(living)


# ------------------------------------------------------------------ activate
def two(living: Living) -> tuple[VersionRecord, VersionRecord]:
    """The old version, and a newer one that has taken its place."""
    old = live_record(living.index)
    living.items = [a_document(i) for i in range(20, 26)]
    living.ingest()
    return old, live_record(living.index)


def test_going_back_is_one_flip(living: Living) -> None:
    """And forth again; the content of each is untouched."""
    before = living.content()
    old, new = two(living)
    activate(old.version, living.index)
    assert living.index.live() == old.version
    assert living.content() == before
    marked = living.index.record(new.version)
    assert marked is not None
    assert marked.replaced_at
    activate(new.version, living.index)
    assert live_record(living.index).replaced_at == ""


def test_what_is_not_whole_is_not_activated(living: Living) -> None:
    """A version that has lost a head, or was never there."""
    old, new = two(living)
    living.index.drop(old.head_collections()[0])
    with pytest.raises(PlanRefused, match="not whole"):
        activate(old.version, living.index)
    with pytest.raises(PlanRefused, match="no version"):
        activate("v" + "0" * 12, living.index)
    assert living.index.live() == new.version


def test_a_version_kept_ready_is_not_seen(living: Living) -> None:
    """It has a record and can be activated; readers still see the one before."""
    from mrag_pipeline.stages.ingest.load import load
    from mrag_pipeline.stages.ingest.reconcile import reconcile

    old = live_record(living.index)
    living.items = TEN[:5]
    manifest = living.build()
    staging = living.staging(manifest.version)
    staged = reconcile(manifest, staging, living.ingest_spec, RecordingProgress())
    load(manifest, staging, living.index, staged.num_chunks, RecordingProgress())
    ready = keep_ready(manifest, staged, living.index)
    assert living.index.live() == old.version
    assert ready.published_at == ""
    activate(ready.version, living.index)
    assert live_record(living.index).num_documents == 5


def test_rebuilding_a_synced_version_starts_from_its_first_shards(
    living: Living, tmp_path: Path
) -> None:
    """The same corpus as at first is the same version: its syncs are undone, not mixed in."""
    old, _ = two(living)
    living.items = TEN
    living.ingest()
    record = live_record(living.index)
    assert record.version == old.version
    assert (record.syncs, record.num_documents) == (0, 10)
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))
    living.items = [*TEN, a_document(11)]
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "again"))


def test_ingesting_over_a_synced_live_version_is_refused(living: Living) -> None:
    """Dropping what readers see is never right; the message says to sync."""
    before = living.content()
    living.items = TEN
    with pytest.raises(PlanRefused, match="mrag sync"):
        living.ingest()
    assert living.content() == before


# ------------------------------------------------------------------ retire
def run_retire(living: Living, now: datetime, keep: int = 0, grace_hours: float = 1.0):  # type: ignore[no-untyped-def]
    forgotten: list[str] = []
    spec = RetireSpec(grace_hours, keep)
    return retire(living.index, "docs", spec, now, forgotten.append, RecordingProgress()), forgotten


def test_a_version_past_its_grace_is_dropped(living: Living) -> None:
    """Collections, record and staging; the live one stays whole."""
    old, new = two(living)
    done, forgotten = run_retire(living, LATER)
    assert done.dropped == (old.version,)
    assert forgotten == [old.version]
    assert [record.version for record in living.index.records()] == [new.version]
    assert all(new.version in name for name in living.index.collections())
    assert not audited(living, with_staging=False).findings


def test_a_version_in_its_grace_is_kept(living: Living) -> None:
    """Somebody may still be reading it."""
    old, _ = two(living)
    done, _ = run_retire(living, datetime.now(UTC) + HOUR / 2)
    assert done.states[old.version] == "grace"
    assert done.dropped == ()


def test_versions_for_going_back_are_kept(living: Living) -> None:
    """The newest `keep` of the replaced ones, however old."""
    old, _ = two(living)
    done, _ = run_retire(living, LATER, keep=1)
    assert done.states[old.version] == "kept"


@pytest.mark.parametrize("replaced_at", ["", "2999-01-01T00:00:00+00:00"])
def test_an_unknown_time_starts_the_grace(living: Living, replaced_at: str) -> None:
    """A switch that was cut short, or a clock that ran ahead: nothing is dropped early."""
    old, _ = two(living)
    living.index.write_record(
        replace(old, replaced_at=replaced_at, published_at="2026-01-01T00:00:00+00:00")
    )
    done, _ = run_retire(living, LATER)
    assert done.states[old.version] == "mark"
    assert done.dropped == ()
    done, _ = run_retire(living, LATER + 2 * HOUR)
    assert done.dropped == (old.version,)


def test_the_live_version_is_never_dropped(living: Living) -> None:
    """Neither by time nor by name."""
    record = live_record(living.index)
    with pytest.raises(PlanRefused, match="live"):
        drop(living.index, "docs", record.version, lambda _: None)
    done, _ = run_retire(living, LATER)
    assert done.states == {record.version: "live"}


# ------------------------------------------------------------------ export and import
@pytest.mark.parametrize("name", ["docs", "other"])
def test_a_version_goes_to_another_index(living: Living, tmp_path: Path, name: str) -> None:
    """Synced and all: the same rows, vectors, record; nothing is embedded."""
    place = open_export(str(tmp_path / "export"))
    record = live_record(living.index)
    assert export_version(record, living.index, place, RecordingProgress()) == record.num_chunks
    there = ExactIndex(name)
    brought = import_version(
        open_export(str(tmp_path / "export")), name, there, RecordingProgress()
    )
    assert there.live() is None
    activate(brought.version, there)
    assert content_of(there) == living.content()
    np.testing.assert_array_equal(
        live_record(there).importance(), live_record(living.index).importance()
    )
    there.write_record(replace(live_record(there), repairs=2))  # the same version, repaired there
    assert import_version(place, name, there, RecordingProgress()).version == record.version


@pytest.mark.parametrize("is_same", [True, False])
def test_a_killed_import_is_continued_by_the_same_export_only(
    is_same: bool, tmp_path: Path
) -> None:
    """Collections of another state of the version have as many rows, and are loaded anew."""
    made = Living(tmp_path / "staging", TEN)
    made.ingest()
    before, after = (open_export(str(tmp_path / name)) for name in ("before", "after"))
    record = live_record(made.index)
    export_version(record, made.index, before, RecordingProgress())
    made.items = [a_document(0, edition=1), *TEN[1:]]
    made.sync()
    assert live_record(made.index).num_chunks == record.num_chunks
    export_version(live_record(made.index), made.index, after, RecordingProgress())
    undisturbed, there = Switch(), ExactIndex("docs")
    import_version(after, "docs", Killable(ExactIndex("docs"), undisturbed), RecordingProgress())
    killed = Killable(there, Switch(undisturbed.points.index("index: load chunks")))
    with pytest.raises(Killed):
        import_version(after if is_same else before, "docs", killed, RecordingProgress())
    assert set(there.collections()) == {*record.collections()[:-1]}
    points = Switch()
    import_version(after, "docs", Killable(there, points), RecordingProgress())
    activate(record.version, there)
    assert content_of(there) == made.content()
    loads = [point for point in points.points if re.fullmatch(r"index: load \w+", point)]
    assert len(loads) == (1 if is_same else len(record.collections()))


def test_an_export_that_is_not_whole_is_not_imported(living: Living, tmp_path: Path) -> None:
    """The record is what makes it whole."""
    place = open_export(str(tmp_path / "export"))
    export_version(live_record(living.index), living.index, place, RecordingProgress())
    (tmp_path / "export" / "record.json").unlink()
    with pytest.raises(StagingError, match="no whole export"):
        import_version(place, "docs", ExactIndex("docs"), RecordingProgress())
