"""Questions asked together, with filters, and of heads that do not answer."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not, matches
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.errors import ConfigError, FingerprintMismatch, HeadsMissing
from mrag_pipeline.ports import CollectionSpec, Ranking, SearchRequest, VectorIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import Query
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.query.voters import STANDARD
from mrag_pipeline.staging.tables import chunk_table
from tests.support.fake_encoder import FakeSegmenter
from tests.support.query_world import (
    QUERIES,
    SPEC,
    WAYS,
    WORLD,
    CountingEncoder,
)

leaves = st.sampled_from(
    [
        Condition("metadata.shelf", "eq", "a"),
        Condition("metadata.year", "ge", 2005),
        Condition("metadata.year", "in", (2001, 2002)),
        Condition("title", "eq", "t1"),
        Condition("document_id", "prefix", "d1"),
        Condition("metadata.none", "exists"),
    ]
)
small_filters: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(All), st.tuples(inner, inner).map(AnyOf), inner.map(Not)
    ),
    max_leaves=3,
)


def told(answer: Answer) -> list[Any]:
    """All that an answer says of what was found."""
    return [
        (one.hit.document_id, one.hit.chunk_ids, one.hit.vote, one.hit.parts.tolist(), one.row)
        for one in answer.found
    ]


class Recorded:
    """An index that can be overridden in part."""

    def __init__(self, index: VectorIndex) -> None:
        self.index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self.index, name)


class Spy(Recorded):
    """Remembers what is searched, call by call."""

    def __init__(self, index: VectorIndex) -> None:
        super().__init__(index)
        self.calls: list[list[SearchRequest]] = []

    def search(self, some: Sequence[SearchRequest]) -> list[Ranking]:
        self.calls.append(list(some))
        return self.index.search(some)


# ------------------------------------------------------------------ filters
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40, deadline=None)
@given(
    wanted=small_filters,
    query=st.sampled_from(QUERIES),
    strategy=st.sampled_from(["aspect", "mrag", "standard", "fusion-mrag", "split"]),
    k=st.integers(1, 12),
)
def test_a_filtered_answer_is_that_of_an_index_of_the_rest_alone(
    way: str, wanted: Filter, query: str, strategy: str, k: int
) -> None:
    """The same documents, passages, votes and parts, whichever way the filter goes."""
    spec = replace(SPEC, filtering=WAYS[way])
    question = WORLD.question(query, strategy, k=k, filter=wanted)
    [found] = WORLD.searcher(spec=spec).search([question])
    alone = WORLD.searcher(WORLD.matching_alone(wanted), spec)
    [right] = alone.search([replace(question, filter=None)])
    assert told(found) == told(right)
    assert all(matches(wanted, one.row) for one in found.found)


def test_each_way_is_taken() -> None:
    """What the property above is about: one search among ids, longer and longer, in blocks."""
    wanted = Condition("metadata.year", "eq", 2003)
    question = WORLD.question(QUERIES[1], "mrag", k=1, filter=wanted)
    seen = {}
    for way, filtering in WAYS.items():
        spy = Spy(WORLD.index)
        WORLD.searcher(spy, replace(SPEC, filtering=filtering)).search([question])
        seen[way] = [one for call in spy.calls for one in call]
    ids = WORLD.index.matching(WORLD.record.chunks_collection(), wanted).tolist()
    assert [one.among.tolist() for one in seen["among ids"]] == [ids] * 4
    assert {one.among is None for one in seen["longer rankings"]} == {True}
    first = WORLD.record.head_collections()[0]
    depths = [one.limit for one in seen["longer rankings"] if one.collection == first]
    assert depths == [4 * 2**turn for turn in range(len(depths))]
    assert len(depths) > 1
    blocks = [one.among.tolist() for one in seen["in blocks"] if one.among is not None]
    assert max(map(len, blocks)) == 3
    assert sorted({one for block in blocks for one in block}) == ids


def test_nothing_matches_and_nothing_is_searched() -> None:
    """An empty answer, not an error."""

    class Silent(Recorded):
        def search(self, some: Sequence[SearchRequest]) -> list[Ranking]:
            raise AssertionError("searched")

    wanted = Condition("metadata.none", "exists")
    [answer] = WORLD.searcher(Silent(WORLD.index)).search([WORLD.question("dog", filter=wanted)])
    assert answer.found == ()
    assert answer.voters


def test_an_index_that_answers_too_much_leaks_nothing() -> None:
    """Whatever it says matches, a document that does not is never in the answer."""

    class Leaking(Recorded):
        def matching(self, *asked: Any, **more: Any) -> Any:
            return np.arange(1, 61)

        def search(self, some: Sequence[SearchRequest]) -> list[Ranking]:
            return WORLD.index.search([replace(one, among=None) for one in some])

    wanted = Condition("metadata.shelf", "eq", "a")
    [answer] = WORLD.searcher(Leaking(WORLD.index)).search(
        [WORLD.question(QUERIES[1], k=10, filter=wanted)]
    )
    assert answer.found
    assert {one.row.metadata["shelf"] for one in answer.found} == {"a"}
    # Nor where a question beside it has had the same rows read already.
    beside, answer = WORLD.searcher(Leaking(WORLD.index)).search(
        [WORLD.question(QUERIES[1], k=30), WORLD.question(QUERIES[1], k=10, filter=wanted)]
    )
    assert {one.row.metadata["shelf"] for one in beside.found} == {"a", "b"}
    assert {one.row.metadata["shelf"] for one in answer.found} == {"a"}


def test_a_row_that_goes_while_it_is_answered_makes_way_for_the_next() -> None:
    """As if it had never been listed: a sync deletes rows at any moment."""
    [before] = WORLD.searcher().search([WORLD.question(QUERIES[1], k=5)])
    gone = {one.row.id for one in before.found[:2]}

    class Losing(Recorded):
        def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
            documents, _ = WORLD.index.look_up(collection, ids, [])
            return documents, self.chunks(collection, likely)

        def chunks(self, collection: str, ids: Sequence[int]) -> Any:
            return WORLD.index.chunks(collection, [one for one in ids if one not in gone])

    class Without(Recorded):
        def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
            left = [one for one in ids if one not in gone]
            return WORLD.index.look_up(collection, left, [one for one in likely if one in left])

    [losing] = WORLD.searcher(Losing(WORLD.index)).search([WORLD.question(QUERIES[1], k=5)])
    [without] = WORLD.searcher(Without(WORLD.index)).search([WORLD.question(QUERIES[1], k=5)])
    assert [one.row.id for one in losing.found] == [one.row.id for one in without.found]
    assert not gone & {one.row.id for one in losing.found}
    assert len(losing.found) == 5


@pytest.mark.parametrize("strategy", ["aspect", "mrag", "fusion-mrag"])
def test_rows_that_are_read_early_change_no_answer(strategy: str) -> None:
    """All of them, none, or those of another question: what is missing is read when it is known."""

    class Early(Recorded):
        def __init__(self, share: int) -> None:
            super().__init__(WORLD.index)
            self.share = share
            self.late: list[int] = []

        def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
            some = WORLD.index.chunks(collection, list(likely)[:: self.share] if self.share else [])
            documents, _ = WORLD.index.look_up(collection, ids, [])
            return documents, some

        def chunks(self, collection: str, ids: Sequence[int]) -> Any:
            self.late += ids
            return WORLD.index.chunks(collection, ids)

    answers, late = [], []
    for share in (1, 2, 0):
        index = Early(share)
        answers.append(WORLD.searcher(index).search([WORLD.question(QUERIES[1], strategy, k=5)])[0])
        late.append(len(index.late))
    shown = [[(one.hit.vote, one.row) for one in answer.found] for answer in answers]
    assert shown[0] == shown[1] == shown[2]
    assert late[0] < late[1] < late[2] == 5


# ------------------------------------------------------------------ together
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(QUERIES),
            st.sampled_from(sorted(STRATEGIES)),
            st.integers(1, 12),
            st.none() | leaves,
            st.sampled_from([None, 60.0, 61.5, 200.0]),
        ),
        max_size=5,
    )
)
def test_asked_together_is_asked_alone(asked: list[Any]) -> None:
    """Any strategies, depths and filters in one call: each answer is its own."""
    questions = [
        WORLD.question(query, strategy, k=k, filter=wanted, seconds=seconds)
        for query, strategy, k, wanted, seconds in asked
    ]
    together = WORLD.searcher().search(questions)
    alone = [WORLD.searcher().search([question])[0] for question in questions]
    assert [told(one) for one in together] == [told(one) for one in alone]
    assert [one.voters for one in together] == [one.voters for one in alone]


def test_questions_share_the_searches_of_a_collection() -> None:
    """One request a collection, with all vectors, as deep as the deepest."""
    questions = [
        WORLD.question(QUERIES[0], "mrag", k=1),
        WORLD.question(QUERIES[2], "aspect", k=9),
        WORLD.question(QUERIES[2], "standard", k=2),
    ]
    spy = Spy(WORLD.index)
    WORLD.searcher(spy).search(questions)
    [requests] = spy.calls
    names = [*WORLD.record.head_collections(), WORLD.record.chunks_collection()]
    assert sorted(one.collection for one in requests) == sorted(names)
    assert {len(one.vectors) for one in requests} == {2}
    assert {one.limit for one in requests} == {36}


def test_callers_of_about_the_same_time_share_searches() -> None:
    """In the time of the one that has least; one with far more is not held to it."""
    index = Slow(WORLD.index, "no collection")
    questions = [WORLD.question("dog", "standard", seconds=one) for one in (20.0, 21.0, 60.0)]
    WORLD.searcher(index).search(questions)
    assert [round(one) for one in index.asked] == [20, 60]


def test_true_and_one_are_two_filters() -> None:
    """Equal in Python: asked together, each has its own answer."""
    index = WORLD.holding(lambda chunk: True)
    rows = [
        replace(chunk, metadata={"x": bool(chunk.id % 2) if chunk.id < 30 else chunk.id % 2})
        for chunk in WORLD.chunks
    ]
    texts = CollectionSpec(WORLD.record.chunks_collection(), "chunks", 16)
    index.load(texts, [chunk_table(rows, WORLD.made.standard)])
    answers = WORLD.searcher(index).search(
        [
            WORLD.question("dog", k=60, filter=Condition("metadata.x", "eq", value))
            for value in (True, 1, 1.0)
        ]
    )
    kinds = [{type(one.row.metadata["x"]) for one in answer.found} for answer in answers]
    assert kinds == [{bool}, {int}, {int}]


def test_nobody_pays_for_anothers_error() -> None:
    """Each outcome is an answer or its own error, in order; `search` raises the first."""
    good, bad = WORLD.question("dog"), WORLD.question("dog", k=0)
    other = WORLD.question("dog")
    wide = replace(other.embedded.embeddings, heads=np.zeros((1, 4, 9), np.float32))
    mixed = replace(other, embedded=replace(other.embedded, embeddings=wide))
    answer, k_error, shape_error = WORLD.searcher().outcomes([good, bad, mixed])
    assert isinstance(answer, Answer)
    assert isinstance(k_error, ConfigError)
    assert isinstance(shape_error, FingerprintMismatch)
    with pytest.raises(ConfigError, match="k = 0"):
        WORLD.searcher().search([good, bad])
    assert WORLD.searcher().search([]) == []


# ------------------------------------------------------------------ heads that do not answer
class Slow(Recorded):
    """Some collections do not answer in time."""

    def __init__(self, index: VectorIndex, *late: str) -> None:
        super().__init__(index)
        self.late = late
        self.asked: list[float] = []

    def search_within(self, some: Sequence[SearchRequest], seconds: float) -> list[Ranking | None]:
        self.asked.append(seconds)
        found = WORLD.index.search(some)
        return [
            None if one.collection.endswith(self.late) else ranking
            for one, ranking in zip(some, found, strict=True)
        ]


def test_a_missing_head_is_an_error_unless_allowed() -> None:
    """It is named; fewer heads than allowed is an error too."""
    index = Slow(WORLD.index, "l00_h01")
    strict = WORLD.question(QUERIES[1], seconds=5.0)
    with pytest.raises(HeadsMissing, match=r"3 of 4 heads.*l00_h01"):
        WORLD.searcher(index).search([strict])
    with pytest.raises(HeadsMissing, match="at least 4"):
        WORLD.searcher(index).search([replace(strict, min_heads=4)])
    [answer] = WORLD.searcher(index).search([replace(strict, min_heads=3)])
    assert answer.missing == ("l00_h01",)
    assert answer.voters == ("l00_h00", "l00_h02", "l00_h03", STANDARD)
    assert all(one.hit.parts.shape[0] == 4 for one in answer.found)
    assert 0 < min(index.asked) <= 5.0


def test_the_others_votes_are_what_they_were() -> None:
    """A missing head's votes are gone, nothing else changes."""
    question = WORLD.question(QUERIES[0], "mrag", k=40, min_heads=1)
    [fewer] = WORLD.searcher(Slow(WORLD.index, "l00_h01")).search([question])
    [whole] = WORLD.searcher().search([question])
    assert whole.missing == ()
    parts = {one.hit.document_id: one.hit.parts for one in whole.found}
    for one in fewer.found:
        np.testing.assert_array_equal(
            one.hit.parts, np.delete(parts[one.hit.document_id], 1, axis=0)
        )


def test_a_voter_that_is_no_head_may_be_missing_too() -> None:
    """If fewer heads are allowed; where it is the only voter there is no answer."""
    index = Slow(WORLD.index, "chunks")
    question = WORLD.question(QUERIES[0], min_heads=4)
    assert WORLD.searcher(index).search([question])[0].missing == (STANDARD,)
    for min_heads in (1, None):
        with pytest.raises(HeadsMissing):
            WORLD.searcher(index).search(
                [WORLD.question("dog", "standard", min_heads=min_heads, seconds=1.0)]
            )


@pytest.mark.parametrize("way", WAYS)
def test_a_filter_and_a_missing_head(way: str) -> None:
    """Late in any of the searches of a filter: missing."""
    index = Slow(WORLD.index, "l00_h02")
    wanted = Condition("metadata.shelf", "eq", "a")
    question = WORLD.question(QUERIES[1], filter=wanted, min_heads=2, seconds=9.0)
    [answer] = WORLD.searcher(index, replace(SPEC, filtering=WAYS[way])).search([question])
    assert answer.missing == ("l00_h02",)
    assert answer.found


# ------------------------------------------------------------------ embedding
def test_queries_are_embedded_in_one_call() -> None:
    """Windows of all of them at once, each text once; as embedded alone."""
    encoder = CountingEncoder()
    embedder = QueryEmbedder(encoder, FakeSegmenter(), SPEC)
    asked = [Query(query, name) for query in QUERIES for name in ("aspect", "mrag", "standard")]
    together = embedder.embed(asked)
    assert len(encoder.batches) == 1
    for one, query in zip(together, asked, strict=True):
        [alone] = embedder.embed([query])
        assert one.windows == alone.windows
        np.testing.assert_array_equal(one.embeddings.heads, alone.embeddings.heads)
        np.testing.assert_array_equal(one.embeddings.standard, alone.embeddings.standard)
    assert embedder.embed([]) == []


def test_an_embedded_query_survives_pickling() -> None:
    """It goes from where the model is to where the index is."""
    question = WORLD.question(QUERIES[1], filter=Condition("title", "eq", "t1"))
    [found] = WORLD.searcher().search([pickle.loads(pickle.dumps(question))])
    [right] = WORLD.searcher().search([question])
    assert told(pickle.loads(pickle.dumps(found))) == told(found) == told(right)


def test_given_windows_are_searched_as_they_are() -> None:
    """In their order, near-duplicates too; found in the query where it holds them."""
    embedder = QueryEmbedder(CountingEncoder(), FakeSegmenter(), SPEC)
    [made] = embedder.embed([Query("a dog and a star", windows=("a star", "a star ", "cake", " "))])
    assert [(one.text, one.start, one.end) for one in made.windows] == [
        ("a star", 10, 16),
        ("a star ", 0, 16),
        ("cake", 0, 16),
    ]
    assert {one.scale for one in made.windows} == {"given"}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Query("dog", "mrag", ("dog",)), "windows for the strategy mrag"),
        (Query("dog", "aspect", (" ", "\n")), "windows without text"),
        (Query("dog", "fusion", (" ",)), "without sub-queries"),
        (Query(" "), "without text"),
        (Query("dog", "aspekt"), "did you mean `aspect`"),
    ],
)
def test_what_cannot_be_embedded_is_refused(asked: Query, found: str) -> None:
    """Before the encoder is called."""
    encoder = CountingEncoder()
    with pytest.raises(ConfigError, match=found):
        QueryEmbedder(encoder, FakeSegmenter()).embed([asked])
    assert encoder.batches == []


def test_a_retriever_takes_all_of_it() -> None:
    """Windows, a filter and fewer heads, in one process."""
    index = Slow(WORLD.index, "l00_h01")
    retriever = Retriever(WORLD.encoder, FakeSegmenter(), index, WORLD.record, SPEC)
    wanted = Condition("metadata.shelf", "eq", "b")
    answer = retriever.retrieve(
        "dog and star", 5, windows=("dog", "star"), filter=wanted, min_heads=3, seconds=9.0
    )
    assert [window.text for window in answer.windows] == ["dog", "star"]
    assert answer.missing == ("l00_h01",)
    assert {one.row.metadata["shelf"] for one in answer.found} == {"b"}
    assert set(answer.seconds) == {"windows", "encode", "search", "fetch", "vote"}
