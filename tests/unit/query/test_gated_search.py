"""Vectors in memory: windows that do not count are not searched, and no answer changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain.filters import Condition, Filter
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.domain.vote_spec import LEXICAL
from mrag_pipeline.errors import HeadsMissing
from mrag_pipeline.ports import AnySearchRequest, Ranking, TextSearchRequest
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.held_vectors import HeldIndex, HeldVectors
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.settings.retrieve import VoteConstants
from tests.support.fake_encoder import FakeSegmenter
from tests.support.query_world import QUERIES, SPEC, WAYS, WORDS, WORLD, World, random_chunks

LONG = ". ".join(" ".join(WORDS[row : row + 2] * 6) for row in range(0, 12, 2))  # 72 words
MANY = "the sheep dog, the carbon star and the flute of reed"
SPECS = {
    "the gate decides": SPEC,
    "each window counts": replace(SPEC, vote=VoteConstants(caution=-1.0)),
    "only the whole question counts": replace(SPEC, vote=VoteConstants(caution=1.0)),
}
ALL_ROWS = World(random_chunks())  # no row is deleted, or its vectors could not be held
HELD = HeldVectors.read(ALL_ROWS.index, ALL_ROWS.record)


@dataclass(frozen=True)
class Drawn:
    """A question of some caller; `far`: its windows that no chunk is near to."""

    text: str
    strategy: str
    k: int
    wanted: Filter | None
    seconds: float | None
    passages: bool
    scores: bool
    windows: tuple[str, ...]
    far: frozenset[int]
    silent: str  # a kind of voter that is not searched; "": each is

    def question(self, world: World) -> Question:
        """The question, embedded."""
        windows = self.windows if self.strategy == "adaptive" else ()
        if STRATEGIES[self.strategy].windows == "sub-queries":
            windows = ("a star", "river reed")
        voters = {self.silent: 0.0} if self.silent and self.strategy == "adaptive" else {}
        query = Query(self.text, self.strategy, windows, voters)
        [embedded] = QueryEmbedder(world.encoder, FakeSegmenter(), SPEC).embed([query])
        standard = embedded.embeddings.standard.copy()
        mean = world.made.standard.mean(axis=0)
        for window in self.far & set(range(1, len(standard))):
            standard[window] = -mean / np.linalg.norm(mean)
        return Question(
            query,
            replace(embedded, embeddings=replace(embedded.embeddings, standard=standard)),
            self.k,
            filter=self.wanted,
            seconds=self.seconds,
            passages=self.passages,
            scores=self.scores,
        )


questions = st.builds(
    Drawn,
    text=st.sampled_from([*QUERIES, LONG, MANY]),
    strategy=st.sampled_from(["adaptive"] * len(STRATEGIES) + sorted(STRATEGIES)),
    k=st.integers(1, 12),
    wanted=st.none()
    | st.sampled_from(
        [
            Condition("metadata.shelf", "eq", "a"),
            Condition("metadata.year", "ge", 2005),
            Condition("metadata.none", "exists"),
        ]
    ),
    seconds=st.sampled_from([None, 60.0, 200.0]),
    passages=st.booleans(),
    scores=st.booleans(),
    windows=st.sampled_from([(), (), (), ("a star", "cake")]),
    far=st.frozensets(st.integers(1, 5)),
    silent=st.sampled_from(["", "", "heads", "standard", "lexical"]),
)


def content_of(answer: Answer) -> list[Any]:
    """All of an answer but its times, and the shares: sums that are added up in another order."""
    shown = [
        (hit.document_id, hit.chunk_ids, hit.vote, hit.added, hit.parts.tolist())
        for hit in (found.hit for found in answer.found)
    ]
    scored = [
        (found.row, found.passages, found.cosine, found.bm25, found.answered)
        for found in answer.found
    ]
    rest = (answer.voters, answer.missing, answer.windows, answer.aspects, answer.warnings)
    return [shown, scored, rest]


def shares_of(answer: Answer) -> list[float]:
    return [found.hit.share for found in answer.found]


class Counted:
    """An index that counts the queries of each collection, and calls."""

    def __init__(self, world: World) -> None:
        self._index = world.index
        self.num_queries: dict[str, int] = {}
        self.num_calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        self.num_calls += 1
        for request in requests:
            known = self.num_queries.get(request.collection, 0)
            self.num_queries[request.collection] = known + request.num_queries
        return self._index.search(requests)


# ------------------------------------------------------------------ what is found
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=40)
@given(drawn=st.lists(questions, min_size=1, max_size=4))
def test_answers_are_the_same_with_and_without(way: str, spec: str, drawn: list[Drawn]) -> None:
    """Whatever callers ask together, by any strategy, filter, limit and choice of voters."""
    asked = [one.question(WORLD) for one in drawn]
    plain = WORLD.searcher(spec=SPECS[spec], filtering=WAYS[way]).search(asked)
    gated = WORLD.searcher(spec=SPECS[spec], filtering=WAYS[way], is_held=True).search(asked)
    assert [content_of(answer) for answer in gated] == [content_of(answer) for answer in plain]
    for ours, theirs in zip(gated, plain, strict=True):
        assert shares_of(ours) == pytest.approx(shares_of(theirs), rel=1e-12)


@settings(max_examples=40)
@given(drawn=st.lists(questions, min_size=1, max_size=4))
def test_answers_from_memory_are_the_same(drawn: list[Drawn]) -> None:
    """The same with the vectors as a service holds them."""
    assert HELD is not None
    asked = [one.question(ALL_ROWS) for one in drawn]
    index = HeldIndex(ALL_ROWS.index, HELD)
    plain = ALL_ROWS.searcher(index).search(asked)
    gated = ALL_ROWS.searcher(index, is_held=True).search(asked)
    for ours, theirs in zip(gated, plain, strict=True):
        assert ours.documents() == theirs.documents()
        votes = [found.hit.vote for found in theirs.found]
        assert [found.hit.vote for found in ours.found] == pytest.approx(votes, rel=1e-5)


# ------------------------------------------------------------------ what is searched
def queries_of(drawn: Drawn, caution: float, is_held: bool = True) -> tuple[list[int], int]:
    """How many queries heads, the standard vector and words got for the votes; and the calls."""
    index = Counted(WORLD)
    spec = replace(SPEC, vote=VoteConstants(caution=caution))
    question = replace(drawn.question(WORLD), scores=False)
    WORLD.searcher(index, spec, is_held=is_held).search([question])
    record, asked = WORLD.record, index.num_queries
    heads = {asked[collection] for collection in record.head_collections()}
    assert len(heads) == 1
    others = (record.chunks_collection(), str(record.lexical_collection()))
    return [*heads, *(asked[collection] for collection in others)], index.num_calls


PLAIN = Drawn(MANY, "adaptive", 5, None, None, False, False, (), frozenset(), "")
NUM_WINDOWS = len(PLAIN.question(WORLD).embedded.windows)


def test_windows_that_do_not_count_are_searched_by_the_standard_vector_alone() -> None:
    """All that count are searched as ever; of those that do not, the whole question remains."""
    assert NUM_WINDOWS > 2
    assert queries_of(PLAIN, caution=-1.0)[0] == [NUM_WINDOWS] * 3
    assert queries_of(PLAIN, caution=1.0)[0] == [1, NUM_WINDOWS, 1]


def test_of_a_long_question_each_window_counts_for_itself() -> None:
    """Those that no chunk is near to are not searched."""
    long = replace(PLAIN, text=LONG)
    num_windows = len(long.question(WORLD).embedded.windows)
    few, _ = queries_of(replace(long, far=frozenset({2, 3})), caution=-1.0)
    assert few == [num_windows - 2, num_windows, num_windows - 2]


def test_where_few_chunks_match_a_filter_it_is_the_same() -> None:
    """Tenants have one in every question."""
    filtered = replace(PLAIN, wanted=Condition("metadata.shelf", "eq", "a"))
    assert queries_of(filtered, caution=1.0)[0] == [1, NUM_WINDOWS, 1]


def test_windows_whose_passages_are_wanted_are_all_searched() -> None:
    """The voters choose them."""
    assert queries_of(replace(PLAIN, passages=True), 1.0)[0] == [NUM_WINDOWS] * 3


def test_given_windows_are_all_searched() -> None:
    """The caller means each of them."""
    assert queries_of(replace(PLAIN, windows=("a star", "cake")), 1.0)[0] == [3] * 3


def test_a_store_is_asked_for_everything_in_one_call() -> None:
    """A second call would cost it more than the searches that it saves."""
    assert queries_of(PLAIN, caution=1.0, is_held=False) == ([NUM_WINDOWS] * 3, 1)
    assert queries_of(PLAIN, caution=1.0) == ([1, NUM_WINDOWS, 1], 2)


def test_words_that_do_not_answer_in_time_are_missing() -> None:
    """As ever: they are the one voter that memory does not hold."""

    class Silent(Counted):
        def search_within(
            self, requests: Sequence[AnySearchRequest], seconds: float
        ) -> list[Ranking | None]:
            return [
                None if isinstance(request, TextSearchRequest) else ranking
                for request, ranking in zip(requests, self.search(requests), strict=True)
            ]

    question = PLAIN.question(WORLD)
    searcher = WORLD.searcher(Silent(WORLD), is_held=True)
    [answer] = searcher.search([replace(question, min_heads=4)])
    assert answer.missing == (LEXICAL,)
    assert answer.found
    with pytest.raises(HeadsMissing):
        searcher.search([replace(question, seconds=9.0)])
