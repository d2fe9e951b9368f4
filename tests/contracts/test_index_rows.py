"""What every VectorIndex promises of reading, replacing, deleting and streaming rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from mrag_pipeline.domain.filters import Scalar
from mrag_pipeline.domain.proofs import row_hash
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus import row_reader
from mrag_pipeline.ports import ChunkRow, Mark, SearchRequest, VectorIndex
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.stages.versions.stored_rows import chunk_of, staged_chunks
from tests.support.fake_staging import table_of
from tests.support.index_rows import (
    HEAD,
    HOSTILE,
    TEXTS,
    texts,
    vectors,
)


def test_chunks_are_read_back_unchanged(index: VectorIndex) -> None:
    """Every field, metadata of every kind, texts of every script; unknown ids are left out."""
    metadata: dict[str, Scalar] = {"year": 2024, "open": True, "score": 0.5, "by": 'Zoë "Z" \\ 𝄞'}
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


def test_the_longest_possible_chunk_is_stored(index: VectorIndex) -> None:
    """16,000 characters of 4 bytes each: the most that chunking ever gives."""
    table = texts(["a"], text=["𝄞" * 16_000])
    index.load(TEXTS, [table])
    assert index.chunks(TEXTS.name, [1])[1].text == "𝄞" * 16_000


def test_what_proves_a_row_is_kept_with_it(index: VectorIndex) -> None:
    """Also of rows that are replaced; a row that was written without a proof has none."""
    table = texts(["a", "b", "c"])
    proven = table.append_column("proof", pa.array(["first", "second", ""]))
    index.load(TEXTS, [proven.slice(0, 2), table.slice(2)])
    assert index.proofs(TEXTS.name, [1, 2, 3, 9]) == {1: "first", 2: "second", 3: ""}
    index.upsert(TEXTS, table.slice(0, 1))
    index.upsert(TEXTS, table.slice(1, 1).append_column("proof", pa.array(["x" * 6_000])))
    assert index.proofs(TEXTS.name, [1, 2]) == {1: "", 2: "x" * 6_000}
    assert index.proofs(TEXTS.name, []) == {}


def test_metadata_proves_itself_after_any_store(index: VectorIndex) -> None:
    """Numbers of every size, nested values, other scripts: the row's hash is as it was staged."""
    values: list[dict[str, object]] = [
        {"whole": 1.0, "large": 1e300, "small": -2.5e-7, "exact": 2**53, "none": [None, 1]},
        {"nested": {"b": [1, {"c": 2.0}], "a": "ü𝄞"}, "open": False, "quote": '"\\'},
        {},
    ]
    table = texts(["a", "b", "c"], metadata=[json.dumps(value) for value in values])
    index.load(TEXTS, [table])
    stored = index.chunks(TEXTS.name, [1, 2, 3])
    staged = staged_chunks(table)
    assert [row_hash(chunk_of(stored[chunk.id])) for chunk in staged] == [
        row_hash(chunk) for chunk in staged
    ]


def test_more_rows_than_one_call_returns_are_read(index: VectorIndex) -> None:
    """All rows, for more ids than one call takes."""
    index.load(TEXTS, [texts([f"d{i}" for i in range(1500)])])
    assert len(index.chunks(TEXTS.name, range(1, 1501))) == 1500
    assert len(index.vectors(TEXTS.name, range(1, 1501))) == 1500


def test_a_documents_chunks_are_ordered_by_ordinal(index: VectorIndex) -> None:
    """All rows of the collection, and no others."""
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


def test_every_chunk_of_a_long_document_is_read(index: VectorIndex) -> None:
    """A document of more chunks than one answer holds."""
    index.load(TEXTS, [texts(["long"] * 4_500 + ["other"])])
    rows = index.chunks_of_document(TEXTS.name, "long")
    assert [row.ordinal for row in rows] == list(range(4_500))


def test_a_document_id_may_have_any_character(index: VectorIndex) -> None:
    """Quotes, backslashes, newlines, other scripts: each finds itself and nothing else."""
    index.load(TEXTS, [texts(HOSTILE)])
    for place, name in enumerate(HOSTILE):
        rows = index.chunks_of_document(TEXTS.name, name)
        assert [(row.id, row.document_id) for row in rows] == [(place + 1, name)], name


def test_vectors_are_read_back_unchanged(index: VectorIndex) -> None:
    """Not normalised, float32, bit for bit; unknown ids are left out."""
    rows = vectors(3) * 7
    index.load(HEAD, [table_of([1, 2, 3], rows)])
    found = index.vectors(HEAD.name, [3, 1, 99])
    assert set(found) == {1, 3}
    np.testing.assert_array_equal(found[3], rows[2])
    assert found[3].dtype == np.float32


def test_upserted_rows_are_stored_once(index: VectorIndex) -> None:
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
    """An empty table changes nothing and raises nothing."""
    index.load(HEAD, [table_of(range(5), vectors(5))])
    index.upsert(HEAD, table_of([], vectors(0)))
    assert index.count(HEAD.name) == 5


def test_rows_can_be_added_to_an_empty_collection(index: VectorIndex) -> None:
    """A search finds the added row at once."""
    index.load(HEAD, [])
    index.upsert(HEAD, table_of([7], vectors(1)))
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(1), 1)])
    assert ranking.ids.tolist() == [[7]]


def test_an_upsert_replaces_every_field_of_a_chunk(index: VectorIndex) -> None:
    """Every field of a replaced chunk has its new value."""
    index.load(TEXTS, [texts(["a", "b"])])
    index.upsert(TEXTS, texts(["b", "c"], first_id=2, text=["new", "newer"]))
    found = index.chunks(TEXTS.name, [1, 2, 3])
    assert [found[i].text for i in (1, 2, 3)] == ["text 0", "new", "newer"]
    assert [found[i].fingerprint for i in (1, 2, 3)] == ["print-a", "print-b", "print-c"]


def test_deleted_rows_are_gone(index: VectorIndex) -> None:
    """Counts, reads and rankings leave them out; missing ids are ignored."""
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
    """A row that is removed and added again has its new vector."""
    index.load(HEAD, [table_of(range(5), vectors(5))])
    index.delete(HEAD.name, [3])
    again = vectors(1, seed=9)
    index.upsert(HEAD, table_of([3], again))
    np.testing.assert_array_equal(index.vectors(HEAD.name, [3])[3], again[0])
    assert index.count(HEAD.name) == 5


@pytest.mark.parametrize(
    ("spread", "count", "block_rows"),
    [(1, 1_800, 1_600), (2**48, 1_800, 1_600), (2**62 // 18_000, 18_000, row_reader.BLOCK_ROWS)],
)
def test_every_id_is_streamed_once(
    index: VectorIndex, spread: int, count: int, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids side by side or far apart, more than one block of them."""
    monkeypatch.setattr(row_reader, "BLOCK_ROWS", block_rows)
    ids = [1 + i * spread for i in range(count)]
    index.load(HEAD, [table_of(ids, vectors(count))])
    blocks = list(index.ids(HEAD.name))
    most = count if isinstance(index, ExactIndex) else block_rows
    assert all(0 < len(block) <= most and block.dtype == np.int64 for block in blocks)
    assert sorted(np.concatenate(blocks).tolist()) == ids


def test_every_vector_is_streamed_once(index: VectorIndex) -> None:
    """More than one block of them, each with its id, bit for bit."""
    ids, rows = [1 + i * (2**62 // 18_000) for i in range(18_000)], vectors(18_000)
    index.load(HEAD, [table_of(ids, rows)])
    blocks = list(index.vector_blocks(HEAD))
    assert all(0 < len(block) < 18_000 for block, _ in blocks)
    order = np.argsort(np.concatenate([block for block, _ in blocks]))
    assert np.concatenate([block for block, _ in blocks])[order].tolist() == ids
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks])[order], rows)


def test_the_largest_id_is_streamed(index: VectorIndex) -> None:
    """The ends of what a chunk id can be, but for 2^63 - 1, which Milvus 2.3 cannot compare."""
    index.load(HEAD, [table_of([0, 2**63 - 2], vectors(2))])
    assert sorted(i for block in index.ids(HEAD.name) for i in block.tolist()) == [0, 2**63 - 2]


def test_marks_give_each_chunks_document_and_fingerprint(index: VectorIndex) -> None:
    """Document and fingerprint of every row, as they are now."""
    index.load(TEXTS, [texts(["a", "a", "b"])])
    index.delete(TEXTS.name, [3])
    index.upsert(TEXTS, texts(HOSTILE, first_id=10))
    marks = sorted((m for block in index.marks(TEXTS.name) for m in block), key=lambda m: m.id)
    assert marks[:2] == [Mark(1, "a", "print-a"), Mark(2, "a", "print-a")]
    assert [m.document_id for m in marks[2:]] == HOSTILE


def test_marks_of_ranges_of_ids_are_all_marks_once(index: VectorIndex) -> None:
    """Each row in the range that its id is in; a Milvus 2.3 finds no id of 2**63 - 1 by ranges."""
    ids = [1, 5, 2**61, 2**62, 2**62 + 1, 2**63 - 2]
    index.load(TEXTS, [texts(["a"] * len(ids)).set_column(0, "chunk_id", [ids])])

    def marked(start: int, stop: int) -> list[int]:
        return sorted(m.id for block in index.marks(TEXTS.name, start, stop) for m in block)

    assert marked(0, 2**61) == [1, 5]
    assert marked(2**61, 2**62 + 1) == [2**61, 2**62]
    assert marked(2**62 + 1, ID_END) == [2**62 + 1, 2**63 - 2]
    assert marked(6, 7) == []


def test_marks_of_documents_are_those_of_their_rows(index: VectorIndex) -> None:
    """Found by id, whatever characters it has, more ids and rows than one call takes."""
    table = texts([*HOSTILE, *["long"] * 16_500, *(f"d{i}" for i in range(400))])
    ids = [(1 + row) * (2**62 // table.num_rows) for row in range(table.num_rows)]  # as hashes are
    index.load(TEXTS, [table.set_column(0, "chunk_id", [ids])])
    assert sorted(m.id for m in index.marks_of(TEXTS.name, HOSTILE[:2])) == ids[:2]
    for place, name in enumerate(HOSTILE):
        assert [m.id for m in index.marks_of(TEXTS.name, [name])] == [ids[place]], name
    assert len(index.marks_of(TEXTS.name, ["long"])) == 16_500
    many = [f"d{i}" for i in range(450)]  # of which 50 are not there
    assert sorted(m.document_id for m in index.marks_of(TEXTS.name, many)) == sorted(many[:400])
    assert index.marks_of(TEXTS.name, []) == []
    index.delete(TEXTS.name, ids[:1])
    assert index.marks_of(TEXTS.name, HOSTILE[:1]) == []


def test_an_empty_collection_streams_nothing(index: VectorIndex) -> None:
    """An empty collection gives no block."""
    index.load(TEXTS, [])
    assert list(index.ids(TEXTS.name)) == list(index.marks(TEXTS.name)) == []
    assert list(index.vector_blocks(TEXTS)) == []
