"""Which version is searched: pinned, followed, read again, and replaced without an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.filters import parse
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError, IndexUnavailable, MragError, NotReady, OutOfTime
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import SearchRequest
from mrag_pipeline.query import search
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.gated_search import search_gated
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.serving.held_version import HeldVersion
from mrag_pipeline.serving.known_version import mark_of
from mrag_pipeline.serving.live_version import (
    CACHE_TRUSTED_S,
    KEPT_S,
    REFRESH_S,
    LiveSearch,
)
from mrag_pipeline.serving.proof import PROVEN_S
from mrag_pipeline.serving.request_batch import LiveRequest
from mrag_pipeline.stages.version_collections import collections_of
from tests.support.clock import Clock
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.later import Later
from tests.support.living_index import Living, a_document
from tests.support.query_service import QUERY, TEXTS, a_living

ENCODER = FakeEncoder(num_heads=3)
MARK = mark_of(ENCODER.card)


class Watched:
    """An index that counts reads and calls a hook before the searches that vote."""

    def __init__(self, index: ExactIndex) -> None:
        self._index = index
        self.reads = 0
        self.looked_up: list[int] = []  # how many ids, call by call
        self.before_search: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def record(self, version: str) -> VersionRecord | None:
        self.reads += 1
        return self._index.record(version)

    def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
        self.looked_up.append(len(ids))
        return self._index.look_up(collection, ids, likely)

    def search_within(self, requests: Sequence[Any], seconds: float) -> Any:
        # Of vectors, and not those that score hits by id.
        if any(isinstance(one, SearchRequest) and one.among is None for one in requests):
            self.before_search()
        return self._index.search_within(requests, seconds)


class Served:
    """A living index and a search over it."""

    def __init__(self, living: Living) -> None:
        assert isinstance(living.index, ExactIndex)
        self.living = living
        self.index = Watched(living.index)
        self.clock = Clock()
        self.later = Later()
        self.live = LiveSearch(
            self.index,
            10.0,
            clock=self.clock,
            background=self.later,
        )
        self.first = living.index.live() or ""

    def may_hold(self) -> None:
        """Searches anew, and may hold vectors."""
        held = HeldVersion(self.living.index, 1e9, self.clock, self.later)
        self.live = LiveSearch(self.index, 10.0, clock=self.clock, background=self.later, held=held)

    def hold(self) -> None:
        """Has the vectors read once a search is answered, and the record read again after that."""
        self.live.warm_up()
        self.later.run()
        self.clock.now += REFRESH_S
        self.live.answer([a_search()])
        self.later.run()

    def another(self) -> str:
        """A second version, loaded and not live."""
        living = self.living
        living.items = [*living.items, a_document(99)]
        living.ingest()
        second = living.index.live()
        assert second
        assert second != self.first
        living.index.activate(self.first)
        return second

    def drop(self, version: str) -> None:
        record = self.living.index.record(version)
        assert record is not None
        for name in (*record.head_collections(), record.chunks_collection()):
            self.living.index.drop(name)
        self.living.index.drop_record(version)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(a_living(tmp_path))


def a_search(*queries: str, mark: str = MARK, deadline: float = 1e9, k: int = 2) -> LiveRequest:
    asked = [Query(query) for query in queries or (QUERY,)]
    embedded = QueryEmbedder(ENCODER, FakeSegmenter()).embed(asked)
    questions = tuple(Question(a, e, k) for a, e in zip(asked, embedded, strict=True))
    return LiveRequest(questions, mark, deadline)


def answers(outcome: list[Answer] | MragError) -> list[Answer]:
    assert not isinstance(outcome, MragError), outcome
    return outcome


def versions(outcomes: Sequence[list[Answer] | MragError]) -> set[str]:
    return {answer.version for outcome in outcomes for answer in answers(outcome)}


# ------------------------------------------------------------------ following
def test_all_of_a_batch_are_answered_from_the_live_version(served: Served) -> None:
    """Each request its own answers, in order."""
    outcomes = served.live.answer([a_search(QUERY), a_search("butter cake", "river reed")])
    assert [len(answers(outcome)) for outcome in outcomes] == [1, 2]
    assert answers(outcomes[1])[0].documents()[0] == "cake"
    assert answers(outcomes[1])[1].documents()[0] == "reed"
    assert versions(outcomes) == {served.first}


def test_a_flip_is_followed_by_the_next_batch(served: Served) -> None:
    """The alias is resolved every time; nothing has to expire."""
    served.live.answer([a_search()])
    second = served.another()
    served.living.index.activate(second)
    assert versions(served.live.answer([a_search()])) == {second}
    served.living.index.activate(served.first)
    assert versions(served.live.answer([a_search()])) == {served.first}


def test_a_flip_while_searching_mixes_nothing(served: Served) -> None:
    """A batch ends on the version that it began on."""
    second = served.another()
    served.index.before_search = lambda: served.living.index.activate(second)
    outcomes = served.live.answer([a_search(), a_search("butter cake")])
    assert versions(outcomes) == {served.first}


def test_a_pin_holds_against_the_alias_until_it_is_taken_away(served: Served) -> None:
    """As the user_config's `version` says."""
    second = served.another()
    served.live.pin(second)
    assert versions(served.live.answer([a_search()])) == {second}
    served.live.pin(None)
    assert versions(served.live.answer([a_search()])) == {served.first}


def test_a_pin_to_no_version_is_said(served: Served) -> None:
    """It is an error; the live version is not searched instead."""
    served.live.pin("v000000000000")
    [outcome] = served.live.answer([a_search()])
    assert isinstance(outcome, NotReady)
    assert "v000000000000" in outcome.found
    assert "v000000000000" in served.live.state().reason


# ------------------------------------------------------------------ dropped under us
def test_a_version_dropped_between_resolving_and_searching_costs_nobody_an_answer(
    served: Served,
) -> None:
    """Its requests are searched once more, in the version that replaced it."""
    second = served.another()

    def pull_away() -> None:
        served.index.before_search = lambda: None
        served.living.index.activate(second)
        served.drop(served.first)

    served.index.before_search = pull_away
    outcomes = served.live.answer([a_search(), a_search("butter cake", "river reed")])
    assert versions(outcomes) == {second}


def test_it_is_tried_once_more_and_no_more(served: Served) -> None:
    """An index that fails whatever is live gives its error, after two tries."""
    second = served.another()
    tries = []

    def fail() -> None:
        tries.append(1)
        served.living.index.activate(second)
        raise IndexUnavailable("no answer")

    served.index.before_search = fail
    [outcome] = served.live.answer([a_search()])
    assert isinstance(outcome, IndexUnavailable)
    assert len(tries) == 2


def test_an_error_of_the_caller_is_not_asked_again(served: Served) -> None:
    """It is not retried; the others of the batch have their answers."""
    second = served.another()
    tries = []

    def flip() -> None:
        tries.append(1)
        served.living.index.activate(second)

    served.index.before_search = flip
    wrong, right = served.live.answer([a_search(k=0), a_search()])
    assert isinstance(wrong, ConfigError)
    assert versions([right]) == {served.first}
    assert len(tries) == 1


def test_an_index_that_fails_and_has_not_moved_on_is_not_asked_again(served: Served) -> None:
    """The adapter owns that retry."""
    tries = []

    def fail() -> None:
        tries.append(1)
        raise IndexUnavailable("no answer")

    served.index.before_search = fail
    [outcome] = served.live.answer([a_search()])
    assert isinstance(outcome, IndexUnavailable)
    assert len(tries) == 1


# ------------------------------------------------------------------ the record
def test_a_record_is_read_again_at_most_once_a_second_and_never_waited_for(
    served: Served,
) -> None:
    """A sync's importance arrives; questions meanwhile are answered with what is known."""
    served.live.answer([a_search()])
    served.live.answer([a_search()])
    assert served.index.reads == 1
    record = served.living.index.record(served.first)
    assert record is not None
    served.living.index.write_record(replace(record, num_documents=77))
    served.clock.now += REFRESH_S
    served.live.answer([a_search()])
    served.live.answer([a_search()])
    assert (served.index.reads, len(served.later.waiting)) == (1, 1)
    assert _documents(served) == len(TEXTS)
    served.later.run()
    assert served.index.reads == 2
    assert _documents(served) == 77


def test_other_importance_gives_other_votes(served: Served) -> None:
    """The searcher is bound to the fresh record, not only shown it."""
    [before] = served.live.answer([a_search()])
    record = served.living.index.record(served.first)
    assert record is not None
    doubled = replace(record.sums, norm_sum=record.sums.norm_sum * [1.0, 2.0, 3.0])
    served.living.index.write_record(replace(record, sums=doubled))
    served.clock.now += REFRESH_S
    served.live.state()
    served.later.run()
    [after] = served.live.answer([a_search()])
    votes = [answers(one)[0].found[0].hit.parts.sum(axis=1) for one in (before, after)]
    assert not np.allclose(votes[0] / votes[0].sum(), votes[1] / votes[1].sum())


def test_an_index_that_does_not_answer_costs_the_refresh_and_not_the_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record stays as it was, and is not asked for again at once."""
    served.live.answer([a_search()])
    served.clock.now += REFRESH_S

    def fails(version: str) -> None:
        raise IndexUnavailable("no answer")

    monkeypatch.setattr(served.index, "record", fails)
    served.live.answer([a_search()])
    served.later.run()
    assert versions(served.live.answer([a_search()])) == {served.first}
    assert served.later.waiting == []


def test_a_record_that_cannot_be_read_is_not_trusted_for_long(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed read makes it no younger: a sync may have begun, so documents are read."""
    served.live.answer([a_search()])

    def fails(version: str) -> None:
        raise IndexUnavailable("no answer")

    monkeypatch.setattr(served.index, "record", fails)
    began = served.clock.now
    while served.clock.now <= began + CACHE_TRUSTED_S:
        served.clock.now += REFRESH_S
        served.live.answer([a_search()])
        served.later.run()
    before = len(served.index.looked_up)
    served.live.answer([a_search()])
    assert served.index.looked_up[before] > 0


# ------------------------------------------------------------------ who is refused
def test_an_encoder_that_did_not_build_the_version_is_refused(served: Served) -> None:
    """By the mark that travels with the vectors: replicas of two encoders may be mixed."""
    other, right = served.live.answer([a_search(mark="another"), a_search()])
    assert isinstance(other, NotReady)
    assert "another encoder" in other.found
    assert versions([right]) == {served.first}
    assert served.live.state().mark == MARK


def test_marks_tell_encoders_apart_and_not_their_places() -> None:
    """The same weights elsewhere are the same encoder."""
    card = ENCODER.card
    assert mark_of(replace(card, weights_hash="0" * 64)) != MARK
    assert mark_of(replace(card, int8="0" * 32)) != MARK
    assert mark_of(replace(card, pooling="mean" if card.pooling != "mean" else "cls")) != MARK
    assert mark_of(replace(card, spec=replace(card.spec, model="elsewhere/else"))) == MARK


def test_a_request_whose_time_is_over_is_not_searched(served: Served) -> None:
    """It waited too long for its turn; its neighbour is answered."""
    now = served.clock.now
    late, right = served.live.answer([a_search(deadline=now), a_search(deadline=now + 1.0)])
    assert isinstance(late, OutOfTime)
    assert versions([right]) == {served.first}


def test_an_empty_index_says_what_to_do(tmp_path: Path) -> None:
    """Not ready, with the command that helps."""
    live = LiveSearch(ExactIndex("docs"), 10.0, background=Later())
    [outcome] = live.answer([a_search()])
    assert isinstance(outcome, NotReady)
    assert "mrag ingest" in outcome.fix
    state = live.state()
    assert (state.record, state.mark) == (None, "")
    assert "no live version" in state.reason


def test_where_a_silent_index_is_stays_in_the_log() -> None:
    """Readiness needs no key."""

    class Silent(ExactIndex):
        def live(self) -> str | None:
            raise IndexUnavailable("no answer from http://10.1.2.3:19530")

    state = LiveSearch(Silent("docs"), 10.0, background=Later()).state()
    assert state.record is None
    assert state.reason == "the index does not answer"


# ------------------------------------------------------------------ readiness
def test_a_version_that_gives_no_answer_is_not_ready(served: Served) -> None:
    """Resolving the alias proves nothing: a restarted Milvus has released every collection."""
    assert served.live.state().reason == ""

    def released() -> None:
        raise IndexUnavailable("collection not loaded at http://10.1.2.3:19530")

    served.index.before_search = released
    served.clock.now += PROVEN_S + 0.1
    state = served.live.state()
    assert (state.reason, state.record is None) == ("the index does not answer", False)
    served.index.before_search = lambda: None
    assert served.live.state().reason == ""


def test_a_question_without_an_answer_is_looked_into_at_once(served: Served) -> None:
    """Readiness then does not count on what was answered before."""
    assert served.live.state().reason == ""

    def released() -> None:
        raise IndexUnavailable("released")

    served.index.before_search = released
    [outcome] = served.live.answer([a_search()])
    assert isinstance(outcome, IndexUnavailable)
    assert served.live.state().reason == "the index does not answer"


def test_while_questions_are_answered_readiness_searches_nothing(served: Served) -> None:
    """Each answer proves it for some seconds."""
    served.live.answer([a_search()])
    searches: list[int] = []
    served.index.before_search = lambda: searches.append(1)
    assert served.live.state().reason == ""
    assert searches == []
    served.clock.now += PROVEN_S + 0.1
    assert served.live.state().reason == ""
    assert searches == [1]


# ------------------------------------------------------------------ chunks
def test_a_chunk_is_the_live_versions_and_only_whose_may_see_it(served: Served) -> None:
    """A filter that it does not match hides it."""
    [outcome] = served.live.answer([a_search("butter cake")])
    row = answers(outcome)[0].found[0].row
    theirs = parse({"field": "metadata.owner.name", "op": "eq", "value": "umbrella"})
    others = parse({"field": "metadata.owner.name", "op": "eq", "value": "acme"})
    assert served.live.chunk(row.id, None) == row
    assert served.live.chunk(row.id, theirs) == row
    assert served.live.chunk(row.id, others) is None
    assert served.live.chunk(1, None) is None


def _documents(served: Served) -> int:
    record = served.live.state().record
    assert record is not None
    return record.num_documents


# ------------------------------------------------------------------ documents, remembered
def test_documents_are_read_once_while_nothing_changes(served: Served) -> None:
    """The same question asked again reads rows of winners alone, and is answered the same."""
    first = answers(served.live.answer([a_search()])[0])
    served.clock.now += REFRESH_S / 2
    again = answers(served.live.answer([a_search()])[0])
    assert served.index.looked_up[0] > 0
    assert served.index.looked_up[1:] == [0]
    assert [one.documents() for one in again] == [one.documents() for one in first]


@pytest.mark.parametrize("change", [{"pending": "x"}, {"syncs": 1}, {"repairs": 1}, {"repairs": 2}])
def test_a_sync_or_a_repair_has_them_read_again(served: Served, change: dict[str, Any]) -> None:
    """From when its record is seen: while it is under way each time, after it once."""
    served.live.answer([a_search()])
    record = served.living.index.record(served.first)
    assert record is not None
    served.living.index.write_record(replace(record, **change))
    served.clock.now += REFRESH_S
    served.live.answer([a_search()])
    served.later.run()
    served.index.looked_up.clear()
    served.live.answer([a_search()])
    served.live.answer([a_search()])
    is_under_way = change in ({"pending": "x"}, {"repairs": 1})
    wanted = [True, True] if is_under_way else [True, False]
    assert [bool(count) for count in served.index.looked_up] == wanted


def test_a_record_that_is_not_fresh_has_them_read(served: Served) -> None:
    """After a pause it is not known yet whether a sync has begun."""
    served.live.answer([a_search()])
    served.clock.now += CACHE_TRUSTED_S + 0.1
    served.live.answer([a_search()])
    assert served.index.looked_up[1] > 0
    served.later.run()
    served.live.answer([a_search()])
    assert served.index.looked_up[2] == 0


def test_held_vectors_are_searched_in_place_of_the_index(served: Served) -> None:
    """Once they are read and the record is read again; the answers are the same."""
    served.may_hold()
    searches: list[int] = []
    served.index.before_search = lambda: searches.append(1)
    before = answers(served.live.answer([a_search()])[0])
    assert searches == [1]
    served.hold()
    searches.clear()
    after = answers(served.live.answer([a_search()])[0])
    assert searches == []
    assert [one.documents() for one in after] == [one.documents() for one in before]
    assert after[0].voters == before[0].voters
    assert after[0].missing == ()


def test_only_in_memory_are_windows_that_do_not_count_left_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is asked for everything in one call."""
    gated: list[int] = []

    def counted(*arguments: Any) -> Any:
        gated.append(1)
        return search_gated(*arguments)

    monkeypatch.setattr(search, "search_gated", counted)
    served.may_hold()
    served.live.answer([a_search()])
    assert gated == []
    served.hold()
    gated.clear()
    served.live.answer([a_search()])
    assert gated == [1]


def test_vectors_are_read_once_a_search_has_loaded_the_collections(served: Served) -> None:
    """Milvus Lite's server loses the load of a collection that is opened twice at a time.

    A question may search some of them only; so each version is searched as a whole first.
    """
    served.may_hold()

    def refreshed() -> int:
        served.live.chunk(1, None)
        served.clock.now += REFRESH_S
        served.live.chunk(1, None)
        served.later.run()  # the record is read again
        return len(served.later.waiting)  # whether vectors are about to be read

    def released() -> None:
        raise IndexUnavailable("collection not loaded")

    served.index.before_search = released
    reads = served.index.reads
    assert refreshed() == 0
    assert served.index.reads == reads + 2  # the record is read nevertheless
    searches: list[int] = []
    served.index.before_search = lambda: searches.append(len(served.later.waiting))
    assert refreshed() == 1
    assert searches == [0]
    served.later.run()
    served.living.index.activate(served.another())
    assert refreshed() == 1
    assert searches == [0, 0]


def test_held_answers_do_not_prove_that_the_index_can_search(served: Served) -> None:
    """Readiness searches it: it may have released every collection."""
    served.may_hold()
    served.hold()

    def released() -> None:
        raise IndexUnavailable("collection not loaded")

    served.index.before_search = released
    served.clock.now += PROVEN_S + 0.1
    served.live.keep_fresh()
    [outcome] = served.live.answer([a_search()])
    assert answers(outcome)
    assert served.live.state().reason == "the index does not answer"


def test_a_closed_search_reads_no_record(served: Served) -> None:
    """A batch that is searched while the service stops is answered."""
    served.live.answer([a_search()])
    served.live.close()
    served.clock.now += REFRESH_S
    [outcome] = served.live.answer([a_search()])
    assert answers(outcome)
    served.live.keep_fresh()
    assert served.later.waiting == []
    assert served.index.reads == 1


def test_the_record_is_kept_fresh_for_a_while_after_a_question(served: Served) -> None:
    """Once a second at most; not before the first question, nor long after the last one."""
    served.live.keep_fresh()
    assert served.index.reads == 0
    served.live.answer([a_search()])
    assert served.index.reads == 1
    served.live.keep_fresh()
    assert served.index.reads == 1
    for reads in (2, 3):
        served.clock.now += REFRESH_S
        served.live.keep_fresh()
        served.live.keep_fresh()
        assert served.index.reads == reads
    served.clock.now += KEPT_S
    served.live.keep_fresh()
    assert served.index.reads == 3


def test_a_record_that_is_too_old_has_the_index_searched(served: Served) -> None:
    """A sync may have begun since: held vectors are trusted no longer than cached documents."""
    served.may_hold()
    served.hold()
    searches: list[int] = []
    served.index.before_search = lambda: searches.append(1)
    served.clock.now += CACHE_TRUSTED_S + 0.1
    served.live.answer([a_search()])
    assert searches == [1]


def test_a_row_that_has_gone_is_never_shown_though_its_document_is_remembered(
    served: Served,
) -> None:
    """The next document takes its place."""
    [before] = answers(served.live.answer([a_search(k=3)])[0])
    gone = before.found[0]
    record = served.living.index.record(served.first)
    assert record is not None
    *_, chunks = collections_of(record)
    served.living.index.delete(chunks.name, [gone.row.id])
    [after] = answers(served.live.answer([a_search(k=3)])[0])
    assert served.index.looked_up[1] == 0
    assert gone.row.id not in {one.row.id for one in after.found}
    expected = Searcher(served.living.index, record).search(
        [replace(one, seconds=None) for one in a_search(k=3).questions]
    )
    assert [one.row for one in after.found] == [one.row for one in expected[0].found]
