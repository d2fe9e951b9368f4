"""What every VectorIndex promises of live versions and version records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports import SearchRequest, VectorIndex
from tests.support.fake_staging import a_card, table_of
from tests.support.index_rows import (
    HEAD,
    NEW,
    OLD,
    TEXTS,
    a_record,
    publish,
    texts,
    vectors,
)


def test_activating_flips_the_live_version(index: VectorIndex) -> None:
    """The last activated version is live; activating it again changes nothing."""
    publish(index, OLD)
    assert index.live() == OLD
    publish(index, NEW)
    assert index.live() == NEW
    index.activate(NEW)
    assert index.live() == NEW
    index.activate(OLD)
    assert index.live() == OLD


def test_a_version_without_chunks_cannot_go_live(index: VectorIndex) -> None:
    """The alias never points to nothing; the version before stays live."""
    publish(index, OLD)
    with pytest.raises(PlanRefused, match=NEW):
        index.activate(NEW)
    assert index.live() == OLD


def test_the_live_version_cannot_be_dropped(index: VectorIndex) -> None:
    """Neither its chunks nor its heads, neither by dropping nor by loading over them."""
    index.load(HEAD, [table_of([1], vectors(1))])
    publish(index, OLD)
    for name in (HEAD.name, TEXTS.name):
        with pytest.raises(PlanRefused, match="live"):
            index.drop(name)
    with pytest.raises(PlanRefused, match="live"):
        index.load(HEAD, [])
    assert index.count(HEAD.name) == index.count(TEXTS.name) == 1
    assert index.live() == OLD
    publish(index, NEW)
    index.drop(HEAD.name)
    index.drop(TEXTS.name)
    assert index.collections() == [f"docs_{NEW}_chunks"]
    assert index.live() == NEW


def test_a_record_is_read_back_equal(index: VectorIndex) -> None:
    """Every field, the sums to the last bit."""
    record = a_record()
    index.write_record(record)
    found = index.record(OLD)
    assert found is not None
    assert found.to_json() == record.to_json()
    np.testing.assert_array_equal(found.sums.unit_sum, record.sums.unit_sum)


def test_a_record_may_exceed_the_longest_string(index: VectorIndex) -> None:
    """A 7B model's 32 heads of 128 and a long config pass Milvus's 64 KB a string."""
    heads = tuple(Head(31, i) for i in range(32))
    random = np.random.default_rng(0)
    long = replace(
        a_record(),
        encoder=a_card(heads, head_dim=128),
        sums=ImportanceSums(9, random.random(32), random.random((32, 128))),
        config={"text": "𝄞ü" * 60_000},
    )
    assert len(long.to_json().encode()) > 10 * 65_535
    index.write_record(long)
    found = index.record(OLD)
    assert found is not None
    assert found.to_json() == long.to_json()


def test_a_record_is_replaced_whole(index: VectorIndex) -> None:
    """A shorter record leaves nothing of a longer one."""
    index.write_record(replace(a_record(), config={"text": "x" * 200_000}))
    index.write_record(replace(a_record(), num_chunks=4))
    found = index.record(OLD)
    assert found is not None
    assert found.to_json() == replace(a_record(), num_chunks=4).to_json()
    assert len(index.records()) == 1


def test_records_are_ordered_oldest_first(index: VectorIndex) -> None:
    """The order is by the version's creation time, not by its name or when it was stored."""
    index.write_record(a_record(NEW, "2026-02-02T00:00:00+00:00"))
    index.write_record(a_record(OLD, "2026-01-01T00:00:00+00:00"))
    assert [record.version for record in index.records()] == [OLD, NEW]
    assert index.record("v" + "0" * 12) is None
    assert index.collections() == []


def test_a_record_can_be_dropped(index: VectorIndex) -> None:
    """It is gone, others stay; dropping it again does nothing; the live one's stays."""
    publish(index, NEW)
    for version in (OLD, NEW):
        index.write_record(a_record(version))
    index.drop_record(OLD)
    index.drop_record(OLD)
    assert [record.version for record in index.records()] == [NEW]
    with pytest.raises(PlanRefused, match="live"):
        index.drop_record(NEW)
    assert index.record(NEW) is not None


def test_an_import_is_known_until_the_record_is_written_or_dropped(index: VectorIndex) -> None:
    """The last one of each version; it is no record."""
    assert index.import_begun(OLD) == ""
    index.begin_import(OLD, "a")
    index.begin_import(OLD, "b")
    index.begin_import(NEW, "c")
    assert (index.import_begun(OLD), index.import_begun(NEW)) == ("b", "c")
    assert (index.record(OLD), index.records()) == (None, [])
    index.write_record(a_record(OLD))
    index.drop_record(NEW)
    assert (index.import_begun(OLD), index.import_begun(NEW)) == ("", "")
    index.begin_import(OLD, "a")
    assert [record.version for record in index.records()] == [OLD]
    index.drop_record(OLD)
    assert (index.import_begun(OLD), index.record(OLD)) == ("", None)


# ------------------------------------------------------------------ damage
def test_a_collection_that_can_be_used_has_no_damage(index: VectorIndex) -> None:
    """One that is not there has."""
    assert index.damage(TEXTS.name) is not None
    publish(index, OLD)
    assert index.damage(TEXTS.name) is None
    index.discard_damaged_alias()
    index.discard_damaged_records()
    assert index.live() == OLD


def test_a_lost_collection_of_the_live_version_is_built_anew(index: VectorIndex) -> None:
    """Its rows are there at once, and the version stays live."""
    publish(index, OLD)
    assert index.damage(HEAD.name) is not None
    assert index.rebuild(HEAD, [table_of([1, 2], vectors(2))]) == 2
    assert index.damage(HEAD.name) is None
    [hits] = index.search([SearchRequest(HEAD.name, vectors(2)[:1], 1)])
    assert hits.ids.tolist() == [[1]]
    assert index.rebuild(TEXTS, [texts(["a", "b"])]) == 2
    assert (index.live(), index.count(TEXTS.name)) == (OLD, 2)


def test_damaged_records_are_discarded_and_others_stay(index: VectorIndex) -> None:
    """A record that can be read is none of them."""
    index.write_record(a_record())
    index.discard_damaged_records()
    assert index.record(OLD) is not None
