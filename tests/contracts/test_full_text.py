"""What every index with full-text search promises; run in memory and on Milvus Lite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import ConfigError, NoLiveVersion
from mrag_pipeline.ports import (
    AnySearchRequest,
    CollectionSpec,
    SearchRequest,
    TextSearchRequest,
    VectorIndex,
)
from mrag_pipeline.settings.lexical import LexicalSpec
from tests.support.empty_index import STORES, open_empty
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, HOSTILE, OLD, TEXTS, a_record, texts, vectors

LEXICAL = LexicalSpec(language="")
WORDS = CollectionSpec(f"docs_{OLD}_lexical", "lexical", 0, LEXICAL)


@pytest.fixture(params=STORES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """An empty index named docs; skips where the store has no full-text search."""
    opened = open_empty(request.param, tmp_path, insert_rows=2)
    if not opened.capabilities().has_full_text:
        opened.close()
        pytest.skip(f"{opened.describe()} has no full-text search")
    yield opened
    opened.close()


def rows_of(*passages: str) -> object:
    """A chunks table of these texts, ids from 1, no title."""
    return texts([f"d{n}" for n in range(len(passages))], text=list(passages))


def found(
    index: VectorIndex, *questions: str, limit: int = 5, among: list[int] | None = None
) -> list[list[int]]:
    """The ids of each question's hits, best first."""
    ids = None if among is None else np.array(among, np.int64)
    [ranking] = index.search([TextSearchRequest(WORDS.name, questions, limit, LEXICAL, ids)])
    return [[i for i in row if i >= 0] for row in ranking.ids.tolist()]


def test_a_passage_is_found_by_its_words(index: VectorIndex) -> None:
    """More and rarer shared words rank a chunk higher; a chunk that shares none is not a hit."""
    passages = rows_of("red fox", "red red apple", "green apple", "blue whale")
    assert index.load(WORDS, [passages]) == 4
    assert index.is_complete(WORDS, 4)
    assert found(index, "red apple", "whale", "nothing") == [[2, 1, 3], [4], []]


def test_scores_fall_and_are_above_zero(index: VectorIndex) -> None:
    """The rest of a ranking is padded; equal scores come by rising id."""
    index.load(WORDS, [rows_of("red fox", "red fox", "red", "sea")])
    [ranking] = index.search([TextSearchRequest(WORDS.name, ("red fox",), 4, LEXICAL)])
    assert ranking.ids[0].tolist() == [1, 2, 3, -1]
    scores = ranking.scores[0]
    assert scores[0] == scores[1] > scores[2] > 0
    assert np.isneginf(scores[3])


def test_words_are_found_in_any_case_and_inside_identifiers(index: VectorIndex) -> None:
    """As `domain/lexical` has it: the same words on every store."""
    index.load(WORDS, [rows_of("call csv.DictReader", "read_csv(path)", "\u6771\u4eac\u90fd")])
    assert found(index, "DICTREADER", "reader", "CSV", "\u4eac\u90fd") == [[1], [1], [2, 1], [3]]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_question_is_only_words(index: VectorIndex, text: str) -> None:
    """No question is parsed as a query language."""
    index.load(WORDS, [rows_of("red fox", "sea")])
    assert found(index, f"{text} fox") == [[1]]
    assert found(index, "...") == [[]]


def test_only_the_ids_asked_for_are_searched(index: VectorIndex) -> None:
    """No ids, no hits."""
    index.load(WORDS, [rows_of("red", "red", "red")])
    assert found(index, "red", among=[1, 3]) == [[1, 3]]
    assert found(index, "red", among=[]) == [[]]


def test_words_and_vectors_are_searched_together(index: VectorIndex) -> None:
    """In the order of the requests, and within a time too."""
    index.load(WORDS, [rows_of("red", "sea", "sky")])
    index.load(HEAD, [table_of([1, 2, 3], vectors(3))])
    requests: list[AnySearchRequest] = [
        TextSearchRequest(WORDS.name, ("sea",), 2, LEXICAL),
        SearchRequest(HEAD.name, vectors(3)[:1], 2),
    ]
    for rankings in (index.search(requests), index.search_within(requests, 30.0)):
        words, head = rankings
        assert words is not None
        assert head is not None
        assert words.ids.tolist() == [[2, -1]]
        assert head.ids[0, 0] == 1


def test_rows_are_added_replaced_and_removed(index: VectorIndex) -> None:
    """Every later search sees the change; repeating it changes nothing."""
    index.load(WORDS, [rows_of("red", "sea")])
    for _ in range(2):
        index.upsert(WORDS, texts(["d1", "d2"], first_id=2, text=["sky", "red sky"]))
    assert found(index, "red", "sea", "sky") == [[1, 3], [], [2, 3]]
    assert index.count(WORDS.name) == 3
    index.delete(WORDS.name, [1, 99])
    assert found(index, "red") == [[3]]
    assert sorted(np.concatenate(list(index.ids(WORDS.name))).tolist()) == [2, 3]


def test_stale_words_are_reported_and_rewritten(index: VectorIndex) -> None:
    """Missing ones, and those of another text."""
    index.load(TEXTS, [rows_of("red", "sea", "sky")])
    index.load(WORDS, [rows_of("red", "lake")])
    rows = list(index.chunks(TEXTS.name, [1, 2, 3]).values())
    assert sorted(index.stale_words(WORDS, rows)) == [2, 3]
    index.write_words(WORDS, [row for row in rows if row.id > 1])
    assert index.stale_words(WORDS, rows) == []
    assert found(index, "sea", "lake", "sky") == [[2], [], [3]]


def test_a_lexical_collection_belongs_to_its_version(index: VectorIndex) -> None:
    """Listed with the others, dropped, and gone for searches."""
    index.load(WORDS, [rows_of("red")])
    assert index.collections() == [WORDS.name]
    index.drop(WORDS.name)
    assert index.collections() == []
    with pytest.raises(NoLiveVersion):
        found(index, "red")


def test_the_record_keeps_how_words_are_made(index: VectorIndex) -> None:
    """A record without words has no lexical collection."""
    record = replace(a_record(), lexical=LexicalSpec(language="english", k1=1.5))
    index.write_record(record)
    stored = index.record(OLD)
    assert stored is not None
    assert stored.lexical == record.lexical
    assert stored.lexical_collection() == WORDS.name
    index.write_record(a_record())
    plain = index.record(OLD)
    assert plain is not None
    assert plain.lexical_collection() is None


def test_an_unknown_language_is_refused_before_anything_is_loaded(index: VectorIndex) -> None:
    """When the plan checks what the store can hold."""
    spec = LexicalSpec(language="klingon")
    with pytest.raises(ConfigError, match="klingon"):
        index.check_limits([CollectionSpec(WORDS.name, "lexical", 0, spec)], 10)
    index.check_limits([WORDS], 10)
