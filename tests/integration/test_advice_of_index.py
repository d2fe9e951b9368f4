"""What messages advise about a damaged index, tried: each test does what a message says.

Damages that `mrag repair` mends are in `test_damages.py`.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import (
    ConfigError,
    PlanRefused,
    VerifyFailed,
)
from mrag_pipeline.flows import retire
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.publish import activate, keep_ready
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.retire import drop
from tests.support.changed_rows import change_record, chunk_ids, exchange_vectors
from tests.support.living_commands import (
    built,
    changed,
    exported,
    imported,
    said_of,
    stopped_before,
    synced,
)
from tests.support.living_index import (
    Living,
    a_document,
    repaired,
    repaired_as_command,
)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def test_ingest_builds_a_lost_head_of_the_live_version_where_staging_is_lost_too(
    tmp_path: Path,
) -> None:
    """What repair says then; readers of the other heads are not disturbed."""
    made = built(tmp_path)
    content, record = made.content(), live_record(made.index)
    made.index._collections.pop(record.head_collections()[1])  # type: ignore[attr-defined]
    shutil.rmtree(tmp_path / "staging")
    with pytest.raises(VerifyFailed, match="it does not exist") as caught:
        repaired(made, with_staging=False)
    assert "mrag ingest" in caught.value.fix
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


def test_ingest_sends_a_live_version_that_lost_rows_to_repair(tmp_path: Path) -> None:
    """It never drops what is live; repair mends it, from the staging that ingest has made."""
    made = built(tmp_path)
    content, record = made.content(), live_record(made.index)
    made.index.delete(record.head_collections()[1], chunk_ids(made.index, record)[:2])
    with pytest.raises(PlanRefused, match="live") as caught:
        made.ingest()
    assert "mrag repair" in caught.value.fix
    repaired(made)
    assert (made.content(), said_of(made)) == (content, "")


def loaded(made: Living, has_record: bool = False) -> VersionRecord:
    """The corpus's version, loaded by an ingest that stops before it verifies; its record."""
    manifest = made.build()
    staging = made.staging(manifest.version)
    staged = reconcile(manifest, staging, made.ingest_spec, made.progress)
    load(manifest, staging, made.index, staged.num_chunks, made.progress)
    record = keep_ready(manifest, staged, made.index)
    if not has_record:
        made.index.drop_record(manifest.version)
    return record


ALL = IngestSpec(verify_sample=100)  # of so few chunks


@pytest.mark.parametrize("has_record", [False, True], ids=["first run", "a later one"])
def test_repair_mends_a_wrong_vector_that_an_ingest_has_found(
    has_record: bool, tmp_path: Path
) -> None:
    """Before the version goes live; by itself the same command finds it again and again."""
    made = Living(tmp_path / "staging", [a_document(i) for i in range(6)], ingest_spec=ALL)
    record = loaded(made, has_record)
    exchange_vectors(made.index, record, chunk_ids(made.index, record)[:2])
    for _ in range(2):
        with pytest.raises(VerifyFailed, match="has another vector in") as caught:
            made.ingest()
    version = record.version
    fix = f"run `mrag repair --version {version}`, then the same command again"
    assert caught.value.fix == fix
    repaired_as_command(made, version)
    made.ingest()
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()
    assert (live_record(made.index).version, said_of(made)) == (version, "")


def test_repair_mends_a_wrong_vector_of_the_live_version_that_an_ingest_has_found(
    tmp_path: Path,
) -> None:
    """The corpus is as it was: the same command looks at what is live."""
    made = built(tmp_path)
    made.ingest_spec, content, record = ALL, made.content(), live_record(made.index)
    exchange_vectors(made.index, record, chunk_ids(made.index, record)[:2])
    with pytest.raises(VerifyFailed, match="has another vector in") as caught:
        made.ingest()
    assert f"`mrag repair --version {record.version}`" in caught.value.fix
    repaired_as_command(made, record.version)
    made.ingest()
    assert (made.content(), said_of(made)) == (content, "")


def test_a_collection_that_lost_rows_since_it_was_loaded_is_loaded_anew(tmp_path: Path) -> None:
    """By the same command, as the message says."""
    made = Living(tmp_path / "staging", [a_document(i) for i in range(6)])
    record = loaded(made)
    manifest = made.build()
    made.index.delete(record.head_collections()[1], chunk_ids(made.index, record)[:2])
    with pytest.raises(VerifyFailed, match=f"rows\nexpected: {record.num_chunks}, as") as caught:
        verify(
            manifest,
            made.staging(record.version),
            made.index,
            record.num_chunks,
            made.ingest_spec,
            made.progress,
        )
    assert caught.value.fix.startswith("run the same command again")
    made.ingest()
    assert made.content() == made.rebuilt(tmp_path / "fresh").content()


@pytest.mark.parametrize("way", ["repair", "ingest"])
def test_an_older_version_that_lost_rows_is_live_again_as_its_message_says(
    way: str, tmp_path: Path
) -> None:
    """By `mrag repair --version`, or by an ingest of the corpus as it was."""
    made = built(tmp_path)
    content, old = made.content(), live_record(made.index)
    corpus = made.items
    changed(made).ingest()
    made.index.delete(old.head_collections()[1], chunk_ids(made.index, old)[:2])
    with pytest.raises(PlanRefused, match=f"version {old.version} is not whole") as caught:
        activate(old.version, made.index)
    fix = f"run `mrag repair --version {old.version}`, or `mrag ingest` to build it again"
    assert caught.value.fix == fix
    if way == "repair":
        repaired_as_command(made, old.version)
        activate(old.version, made.index)
    else:
        made.items = corpus
        made.ingest()
    assert live_record(made.index).version == old.version
    assert (made.content(), said_of(made)) == (content, "")


def lite(folder: Path) -> VectorIndex:
    return open_index(MilvusSpec(uri=str(folder / "index.db")), "docs")


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_database_that_cannot_be_understood_is_moved_away_and_loaded_anew(
    is_changed: bool, tmp_path: Path
) -> None:
    """From staging, with nothing embedded, if the corpus is as it was at the ingest."""
    with closing(lite(tmp_path)) as index:
        made = built(tmp_path, index)
        if is_changed:
            changed(made).sync()
        content = made.content()
    # No damage that we know makes Lite fail so at its start: it reads collections when asked.
    damaged = mock.patch("milvus_lite.db.MilvusLite.__init__", side_effect=ValueError("manifest"))
    with damaged, pytest.raises(ConfigError, match=r"cannot open .*: manifest") as caught:
        lite(tmp_path)
    assert caught.value.fix.startswith("move it away and run `mrag ingest`: with the corpus as")
    (tmp_path / "index.db").rename(tmp_path / "away")
    made.embedded = 0
    with closing(lite(tmp_path)) as made.index:
        made.ingest()
        assert (made.content(), said_of(made)) == (content, "")
    assert (made.embedded > 0) == is_changed


def test_a_file_in_the_databases_place_is_left_for_another(tmp_path: Path) -> None:
    """A database of Milvus Lite 2 is one file: moved away, or another place is named."""
    (tmp_path / "index.db").write_text("SQLite format 3")
    with pytest.raises(ConfigError, match="is a file, perhaps of Milvus Lite 2") as caught:
        lite(tmp_path)
    assert "move the file away or point milvus.uri elsewhere" in caught.value.fix
    with closing(lite(tmp_path / "elsewhere")) as index:
        assert said_of(built(tmp_path, index)) == ""
    (tmp_path / "index.db").rename(tmp_path / "away")
    with closing(lite(tmp_path)) as index:
        assert said_of(built(tmp_path, index)) == ""


def lose_record(made: Living) -> str:
    """The live version's record is lost, as if somebody had dropped it; returns the version."""
    version = live_record(made.index).version
    made.index._records.pop(version)  # type: ignore[attr-defined]
    return version


def test_a_lost_record_whose_staging_is_lost_comes_back_with_it_or_in_another_index(
    tmp_path: Path,
) -> None:
    """Restored staging, an export, or the corpus: each way of the message."""
    made = synced(tmp_path)
    content = made.content()
    folder = exported(made, tmp_path / "export")
    lose_record(made)
    made.folder.rename(tmp_path / "lost")
    with pytest.raises(VerifyFailed, match="its staging is not here") as caught:
        repaired_as_command(made)
    assert caught.value.fix.startswith("restore that folder; or, into another index (--index)")
    assert imported(folder, "other").content() == content
    anew = replace(made, index=ExactIndex("third"), name="third")
    anew.ingest()
    assert anew.content() == content
    (tmp_path / "lost").rename(tmp_path / "restored")
    made.folder = tmp_path / "restored"
    repaired_as_command(made)
    assert (made.content(), said_of(made)) == (content, "")


def test_a_lost_record_of_an_interrupted_sync_is_built_in_another_index(tmp_path: Path) -> None:
    """What the index held before the sync is not known."""
    made = changed(built(tmp_path))
    with stopped_before(made, "index: add rows"):
        made.sync()
    lose_record(made)
    with pytest.raises(VerifyFailed, match="its sync 1 was cut short") as caught:
        repaired_as_command(made)
    assert "`mrag ingest` into another index (--index)" in caught.value.fix
    other = replace(made, index=ExactIndex("other"), name="other")
    other.ingest()
    assert other.content() == made.rebuilt(tmp_path / "fresh").content()


@pytest.mark.parametrize("has_staging", [True, False])
def test_a_damaged_record_of_an_older_version_is_made_anew_or_retired(
    has_staging: bool, tmp_path: Path
) -> None:
    """Until then `mrag versions` and `mrag retire` stop at it; searching does not."""
    with closing(lite(tmp_path)) as index:
        made = built(tmp_path, index)
        old = live_record(made.index).version
        changed(made).ingest()
        content = made.content()
        change_record(made.index, old)
        with pytest.raises(VerifyFailed, match=f"the record of {old}") as caught:
            made.index.records()
        assert f"run `mrag repair --version {old}`" in caught.value.fix
        assert made.content() == content
        if has_staging:
            repaired_as_command(made, old)
            assert [record.version for record in made.index.records()][-1] == old
        else:
            shutil.rmtree(tmp_path / "staging" / "docs" / old)
            with pytest.raises(VerifyFailed, match="its staging is not here") as caught:
                repaired_as_command(made, old)
            assert caught.value.fix.endswith(f"run `mrag retire {old}`: it is not live")
            drop(made.index, "docs", old, lambda _: None)
            assert len(made.index.records()) == 1
        assert (made.content(), said_of(made)) == (content, "")


def test_one_of_two_versions_with_damaged_records_is_retired(tmp_path: Path) -> None:
    """By the command's own phase, which looks at all records when the version is gone."""
    with closing(lite(tmp_path)) as index:
        made = built(tmp_path, index)
        versions = [live_record(made.index).version]
        for edition in (1, 2):
            made.items = [a_document(i, edition) for i in range(6)]
            made.ingest()
            versions.append(live_record(made.index).version)
        for version in versions[:2]:
            change_record(made.index, version)
    places = {"staging": {"uri": f"{tmp_path}/staging"}, "milvus": {"uri": f"{tmp_path}/index.db"}}
    config = Config.load(None, {"index": "docs", **places})
    for version in versions[:2]:
        cast(Any, retire.drop).fn(config, version)
    with closing(lite(tmp_path)) as index:
        assert [record.version for record in index.records()] == versions[2:]


def test_a_version_that_nobody_knows_is_refused_as_before(tmp_path: Path) -> None:
    """Neither a record nor staging."""
    with pytest.raises(PlanRefused, match="no version v0"):
        repaired_as_command(built(tmp_path), "v0")
