"""What messages advise about damage, tried: each test does what a message says, and it helps.

Damages that `mrag repair` mends are in `test_damages.py`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import (
    FingerprintMismatch,
    MragError,
    PlanRefused,
    StagingError,
    VerifyFailed,
)
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.versions.import_version import (
    MEND,
    import_version,
    importable,
    read_export,
)
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.retire import drop
from mrag_pipeline.staging.dead_letters import DeadLetterFiles
from mrag_pipeline.staging.exports import open_export
from tests.support.changed_rows import chunk_ids, exchange_vectors
from tests.support.damages import cut, flip
from tests.support.living_commands import (
    built,
    changed,
    exported,
    file_of,
    imported,
    said_of,
    stopped_before,
    synced,
)
from tests.support.living_index import (
    Living,
    a_document,
    audited,
)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr("os.fsync", lambda _: None)


# ------------------------------------------------------------------ an ingest's staging
def test_a_deleted_manifest_is_written_anew_by_ingest(tmp_path: Path) -> None:
    """What a damaged manifest's message says: nothing is embedded again."""
    made = built(tmp_path)
    content = made.content()
    [manifest] = tmp_path.glob("staging/docs/*/manifest.json")
    manifest.write_text("{")
    with pytest.raises(StagingError, match=str(manifest)) as caught:
        made.ingest()
    assert "delete it and run `mrag ingest`" in caught.value.fix
    manifest.unlink()
    made.embedded = 0
    made.ingest()
    assert (made.embedded, made.content(), said_of(made)) == (0, content, "")


def test_a_folder_in_a_manifests_place_goes_as_its_message_says(tmp_path: Path) -> None:
    """It names the folder; ingest goes on without it."""
    made = built(tmp_path)
    content = made.content()
    [manifest] = tmp_path.glob("staging/docs/*/manifest.json")
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(StagingError, match=str(manifest)) as caught:
        made.ingest()
    assert "move the folder away" in caught.value.fix
    manifest.rename(tmp_path / "away")
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


def test_a_deleted_shard_is_embedded_again_by_ingest(tmp_path: Path) -> None:
    """What a damaged shard's message says, where its version is still to be loaded."""
    made = built(tmp_path)
    content = made.content()
    file = sorted(tmp_path.glob("staging/docs/*/shards/*/heads/l00_h01*"))[0]
    flip(file, 100)
    made.index = ExactIndex("docs")
    with pytest.raises(StagingError, match="delete ") as caught:
        made.ingest()
    shard = file.parent.parent
    assert f"delete {shard}" in caught.value.fix
    shutil.rmtree(shard)
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


# ------------------------------------------------------------------ a sync's staging
def test_a_lost_document_of_a_sync_is_stored_again_by_the_same_command(tmp_path: Path) -> None:
    """It compares first."""
    made = changed(built(tmp_path))
    with stopped_before(made, "staging: write shards"):
        made.sync()
    delta = made.delta(live_record(made.index))
    manifest = delta.manifest()
    assert manifest is not None
    cut(file_of(made, "syncs/00001/corpus/*"))
    with pytest.raises(StagingError, match="missing or damaged") as caught:
        made.embed_delta(manifest, delta)
    assert "run the same command again" in caught.value.fix
    made.sync()
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()


@pytest.mark.parametrize("damage", ["lost", "flipped"])
def test_a_lost_shard_of_a_sync_that_has_begun_is_embedded_again(
    damage: str, tmp_path: Path
) -> None:
    """Its documents are kept until it is finished."""
    made = changed(built(tmp_path))
    with stopped_before(made, "index: add rows"):
        made.sync()
    assert live_record(made.index).pending
    file = file_of(made, "syncs/00001/shards/*/heads/l00_h01*")
    shard = file.parent.parent
    if damage == "flipped":
        flip(file, 100)
        with pytest.raises(StagingError, match="missing or damaged") as caught:
            made.sync()
        assert caught.value.fix.startswith(f"delete {shard} and run the same command again")
    shutil.rmtree(shard)
    made.sync()
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()
    assert said_of(made) == ""


def test_a_sync_that_has_not_begun_stores_its_removals_again(tmp_path: Path) -> None:
    """`mrag sync`, as the message says."""
    made = changed(built(tmp_path))
    with stopped_before(made, "index: write the record, sync begun"):
        made.sync()
    cut(file_of(made, "syncs/00001/removed.parquet"))
    with pytest.raises(StagingError, match=r"removed\.parquet is missing or damaged") as caught:
        list(made.delta(live_record(made.index)).removed())
    assert caught.value.fix.startswith("run `mrag sync`")
    made.sync()
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ("removed.parquet", "removed.parquet is missing or damaged"),
        ("removed_sums.parquet", "the sums of what sync 1 removes are not in"),
        ("manifest.json", "its plan is not in"),
    ],
)
def test_ingest_builds_anew_what_an_interrupted_sync_cannot_finish(
    lost: str, found: str, tmp_path: Path
) -> None:
    """A new version beside the live one."""
    made = changed(built(tmp_path))
    with stopped_before(made, "index: add rows"):
        made.sync()
    file_of(made, f"syncs/00001/{lost}").unlink()
    with pytest.raises(StagingError, match=found) as caught:
        made.sync()
    assert "`mrag ingest` builds" in caught.value.fix or "`mrag ingest`: it" in caught.value.fix
    version = live_record(made.index).version
    made.ingest()
    assert live_record(made.index).version != version
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()


@pytest.mark.parametrize("file", ["removed.parquet", "manifest.json"])
def test_a_version_whose_syncs_staging_is_damaged_is_kept_by_an_export(
    file: str, tmp_path: Path
) -> None:
    """`mrag export` and `mrag import` keep it; `mrag ingest` builds a new one."""
    made = synced(tmp_path)
    cut(file_of(made, f"syncs/00001/{file}"))
    with pytest.raises(StagingError, match=file) as caught:
        audited(made)
    assert "`mrag export` and `mrag import` keep this version" in caught.value.fix
    other = imported(exported(made, tmp_path / "export"), "other")
    assert other.content() == made.content()
    assert said_of(other, with_staging=False) == ""
    made.ingest()
    assert made.content() == other.content()
    assert said_of(made) == ""


def test_a_version_with_a_damaged_staged_shard_is_exported_whole(tmp_path: Path) -> None:
    """What docs/damage.md says: the index is whole, and what is built next stages its own."""
    made = synced(tmp_path)
    flip(file_of(made, "shards/*/heads/l00_h01*"), 100)
    assert "cannot be read" in said_of(made)
    other = imported(exported(made, tmp_path / "export"), "other")
    assert other.content() == made.content()
    made.ingest()
    assert (made.content(), said_of(made)) == (other.content(), "")


# ------------------------------------------------------------------ an export
@pytest.mark.parametrize("damage", ["edited", "record lost", "plan damaged", "shard damaged"])
def test_a_damaged_export_is_mended_by_the_next(damage: str, tmp_path: Path) -> None:
    """`mrag export` again, of the same version, after what the message says to delete."""
    made = built(tmp_path)
    folder = exported(made, tmp_path / "export")
    record, plan = folder / "record.json", folder / "manifest.json"
    deleted = ""
    if damage == "edited":
        values = json.loads(record.read_text())
        record.write_text(json.dumps(values | {"num_documents": 1}))
    elif damage == "record lost":
        record.unlink()
    elif damage == "plan damaged":
        cut(plan)
        deleted = "delete it and "
    else:
        vectors = sorted(folder.glob("shards/*/heads/*"))[0]
        flip(vectors, 100)
        deleted = f"delete {vectors.parent.parent} and "
    with pytest.raises(StagingError) as caught:
        imported(folder, "other")
    assert caught.value.fix.startswith(f"{deleted}run `mrag export` again: it writes what is")
    if damage == "plan damaged":
        plan.unlink()
    if damage == "shard damaged":
        shutil.rmtree(vectors.parent.parent)
    exported(made, folder)
    assert imported(folder, "other").content() == made.content()


def test_an_export_that_lost_a_shard_is_written_anew_in_an_empty_folder(tmp_path: Path) -> None:
    """Also after a sync, where the same folder is refused."""
    made = built(tmp_path)
    folder = exported(made, tmp_path / "export")
    shutil.rmtree(sorted(folder.glob("shards/*"))[0])
    with pytest.raises(StagingError, match="1 of its 1 shards") as caught:
        imported(folder, "other")
    assert "run `mrag export` again into an empty folder" in caught.value.fix
    changed(made).sync()
    with pytest.raises(FingerprintMismatch):
        exported(made, folder)
    again = exported(made, tmp_path / "empty")
    assert imported(again, "other").content() == made.content()


def imported_into(other: Living, folder: Path) -> None:
    """What `mrag import` does, in an index that may hold something."""
    export, index, progress = open_export(str(folder)), other.index, other.progress
    record = import_version(export, other.name, index, progress)
    _, manifest = read_export(export, other.name)
    spec, count = IngestSpec(verify_sample=100), record.num_chunks
    manifest = importable(manifest, other.name, index)
    verify(manifest, export.staging, index, count, spec, progress, mend=MEND)


def test_an_imported_version_with_a_wrong_vector_is_retired_and_imported_again(
    tmp_path: Path,
) -> None:
    """By itself the same command finds it again; while it is live, another index takes it."""
    made = built(tmp_path)
    folder = exported(made, tmp_path / "export")
    other = imported(folder, "other")
    old = live_record(other.index)
    exchange_vectors(other.index, old, chunk_ids(other.index, old)[:2])
    for _ in range(2):
        with pytest.raises(VerifyFailed, match="has another vector in") as caught:
            imported_into(other, folder)
    assert caught.value.fix.startswith(f"run `mrag retire {old.version}`, then the same command")
    assert imported(folder, "third").content() == made.content()
    newer = changed(replace(made, index=other.index, name="other"))
    newer.ingest()
    drop(other.index, "other", old.version, lambda _: None)
    imported_into(other, folder)
    activate(old.version, other.index)
    assert (other.content(), said_of(other, with_staging=False)) == (made.content(), "")


def test_a_live_version_that_differs_from_the_export_is_imported_as_the_message_says(
    tmp_path: Path,
) -> None:
    """Beside another live one, or into another index."""
    made = built(tmp_path)
    content = made.content()
    folder = exported(made, tmp_path / "export")
    changed(made).sync()
    old = live_record(made.index)
    with pytest.raises(PlanRefused, match="is live in this index and differs") as caught:
        imported_into(made, folder)
    assert caught.value.fix.startswith("`mrag activate` another version first, or import into")
    assert imported(folder, "other").content() == content
    made.items = [a_document(i) for i in range(9)]
    made.ingest()
    assert live_record(made.index).version != old.version
    imported_into(made, folder)
    activate(old.version, made.index)
    assert made.content() == content


def test_an_export_of_another_version_is_kept_and_the_next_one_goes_elsewhere(
    tmp_path: Path,
) -> None:
    """After a sync the same folder is refused."""
    made = built(tmp_path)
    before, folder = made.content(), exported(made, tmp_path / "export")
    changed(made).sync()
    with pytest.raises(FingerprintMismatch, match=r"manifest\.json belongs to plan") as caught:
        exported(made, folder)
    assert caught.value.fix.startswith(f"export into an empty folder: {folder} holds")
    assert imported(exported(made, tmp_path / "empty"), "other").content() == made.content()
    assert imported(folder, "third").content() == before


def test_a_folder_with_another_plans_shards_is_deleted_and_embedded_anew(tmp_path: Path) -> None:
    """As if somebody had copied a version's shards into another's."""
    made = built(tmp_path)
    changed(made)
    folders = made.folder / "docs"
    [old] = folders.glob("v*")
    version = made.build().version
    shutil.rmtree(folders / version / "shards")
    shutil.copytree(old / "shards", folders / version / "shards")
    with pytest.raises(FingerprintMismatch, match=r"receipt\.json belongs to plan") as caught:
        made.ingest()
    assert caught.value.fix.startswith(f"delete {folders / version} and run `mrag ingest`")
    shutil.rmtree(folders / version)
    made.ingest()
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()


# ------------------------------------------------------------------ dead letters
def test_a_damaged_file_of_dead_letters_is_named_and_written_anew(tmp_path: Path) -> None:
    """Removed, and written by the next run of what wrote it."""
    files = DeadLetterFiles(StagingSpec(uri=str(tmp_path)), "docs")
    letters = [DeadLetter("a", "c.jsonl:3", "no text", "0" * 32)]
    where = Path(files.write("v1", letters))
    cut(where)
    with pytest.raises(MragError, match=f"{where} is damaged") as caught:
        files.read("v1")
    assert caught.value.fix.startswith("remove it; `mrag ingest` or `mrag sync`")
    where.unlink()
    assert files.runs() == []
    files.write("v1", letters)
    assert files.read("v1") == letters
