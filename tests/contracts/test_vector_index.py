"""What every VectorIndex promises; run by exact search in memory and by Milvus Lite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import NoLiveVersion, PlanRefused
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import NO_LIMIT, ChunkRow, CollectionSpec, Mark, SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import a_card, table_of
from tests.support.index_rows import (
    HEAD,
    HOSTILE,
    NEW,
    OLD,
    TEXTS,
    a_record,
    publish,
    texts,
    vectors,
)
from tests.support.milvus_server import SERVER, empty


@pytest.fixture(params=["exact", "lite", *(["server"] if SERVER else [])])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """An empty index named docs."""
    opened: VectorIndex
    if request.param == "exact":
        opened = ExactIndex("docs")
    elif request.param == "server":
        empty(SERVER)
        opened = open_index(MilvusSpec(uri=SERVER, insert_rows=100), "docs")
    else:
        opened = open_index(
            MilvusSpec(uri=str(tmp_path / "made" / "x.db"), insert_rows=100), "docs"
        )
    yield opened
    opened.close()


# ------------------------------------------------------------------ loading
def test_a_new_index_is_empty(index: VectorIndex) -> None:
    """No collection, no live version, no record; counting what is not there gives 0."""
    assert index.collections() == []
    assert index.live() is None
    assert index.records() == []
    assert index.record(OLD) is None
    assert index.count(HEAD.name) == 0
    assert not index.is_complete(HEAD, 0)
    index.drop(HEAD.name)


def test_loading_counts_every_row_of_every_table(index: VectorIndex) -> None:
    """Tables of several shards become one collection; progress is told of each row once."""
    told: list[int] = []
    tables = [
        table_of(range(250), vectors(250)),
        table_of([], vectors(0)),
        table_of(range(250, 260), vectors(10, seed=1)),
    ]
    assert index.load(HEAD, tables, told.append) == 260
    assert sum(told) == 260
    assert index.count(HEAD.name) == 260
    assert index.is_complete(HEAD, 260)
    assert not index.is_complete(HEAD, 259)
    assert index.collections() == [HEAD.name]


def test_an_empty_collection_can_be_complete(index: VectorIndex) -> None:
    """A version whose every chunk was left out still has its collections."""
    assert index.load(HEAD, []) == 0
    assert index.is_complete(HEAD, 0)


def test_loading_again_replaces(index: VectorIndex) -> None:
    """Nothing of the earlier rows stays: no leftovers, no duplicates."""
    index.load(HEAD, [table_of(range(50), vectors(50))])
    assert index.load(HEAD, [table_of(range(40, 60), vectors(20, seed=1))]) == 20
    assert index.is_complete(HEAD, 20)
    assert sorted(index.vectors(HEAD.name, range(100))) == list(range(40, 60))


def test_a_load_that_breaks_is_not_complete(index: VectorIndex) -> None:
    """Whole or not at all: rows that went in before the break do not count."""

    def breaks() -> Iterator[pa.Table]:
        yield table_of(range(200), vectors(200))
        raise RuntimeError("the staging area went away")

    with pytest.raises(RuntimeError):
        index.load(HEAD, breaks())
    assert not index.is_complete(HEAD, 200)
    assert index.load(HEAD, [table_of(range(200), vectors(200))]) == 200
    assert index.is_complete(HEAD, 200)


def test_collections_of_other_indexes_are_not_ours(index: VectorIndex) -> None:
    """Only names that this index gives count, sorted."""
    for name in (TEXTS.name, HEAD.name, f"docs_more_{OLD}_l05_h00", "docs_scratch"):
        index.load(CollectionSpec(name, "head", 8), [table_of([1], vectors(1))])
    assert index.collections() == [TEXTS.name, HEAD.name]


def test_dropping_removes(index: VectorIndex) -> None:
    """A dropped collection is gone; dropping it again does nothing."""
    index.load(HEAD, [table_of(range(5), vectors(5))])
    index.drop(HEAD.name)
    index.drop(HEAD.name)
    assert index.count(HEAD.name) == 0
    assert index.collections() == []


# ------------------------------------------------------------------ searching
@pytest.mark.parametrize("num_queries", [1, 7])
def test_search_is_exact(index: VectorIndex, num_queries: int) -> None:
    """Ids and cosines are brute force's, whatever the vectors' lengths (recall 1.0)."""
    rows = vectors(500) * np.random.default_rng(1).uniform(0.1, 9, (500, 1)).astype(np.float32)
    ids = np.random.default_rng(2).permutation(10**6)[:500].astype(np.int64) + 2**62
    index.load(HEAD, [table_of(ids, rows)])
    queries = vectors(num_queries, seed=3)
    [ranking] = index.search([SearchRequest(HEAD.name, queries, 20)])
    expected = top_k(ids, rows, queries, 20)
    np.testing.assert_array_equal(ranking.ids, expected.ids)
    np.testing.assert_allclose(ranking.scores, expected.scores, atol=1e-5)


def test_several_requests_are_answered_in_order(index: VectorIndex) -> None:
    """Each request's ranking is its own collection's, in its own shape."""
    other = replace(HEAD, name=f"docs_{OLD}_l05_h01")
    one, two = vectors(30), vectors(30, seed=1)
    index.load(HEAD, [table_of(range(30), one)])
    index.load(other, [table_of(range(100, 130), two)])
    answers = index.search(
        [
            SearchRequest(other.name, two[:3], 1),
            SearchRequest(HEAD.name, one[:2], 4),
            SearchRequest(other.name, two[7:8], 2),
        ]
    )
    assert [answer.ids.shape for answer in answers] == [(3, 1), (2, 4), (1, 2)]
    assert answers[0].ids[:, 0].tolist() == [100, 101, 102]
    assert answers[1].ids[:, 0].tolist() == [0, 1]
    assert answers[2].ids[0, 0] == 107


def test_short_rankings_are_padded(index: VectorIndex) -> None:
    """Fewer rows than asked for leave id -1 and score -inf behind them."""
    index.load(HEAD, [table_of([7, 8], vectors(2))])
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(1), 4)])
    assert ranking.ids.dtype == np.int64
    assert ranking.scores.dtype == np.float32
    assert ranking.ids[0].tolist() == [7, 8, -1, -1]
    assert ranking.scores[0, 0] == pytest.approx(1.0)
    assert ranking.scores[0, 2:].tolist() == [-np.inf, -np.inf]


def test_no_request_and_no_query_are_no_error(index: VectorIndex) -> None:
    """Nothing asked, nothing answered, in the right shapes."""
    index.load(HEAD, [table_of([7], vectors(1))])
    assert index.search([]) == []
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(0), 3)])
    assert ranking.ids.shape == (0, 3)


def test_an_empty_collection_can_be_searched(index: VectorIndex) -> None:
    """All padding."""
    index.load(HEAD, [])
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(2), 3)])
    assert ranking.ids.tolist() == [[-1] * 3] * 2


def test_searching_what_is_not_there_is_said(index: VectorIndex) -> None:
    """A dropped version is no empty answer."""
    with pytest.raises(NoLiveVersion, match=HEAD.name):
        index.search([SearchRequest(HEAD.name, vectors(1), 3)])


# ------------------------------------------------------------------ rows
def test_chunks_come_back_as_they_were(index: VectorIndex) -> None:
    """Every field, metadata of every kind, texts of every script; unknown ids are left out."""
    metadata = {"year": 2024, "open": True, "score": 0.5, "by": 'Zoë "Z" \\ 𝄞'}
    table = texts(
        ["a", "b"],
        first_id=2**62,
        text=["line\n\ttab \x01 ä€𝄞 \"q\" 'q' \\", "x" * 16_000],
        metadata=[json.dumps(metadata), "{}"],
        title=["", "T"],
    )
    assert index.load(TEXTS, [table]) == 2
    found = index.chunks(TEXTS.name, [2**62 + 1, 5, 2**62])
    assert set(found) == {2**62, 2**62 + 1}
    text = "line\n\ttab \x01 ä€𝄞 \"q\" 'q' \\"
    assert found[2**62] == ChunkRow(2**62, "a", 0, 0, 9, "", text, metadata, "print-a")
    assert found[2**62 + 1].text == "x" * 16_000
    assert index.chunks(TEXTS.name, []) == {}
    documents = {2**62: "a", 2**62 + 1: "b"}
    assert index.look_up(TEXTS.name, [2**62 + 1, 5, 2**62], [])[0] == documents
    looked_up, early = index.look_up(TEXTS.name, [2**62 + 1, 5, 2**62], [2**62, 5])
    assert looked_up == documents
    assert early in ({}, {2**62: found[2**62]})


def test_the_longest_chunk_fits(index: VectorIndex) -> None:
    """16,000 characters of 4 bytes each: the most that chunking ever gives."""
    table = texts(["a"], text=["𝄞" * 16_000])
    index.load(TEXTS, [table])
    assert index.chunks(TEXTS.name, [1])[1].text == "𝄞" * 16_000


def test_many_rows_are_fetched_at_once(index: VectorIndex) -> None:
    """More ids than one call takes."""
    index.load(TEXTS, [texts([f"d{i}" for i in range(1500)])])
    assert len(index.chunks(TEXTS.name, range(1, 1501))) == 1500
    assert len(index.vectors(TEXTS.name, range(1, 1501))) == 1500


def test_a_documents_chunks_come_by_ordinal(index: VectorIndex) -> None:
    """All of them and nobody else's."""
    table = texts(["b", "a", "a", "c", "a"])
    shuffled = table.take([4, 2, 0, 1, 3])
    index.load(TEXTS, [shuffled])
    rows = index.chunks_of_document(TEXTS.name, "a")
    assert [(row.document_id, row.ordinal, row.id) for row in rows] == [
        ("a", 0, 2),
        ("a", 1, 3),
        ("a", 2, 5),
    ]
    assert index.chunks_of_document(TEXTS.name, "nobody") == []


def test_a_long_document_is_found_whole(index: VectorIndex) -> None:
    """A document of more chunks than one answer holds."""
    index.load(TEXTS, [texts(["long"] * 4_500 + ["other"])])
    rows = index.chunks_of_document(TEXTS.name, "long")
    assert [row.ordinal for row in rows] == list(range(4_500))


def test_document_ids_may_hold_anything(index: VectorIndex) -> None:
    """Quotes, backslashes, newlines, other scripts: each finds itself and nothing else."""
    index.load(TEXTS, [texts(HOSTILE)])
    for place, name in enumerate(HOSTILE):
        rows = index.chunks_of_document(TEXTS.name, name)
        assert [(row.id, row.document_id) for row in rows] == [(place + 1, name)], name


def test_vectors_come_back_as_they_were(index: VectorIndex) -> None:
    """Not normalised, float32, bit for bit; unknown ids are left out."""
    rows = vectors(3) * 7
    index.load(HEAD, [table_of([1, 2, 3], rows)])
    found = index.vectors(HEAD.name, [3, 1, 99])
    assert set(found) == {1, 3}
    np.testing.assert_array_equal(found[3], rows[2])
    assert found[3].dtype == np.float32


# ------------------------------------------------------------------ changing
def test_upserted_rows_are_there_once(index: VectorIndex) -> None:
    """New ids are added, known ones replaced, the rest stay; a second time changes nothing."""
    old, new = vectors(50), vectors(20, seed=1)
    index.load(HEAD, [table_of(range(50), old)])
    for _ in range(2):
        index.upsert(HEAD, table_of(range(40, 60), new))
        assert index.count(HEAD.name) == 60
        found = index.vectors(HEAD.name, range(60))
        np.testing.assert_array_equal([found[i] for i in range(40)], old[:40])
        np.testing.assert_array_equal([found[i] for i in range(40, 60)], new)
    [ranking] = index.search([SearchRequest(HEAD.name, new[[3]], 60)])
    assert ranking.ids[0, 0] == 43
    assert sorted(ranking.ids[0].tolist()) == list(range(60))


def test_an_empty_upsert_does_nothing(index: VectorIndex) -> None:
    """No row, no error."""
    index.load(HEAD, [table_of(range(5), vectors(5))])
    index.upsert(HEAD, table_of([], vectors(0)))
    assert index.count(HEAD.name) == 5


def test_rows_can_be_added_to_an_empty_collection(index: VectorIndex) -> None:
    """Found at once."""
    index.load(HEAD, [])
    index.upsert(HEAD, table_of([7], vectors(1)))
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(1), 1)])
    assert ranking.ids.tolist() == [[7]]


def test_texts_can_be_changed(index: VectorIndex) -> None:
    """A replaced chunk is its new self in every field."""
    index.load(TEXTS, [texts(["a", "b"])])
    index.upsert(TEXTS, texts(["b", "c"], first_id=2, text=["new", "newer"]))
    found = index.chunks(TEXTS.name, [1, 2, 3])
    assert [found[i].text for i in (1, 2, 3)] == ["text 0", "new", "newer"]
    assert [found[i].fingerprint for i in (1, 2, 3)] == ["print-a", "print-b", "print-c"]


def test_deleted_rows_are_gone(index: VectorIndex) -> None:
    """From counts, reads and rankings; ids that are not there do no harm."""
    rows = vectors(5_000)
    index.load(HEAD, [table_of(range(5_000), rows)])
    for _ in range(2):
        index.delete(HEAD.name, [*range(10, 5_000), 77_777])
        assert index.count(HEAD.name) == 10
    assert sorted(index.vectors(HEAD.name, range(20))) == list(range(10))
    [ranking] = index.search([SearchRequest(HEAD.name, rows[[11]], 20)])
    assert sorted(ranking.ids[0, :10].tolist()) == list(range(10))
    assert ranking.ids[0, 10:].tolist() == [-1] * 10
    index.delete(HEAD.name, [])


def test_a_deleted_row_can_come_back(index: VectorIndex) -> None:
    """Removed, then added again with another vector."""
    index.load(HEAD, [table_of(range(5), vectors(5))])
    index.delete(HEAD.name, [3])
    again = vectors(1, seed=9)
    index.upsert(HEAD, table_of([3], again))
    np.testing.assert_array_equal(index.vectors(HEAD.name, [3])[3], again[0])
    assert index.count(HEAD.name) == 5


@pytest.mark.parametrize("spread", [1, 2**48, 2**62 // 9_000])
def test_every_id_is_streamed_once(index: VectorIndex, spread: int) -> None:
    """Ids side by side or far apart, more than one block of them."""
    ids = [1 + i * spread for i in range(9_000)]
    index.load(HEAD, [table_of(ids, vectors(9_000))])
    blocks = list(index.ids(HEAD.name))
    assert all(0 < len(block) < 9_000 and block.dtype == np.int64 for block in blocks)
    assert sorted(np.concatenate(blocks).tolist()) == ids


def test_the_largest_id_is_streamed(index: VectorIndex) -> None:
    """The ends of what a chunk id can be, but for 2^63 - 1, which Milvus 2.3 cannot compare."""
    index.load(HEAD, [table_of([0, 2**63 - 2], vectors(2))])
    assert sorted(i for block in index.ids(HEAD.name) for i in block.tolist()) == [0, 2**63 - 2]


def test_marks_tell_whose_each_chunk_is(index: VectorIndex) -> None:
    """Document and fingerprint of every row, as they are now."""
    index.load(TEXTS, [texts(["a", "a", "b"])])
    index.delete(TEXTS.name, [3])
    index.upsert(TEXTS, texts(HOSTILE, first_id=10))
    marks = sorted((m for block in index.marks(TEXTS.name) for m in block), key=lambda m: m.id)
    assert marks[:2] == [Mark(1, "a", "print-a"), Mark(2, "a", "print-a")]
    assert [m.document_id for m in marks[2:]] == HOSTILE


def test_an_empty_collection_streams_nothing(index: VectorIndex) -> None:
    """No block at all."""
    index.load(TEXTS, [])
    assert list(index.ids(TEXTS.name)) == list(index.marks(TEXTS.name)) == []


# ------------------------------------------------------------------ versions
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


# ------------------------------------------------------------------ records
def test_a_record_comes_back_equal(index: VectorIndex) -> None:
    """Every field, the sums to the last bit."""
    record = a_record()
    index.write_record(record)
    found = index.record(OLD)
    assert found is not None
    assert found.to_json() == record.to_json()
    np.testing.assert_array_equal(found.sums.unit_sum, record.sums.unit_sum)


def test_a_record_may_be_long(index: VectorIndex) -> None:
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


def test_records_come_oldest_first(index: VectorIndex) -> None:
    """By when the version was made, not by its name or when it was stored."""
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


# ------------------------------------------------------------------ the rest
def test_it_says_what_it_is(index: VectorIndex) -> None:
    """One line, and where the size can be known, one that grows with what is loaded."""
    assert "\n" not in index.describe()
    before = index.size_bytes()
    index.load(HEAD, [table_of(range(1000), vectors(1000))])
    after = index.size_bytes()
    assert (before is None) == (after is None)
    assert after is None or after >= before + 1000 * 8 * 4


def test_limits_allow_what_was_tested(index: VectorIndex) -> None:
    """An ordinary version passes."""
    index.check_limits([HEAD, TEXTS], 1000)


def test_limits_are_the_capabilities(index: VectorIndex) -> None:
    """One dimension or one character too many is refused in planning, naming the limit."""
    can = index.capabilities()
    assert can.store in index.describe()
    assert (can.is_shared, can.loads_at_once, can.searches_at_once) == (False, 1, 1)
    assert not can.has_bulk_import
    index.check_limits([replace(HEAD, dim=min(can.max_dim, 100_000))], 1)
    if can.max_dim < NO_LIMIT:
        with pytest.raises(PlanRefused, match=f"{can.max_dim:,}"):
            index.check_limits([replace(HEAD, dim=can.max_dim + 1)], 1)
    if can.max_name_chars < NO_LIMIT:
        with pytest.raises(PlanRefused, match=f"{can.max_name_chars:,} at most"):
            index.check_limits([replace(HEAD, name="a" * (can.max_name_chars + 1))], 1)


def test_closing_twice_does_nothing(index: VectorIndex) -> None:
    """A second close is no error."""
    index.close()
    index.close()
