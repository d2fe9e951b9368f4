"""Searches for several questions at once, with filters, and with heads that do not answer."""

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
from mrag_pipeline.domain.vote_spec import STANDARD
from mrag_pipeline.errors import ConfigError, FingerprintMismatch, HeadsMissing
from mrag_pipeline.ports import (
    AnySearchRequest,
    CollectionSpec,
    Ranking,
    SearchRequest,
    VectorIndex,
)
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.plan import plan_search
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.query.vote import collect_votes
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


def content_of(answer: Answer) -> list[Any]:
    """Everything that an answer says about its documents."""
    return [
        (hit.document_id, hit.chunk_ids, hit.vote, hit.parts.tolist(), row)
        for hit, row in ((document.hit, document.row) for document in answer.found)
    ]


class Recorded:
    """Passes calls on to an index; subclasses override some of them."""

    def __init__(self, index: VectorIndex) -> None:
        self.index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self.index, name)


class Spy(Recorded):
    """Records the requests of each search call."""

    def __init__(self, index: VectorIndex) -> None:
        super().__init__(index)
        self.calls: list[list[AnySearchRequest]] = []

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        self.calls.append(list(requests))
        return self.index.search(requests)


# ------------------------------------------------------------------ filters
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40)
@given(
    wanted=small_filters,
    query=st.sampled_from(QUERIES),
    strategy=st.sampled_from(["aspect", "mrag", "standard", "fusion-mrag", "split"]),
    k=st.integers(1, 12),
)
def test_a_filtered_answer_is_that_of_an_index_of_matching_chunks_only(
    way: str, wanted: Filter, query: str, strategy: str, k: int
) -> None:
    """The same documents, passages, votes and parts, however the filter is applied."""
    question = WORLD.question(query, strategy, k=k, filter=wanted)
    [answer] = WORLD.searcher(filtering=WAYS[way]).search([question])
    matching_only = WORLD.searcher(WORLD.matching_alone(wanted), filtering=WAYS[way])
    [expected] = matching_only.search([replace(question, filter=None)])
    assert content_of(answer) == content_of(expected)
    assert all(matches(wanted, document.row) for document in answer.found)


def test_each_way_to_filter_is_taken() -> None:
    """The property above covers searches among ids, ever longer rankings, and blocks of ids."""
    wanted = Condition("metadata.year", "eq", 2003)
    question = WORLD.question(QUERIES[1], "mrag", k=1, filter=wanted)
    requests = {}
    for way, filtering in WAYS.items():
        spy = Spy(WORLD.index)
        WORLD.searcher(spy, filtering=filtering).search([question])
        *searched, _scores = spy.calls
        requests[way] = [request for call in searched for request in call]
    ids = WORLD.index.matching(WORLD.record.chunks_collection(), wanted).tolist()
    among = [request.among for request in requests["among ids"]]
    assert [None if rows is None else rows.tolist() for rows in among] == [ids] * 4
    assert {request.among is None for request in requests["longer rankings"]} == {True}
    first = WORLD.record.head_collections()[0]
    depths = [
        request.limit for request in requests["longer rankings"] if request.collection == first
    ]
    assert depths == [4 * 2**turn for turn in range(len(depths))]
    assert len(depths) > 1
    blocks = [
        request.among.tolist() for request in requests["in blocks"] if request.among is not None
    ]
    assert max(map(len, blocks)) == 3
    assert sorted({chunk_id for block in blocks for chunk_id in block}) == ids


def test_a_filter_that_matches_nothing_searches_nothing() -> None:
    """The answer is empty, not an error."""

    class Silent(Recorded):
        def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
            raise AssertionError("searched")

    wanted = Condition("metadata.none", "exists")
    [answer] = WORLD.searcher(Silent(WORLD.index)).search([WORLD.question("dog", filter=wanted)])
    assert answer.found == ()
    assert answer.voters


def test_an_index_that_returns_too_much_leaks_nothing() -> None:
    """A document that does not match is never in the answer, whatever the index returns."""

    class Leaking(Recorded):
        def matching(self, *_: Any, **__: Any) -> Any:
            return np.arange(1, 61)

        def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
            return WORLD.index.search([replace(request, among=None) for request in requests])

    wanted = Condition("metadata.shelf", "eq", "a")
    [answer] = WORLD.searcher(Leaking(WORLD.index)).search(
        [WORLD.question(QUERIES[1], k=10, filter=wanted)]
    )
    assert answer.found
    assert {document.row.metadata["shelf"] for document in answer.found} == {"a"}
    # Also where another question of the same call has read the same rows.
    beside, answer = WORLD.searcher(Leaking(WORLD.index)).search(
        [WORLD.question(QUERIES[1], k=30), WORLD.question(QUERIES[1], k=10, filter=wanted)]
    )
    assert {document.row.metadata["shelf"] for document in beside.found} == {"a", "b"}
    assert {document.row.metadata["shelf"] for document in answer.found} == {"a"}


def test_a_row_deleted_during_a_search_gives_its_position_to_the_next() -> None:
    """As if it had never been found: a sync deletes rows at any time."""
    [before] = WORLD.searcher().search([WORLD.question(QUERIES[1], k=5)])
    gone = {document.row.id for document in before.found[:2]}

    class Losing(Recorded):
        def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
            documents, _ = WORLD.index.look_up(collection, ids, [])
            return documents, self.chunks(collection, likely)

        def chunks(self, collection: str, ids: Sequence[int]) -> Any:
            return WORLD.index.chunks(collection, [i for i in ids if i not in gone])

    class Without(Recorded):
        def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
            remaining = [i for i in ids if i not in gone]
            likely = [i for i in likely if i in remaining]
            return WORLD.index.look_up(collection, remaining, likely)

    [losing] = WORLD.searcher(Losing(WORLD.index)).search([WORLD.question(QUERIES[1], k=5)])
    [without] = WORLD.searcher(Without(WORLD.index)).search([WORLD.question(QUERIES[1], k=5)])
    shown = [document.row.id for document in losing.found]
    assert shown == [document.row.id for document in without.found]
    assert not gone & set(shown)
    assert len(losing.found) == 5


@pytest.mark.parametrize("strategy", ["aspect", "mrag", "fusion-mrag"])
def test_rows_that_are_read_early_change_no_answer(strategy: str) -> None:
    """Whether all of them, some or none come early, missing rows are read at the end."""

    class Early(Recorded):
        def __init__(self, step: int) -> None:
            super().__init__(WORLD.index)
            self.step = step
            self.late: list[int] = []

        def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
            early = list(likely)[:: self.step] if self.step else []
            documents, _ = WORLD.index.look_up(collection, ids, [])
            return documents, WORLD.index.chunks(collection, early)

        def chunks(self, collection: str, ids: Sequence[int]) -> Any:
            self.late += ids
            return WORLD.index.chunks(collection, ids)

    answers, late = [], []
    for step in (1, 2, 0):  # all of them, every second, none
        index = Early(step)
        answers.append(WORLD.searcher(index).search([WORLD.question(QUERIES[1], strategy, k=5)])[0])
        late.append(len(index.late))
    shown = [[(document.hit.vote, document.row) for document in answer.found] for answer in answers]
    assert shown[0] == shown[1] == shown[2]
    assert late[0] < late[1] < late[2] == 5


# ------------------------------------------------------------------ together
@settings(max_examples=40)
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
def test_questions_searched_together_are_answered_as_if_alone(drawn: list[Any]) -> None:
    """Any strategies, depths and filters in one call do not affect each other."""
    questions = [
        WORLD.question(query, strategy, k=k, filter=wanted, seconds=seconds)
        for query, strategy, k, wanted, seconds in drawn
    ]
    together = WORLD.searcher().search(questions)
    alone = [WORLD.searcher().search([question])[0] for question in questions]
    assert [content_of(answer) for answer in together] == [content_of(answer) for answer in alone]
    assert [answer.voters for answer in together] == [answer.voters for answer in alone]


def test_questions_share_the_searches_of_a_collection() -> None:
    """One request per collection, with all vectors, as deep as the deepest question needs."""
    questions = [
        WORLD.question(QUERIES[0], "mrag", k=1),
        WORLD.question(QUERIES[2], "aspect", k=9),
        WORLD.question(QUERIES[2], "standard", k=2),
    ]
    spy = Spy(WORLD.index)
    WORLD.searcher(spy).search(questions)
    requests, _scores = spy.calls
    names = [*WORLD.record.head_collections(), WORLD.record.chunks_collection()]
    assert sorted(request.collection for request in requests) == sorted(names)
    for request in requests:
        assert isinstance(request, SearchRequest)
        assert len(request.vectors) == 2
        assert request.limit == 36


def test_questions_with_similar_time_limits_share_searches() -> None:
    """The shortest limit holds for them; a question with far more time is searched on its own."""
    index = Slow(WORLD.index, "no collection")
    questions = [WORLD.question("dog", "standard", seconds=limit) for limit in (20.0, 21.0, 60.0)]
    WORLD.searcher(index).search(questions)
    votes, scores = index.limits[:2], index.limits[2:]
    assert [round(limit) for limit in votes] == [20, 60]
    assert [round(limit) for limit in scores] == [20, 60]


def test_true_and_one_are_two_filters() -> None:
    """They are equal in Python; in one call each still gets its own answer."""
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
    kinds = [{type(document.row.metadata["x"]) for document in answer.found} for answer in answers]
    assert kinds == [{bool}, {int}, {int}]


def test_an_error_of_one_question_leaves_the_others_answered() -> None:
    """Each outcome is an answer or that question's error, in order; `search` raises the first."""
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
    """Collections with one of these endings do not answer in time."""

    def __init__(self, index: VectorIndex, *late: str) -> None:
        super().__init__(index)
        self.late = late
        self.limits: list[float] = []

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        self.limits.append(seconds)
        rankings = WORLD.index.search(requests)
        return [
            None if request.collection.endswith(self.late) else ranking
            for request, ranking in zip(requests, rankings, strict=True)
        ]


def test_a_missing_head_is_an_error_unless_allowed() -> None:
    """The error names it; fewer heads than `min_heads` is an error too."""
    index = Slow(WORLD.index, "l00_h01")
    strict = WORLD.question(QUERIES[1], seconds=5.0)
    with pytest.raises(HeadsMissing, match=r"3 of 4 heads.*l00_h01"):
        WORLD.searcher(index).search([strict])
    with pytest.raises(HeadsMissing, match="at least 4"):
        WORLD.searcher(index).search([replace(strict, min_heads=4)])
    [answer] = WORLD.searcher(index).search([replace(strict, min_heads=3)])
    assert answer.missing == ("l00_h01",)
    assert answer.voters == ("l00_h00", "l00_h02", "l00_h03", STANDARD)
    assert all(document.hit.parts.shape[0] == 4 for document in answer.found)
    assert 0 < min(index.limits) <= 5.0


def test_a_missing_head_does_not_change_the_votes_of_others() -> None:
    """Only its own votes are gone."""
    question = WORLD.question(QUERIES[0], "mrag", k=40, min_heads=1)
    [fewer] = WORLD.searcher(Slow(WORLD.index, "l00_h01")).search([question])
    [whole] = WORLD.searcher().search([question])
    assert whole.missing == ()
    parts = {document.hit.document_id: document.hit.parts for document in whole.found}
    for document in fewer.found:
        hit = document.hit
        np.testing.assert_array_equal(hit.parts, np.delete(parts[hit.document_id], 1, axis=0))


def test_a_voter_that_is_not_a_head_may_be_missing_too() -> None:
    """If fewer heads are allowed; without any voter there is an error."""
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
    """A head that is late in any search of a filter is missing."""
    index = Slow(WORLD.index, "l00_h02")
    wanted = Condition("metadata.shelf", "eq", "a")
    question = WORLD.question(QUERIES[1], filter=wanted, min_heads=2, seconds=9.0)
    [answer] = WORLD.searcher(index, filtering=WAYS[way]).search([question])
    assert answer.missing == ("l00_h02",)
    assert answer.found


# ------------------------------------------------------------------ embedding
def test_queries_are_embedded_in_one_call() -> None:
    """All windows at once, each text once; the vectors are those of queries embedded alone."""
    encoder = CountingEncoder()
    embedder = QueryEmbedder(encoder, FakeSegmenter(), SPEC)
    queries = [Query(query, name) for query in QUERIES for name in ("aspect", "mrag", "standard")]
    together = embedder.embed(queries)
    assert len(encoder.batches) == 1
    for embedded, query in zip(together, queries, strict=True):
        [alone] = embedder.embed([query])
        assert embedded.windows == alone.windows
        np.testing.assert_array_equal(embedded.embeddings.heads, alone.embeddings.heads)
        np.testing.assert_array_equal(embedded.embeddings.standard, alone.embeddings.standard)
    assert embedder.embed([]) == []


def test_an_embedded_query_survives_pickling() -> None:
    """It is sent from the process of the model to that of the index."""
    question = WORLD.question(QUERIES[1], filter=Condition("title", "eq", "t1"))
    [answer] = WORLD.searcher().search([pickle.loads(pickle.dumps(question))])
    [expected] = WORLD.searcher().search([question])
    pickled = pickle.loads(pickle.dumps(answer))
    assert content_of(pickled) == content_of(answer) == content_of(expected)


def test_given_windows_are_searched_as_they_are() -> None:
    """In their order, near-duplicates too; located in the query where it contains them."""
    embedder = QueryEmbedder(CountingEncoder(), FakeSegmenter(), SPEC)
    [embedded] = embedder.embed(
        [Query("a dog and a star", "aspect", windows=("a star", "a star ", "cake", " "))]
    )
    assert [(window.text, window.start, window.end) for window in embedded.windows] == [
        ("a star", 10, 16),
        ("a star ", 0, 16),
        ("cake", 0, 16),
    ]
    assert {window.scale for window in embedded.windows} == {"given"}


def test_the_whole_question_stays_beside_given_windows() -> None:
    """First, and once, where the strategy's windows are the question and its parts."""
    embedder = QueryEmbedder(CountingEncoder(), FakeSegmenter(), SPEC)
    windows = ("cake", "a  dog and a star", "a star")
    [embedded] = embedder.embed([Query("a dog and a star", "adaptive", windows)])
    assert [(window.text, window.scale) for window in embedded.windows] == [
        ("a dog and a star", "query"),
        ("cake", "given"),
        ("a star", "given"),
    ]


def test_given_windows_count_fully() -> None:
    """Whatever their confidence: a window about nothing in the index finds its nearest too."""
    query = Query("dog on the hill", "adaptive", ("cake", "steel sword"))
    [embedded] = QueryEmbedder(WORLD.encoder, FakeSegmenter(), SPEC).embed([query])
    plan = plan_search(Question(query, embedded, k=5), WORLD.record, SPEC)
    votes = collect_votes(plan, list(WORLD.index.search(plan.voters.requests)), 40)
    assert votes.rankings.window_weights is not None
    assert votes.rankings.window_weights.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query("dog", "mrag", ("dog",)), "windows for the strategy mrag"),
        (Query("dog", "aspect", (" ", "\n")), "windows without text"),
        (Query("dog", "fusion", (" ",)), "without sub-queries"),
        (Query(" "), "without text"),
        (Query("dog", "aspekt"), "did you mean `aspect`"),
    ],
)
def test_an_invalid_query_is_refused(query: Query, message: str) -> None:
    """Before the encoder is called."""
    encoder = CountingEncoder()
    with pytest.raises(ConfigError, match=message):
        QueryEmbedder(encoder, FakeSegmenter()).embed([query])
    assert encoder.batches == []


def test_a_retriever_takes_windows_a_filter_and_fewer_heads() -> None:
    """All in one call, in one process."""
    index = Slow(WORLD.index, "l00_h01")
    retriever = Retriever(WORLD.encoder, FakeSegmenter(), index, WORLD.record, SPEC)
    wanted = Condition("metadata.shelf", "eq", "b")
    answer = retriever.retrieve(
        "dog and star", 5, windows=("dog", "star"), filter=wanted, min_heads=3, seconds=9.0
    )
    assert [window.text for window in answer.windows] == ["dog and star", "dog", "star"]
    assert answer.missing == ("l00_h01",)
    assert {document.row.metadata["shelf"] for document in answer.found} == {"b"}
    assert set(answer.seconds) == {"windows", "encode", "search", "fetch", "vote", "score"}
