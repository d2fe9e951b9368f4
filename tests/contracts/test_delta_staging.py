"""What every DeltaStaging promises beyond a Staging; run by the fake, a folder and real S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DeltaStaging, Mark
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import deltas
from mrag_pipeline.staging.deltas import open_delta
from tests.support.fake_delta_staging import FakeDeltaStaging
from tests.support.fake_staging import PLAN, a_manifest, an_output

Opener = Callable[[], DeltaStaging]

DOCUMENTS = [
    Document("a", 'ä€𝄞 "quoted"\nnext line', "Title", {"year": 2024, "open": True}, "a.jsonl:1"),
    Document("b", "text"),
]
MARKS = [Mark(2**62, "b", "print-b"), Mark(1, "a", "print-a")]


@pytest.fixture(params=["fake", "folder", "s3"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the staging of the same sync again, as another process would."""
    if request.param == "fake":
        fake = FakeDeltaStaging()
        yield lambda: fake
        return
    uri = str(tmp_path / "staging")
    if request.param == "s3":
        uri = f"s3://{request.getfixturevalue('bucket')}/staging"
    yield lambda: open_delta(StagingSpec(uri=uri), "docs", "vaaaaaaaaaaaa", 1)


def removed(staging: DeltaStaging) -> list[Mark]:
    return [mark for block in staging.removed() for mark in block]


def test_a_new_sync_holds_nothing(reopen: Opener) -> None:
    """No plan, no sums; removals that were never written are missing, not empty."""
    assert reopen().manifest() is None
    assert reopen().removed_sums() is None
    with pytest.raises(StagingError):
        removed(reopen())


def test_documents_come_back_equal(reopen: Opener) -> None:
    """Each slice is read back as it was written, in the order that the slices are given."""
    first = reopen().write_documents(DOCUMENTS)
    second = reopen().write_documents([Document("c", "other text")])
    assert list(reopen().reader().read([first])) == DOCUMENTS
    read = list(reopen().reader().read([second, first]))
    assert read == [Document("c", "other text"), *DOCUMENTS]


def test_a_sync_is_open_while_its_documents_are_there(reopen: Opener) -> None:
    """Before them it has not begun; `finish` removes them."""
    assert not reopen().is_open()
    reopen().write_documents(DOCUMENTS)
    assert reopen().is_open()
    reopen().finish()
    assert not reopen().is_open()


def test_the_same_documents_are_the_same_slice(reopen: Opener) -> None:
    """Slices are named by content: writing again changes nothing."""
    slices = [reopen().write_documents(DOCUMENTS) for _ in range(2)]
    assert slices[0] == slices[1]
    assert slices[0] != reopen().write_documents(DOCUMENTS[:1])


def test_a_syncs_documents_are_not_planned(reopen: Opener) -> None:
    """Its shards are its slices, so they must not be cut again."""
    with pytest.raises(StagingError):
        list(reopen().reader().slices(1_000))


@pytest.mark.parametrize("blocks", [[MARKS], [MARKS[:1], [], MARKS[1:]], [[]], []])
def test_removals_come_back_in_order(reopen: Opener, blocks: list[list[Mark]]) -> None:
    """Every field; an empty list is not a missing one."""
    reopen().write_removed(blocks)
    assert removed(reopen()) == [mark for block in blocks for mark in block]


@pytest.mark.parametrize("count", [2, 3, 4, 6, 8])
def test_many_removals_come_back_in_blocks(
    reopen: Opener, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is empty or larger than what is held at once; others replace them all."""
    monkeypatch.setattr(deltas, "_PART_MARKS", 3)
    marks = [Mark(number, f"d{number}", "print") for number in range(count)]
    for _ in range(2):
        reopen().write_removed([marks[:5], marks[5:]])
        assert removed(reopen()) == marks
        assert {1, 2, 3} >= {len(block) for block in reopen().removed()}
    reopen().discard()
    reopen().write_removed([marks[:1]])
    assert removed(reopen()) == marks[:1]


def test_removed_sums_come_back_to_the_last_bit(reopen: Opener) -> None:
    """They are subtracted from sums in which every bit counts."""
    reopen().write_manifest(a_manifest())
    sums = an_output().sums
    reopen().write_removed_sums(sums)
    found = reopen().removed_sums()
    assert isinstance(found, ImportanceSums)
    assert found.num_chunks == sums.num_chunks
    np.testing.assert_array_equal(found.norm_sum, sums.norm_sum)
    np.testing.assert_array_equal(found.unit_sum, sums.unit_sum)


def test_discarding_keeps_the_documents_alone(reopen: Opener) -> None:
    """Another plan may be written then, over the same documents."""
    part = reopen().write_documents(DOCUMENTS)
    staging = reopen()
    staging.write_removed([MARKS])
    staging.write_manifest(a_manifest())
    staging.write_shard(an_output(), PLAN)
    staging.write_removed_sums(an_output().sums)
    staging.write_duplicates({0: [DeadLetter("b", "", "", "")]})
    staging.discard()
    staging.discard()
    for opened in (staging, reopen()):
        assert opened.manifest() is None
        assert opened.receipt(0, PLAN) is None
        assert opened.removed_sums() is None
        assert opened.duplicates() is None
        with pytest.raises(StagingError):
            removed(opened)
    assert list(reopen().reader().read([part])) == DOCUMENTS
    reopen().write_manifest(a_manifest(fingerprint="b" * 32))


def test_finishing_removes_the_documents_alone(reopen: Opener) -> None:
    """The plan and the shards stay: repair and export read them."""
    part = reopen().write_documents(DOCUMENTS)
    reopen().write_removed([MARKS])
    reopen().write_manifest(a_manifest())
    reopen().write_shard(an_output(), PLAN)
    reopen().finish()
    reopen().finish()
    with pytest.raises(StagingError):
        list(reopen().reader().read([part]))
    assert reopen().manifest() == a_manifest()
    assert reopen().receipt(0, PLAN) is not None
    assert removed(reopen()) == MARKS
