"""What every Export promises; run by the fake, a folder and real S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Export
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.staging.exports import open_export
from tests.support.fake_export import FakeExport
from tests.support.fake_staging import HEADS, PLAN, a_card, a_manifest, an_output

Opener = Callable[[], Export]


@pytest.fixture(params=["fake", "folder", "s3"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same export again, as another process would."""
    if request.param == "fake":
        fake = FakeExport()
        yield lambda: fake
        return
    uri = str(tmp_path / "export")
    if request.param == "s3":
        uri = f"s3://{request.getfixturevalue('bucket')}/export"
    yield lambda: open_export(uri)


def a_record(num_chunks: int = 4) -> VersionRecord:
    return VersionRecord(
        index="docs",
        version="vaaaaaaaaaaaa",
        fingerprint=PLAN,
        encoder=a_card(),
        chunking=ChunkingSpec(),
        sums=an_output().sums,
        num_documents=2,
        num_chunks=num_chunks,
        num_dead_letters=1,
        created_at="2026-01-02T03:04:05+00:00",
        corpus="corpus",
    )


def test_a_new_export_is_not_whole(reopen: Opener) -> None:
    """No record, no plan, no shard."""
    assert reopen().record() is None
    assert reopen().staging.manifest() is None
    assert reopen().staging.receipt(0, PLAN) is None


def test_shards_alone_do_not_make_it_whole(reopen: Opener) -> None:
    """An export that was cut short has shards and no record, and can be continued."""
    reopen().staging.write_manifest(a_manifest())
    reopen().staging.write_shard(an_output(), PLAN)
    assert reopen().record() is None
    assert reopen().staging.receipt(0, PLAN) is not None
    assert reopen().staging.receipt(1, PLAN) is None


def test_a_whole_export_comes_back_equal(reopen: Opener) -> None:
    """The record in every field, and every row of its shards."""
    written = reopen()
    written.staging.write_manifest(a_manifest())
    for shard in (0, 1):
        written.staging.write_shard(an_output(shard), PLAN)
    written.write_record(a_record())
    found = reopen().record()
    assert found is not None
    assert found.to_json() == a_record().to_json()
    assert reopen().staging.manifest() == a_manifest()
    for shard in (0, 1):
        assert reopen().staging.chunks(shard).equals(written.staging.chunks(shard))
        for head in HEADS:
            assert reopen().staging.head(shard, head).num_rows == 4


def test_a_record_is_replaced_whole(reopen: Opener) -> None:
    """The last record counts."""
    reopen().write_record(a_record())
    reopen().write_record(a_record(num_chunks=9))
    found = reopen().record()
    assert found is not None
    assert found.num_chunks == 9
