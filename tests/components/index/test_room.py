"""How many collections a plan may bring to a server's database."""

from __future__ import annotations

import pytest

from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.index.milvus.room import check_room
from mrag_pipeline.settings.milvus import MilvusSpec


def names(number: int, of: str = "old") -> set[str]:
    """Of so many collections."""
    return {f"{of}_{one}" for one in range(number)}


NEW = names(14, "new")


def test_a_server_with_room_is_planned_for_without_a_word() -> None:
    """Below 80% of what is advised: 400 of 500."""
    assert check_room(set(), NEW, MilvusSpec()) == ()
    assert check_room(names(385), NEW, MilvusSpec()) == ()


def test_a_plan_that_comes_near_the_advised_number_is_warned() -> None:
    """From 80% of it to the number itself, with both numbers and what to do."""
    [told] = check_room(names(386), NEW, MilvusSpec())
    assert "400 of 500 collections (milvus.advised_collections)" in told
    assert "`mrag retire`" in told
    assert len(check_room(names(486), NEW, MilvusSpec())) == 1


def test_more_collections_than_advised_are_refused() -> None:
    """What is there, what would come, what is advised, and each way out."""
    with pytest.raises(PlanRefused) as caught:
        check_room(names(487), NEW, MilvusSpec())
    error = caught.value
    assert error.found == "487 collections are there, and 14 would come"
    assert error.expected.startswith("500 at most (milvus.advised_collections)")
    for way in ("mrag retire", "milvus.uri", "heads", "raise milvus.advised_collections"):
        assert way in error.fix
    assert error.exit_code == 2


def test_the_advised_number_can_be_raised_to_what_the_server_allows() -> None:
    """That is refused by another setting's name, which comes first."""
    raised = MilvusSpec(advised_collections=2_000, max_collections=1_000)
    assert check_room(names(700), NEW, raised) == ()
    [told] = check_room(names(900), NEW, raised)
    assert "914 of 1,000 collections (milvus.max_collections)" in told
    with pytest.raises(PlanRefused, match=r"1,000 at most \(milvus\.max_collections\)"):
        check_room(names(990), NEW, raised)


def test_a_version_that_is_there_is_never_refused() -> None:
    """However many collections there are: an ingest of it finds its work done."""
    few = MilvusSpec(max_collections=1, advised_collections=1)
    assert check_room(names(900) | NEW, NEW, few) == ()


def test_collections_that_are_there_count_once() -> None:
    """A load that was cut short needs room for the rest."""
    begun = names(486) | set(sorted(NEW)[:10])
    assert "500 of 500" in check_room(begun, NEW, MilvusSpec())[0]
