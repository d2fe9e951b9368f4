"""When a version's vectors are held, and when they are let go."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.ports import CollectionSpec, IndexCapabilities, SearchRequest
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.held_vectors import HeldVectors, held_bytes
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.serving.held_version import CHECKED_S, REST, HeldVersion
from mrag_pipeline.serving.known_version import mark_of
from mrag_pipeline.serving.parts.head_search import HeadSearch
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.clock import Clock
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.fake_staging import table_of
from tests.support.later import Later
from tests.support.living_index import Living, repaired
from tests.support.query_service import QUERY, a_living


class Index:
    """A living index; hooks run while vectors are read and rows are counted."""

    def __init__(self, living: Living) -> None:
        self._index = living.index
        self.meanwhile: Callable[[], None] = lambda: None
        self.before_count: Callable[[], None] = lambda: None
        self.reads = 0
        self.searches = 0  # of vectors
        self.is_shared = True  # a server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def vector_blocks(self, collection: Any) -> Any:
        self.reads += 1
        yield from self._index.vector_blocks(collection)
        self.meanwhile()

    def count(self, collection: str) -> int:
        self.before_count()
        return self._index.count(collection)

    def search_within(self, requests: Any, seconds: float) -> Any:
        self.searches += sum(isinstance(request, SearchRequest) for request in requests)
        return self._index.search_within(requests, seconds)


class Weak(Index):
    """As a server at level Bounded: what is held may be used."""

    def capabilities(self) -> IndexCapabilities:
        return replace(self._index.capabilities(), is_shared=self.is_shared, has_strong_reads=False)


class World:
    """A live version and what holds its vectors."""

    def __init__(self, folder: Path) -> None:
        self.living = a_living(folder)
        self.index = Index(self.living)
        self.clock, self.later = Clock(), Later()
        self.held = self.holder(1e9)

    def read(self) -> HeldVectors | None:
        """What is held once the background has had its time."""
        self.held.vectors(self.record)
        self.later.run()
        return self.held.vectors(self.record)

    def after(self, seconds: float) -> HeldVectors | None:
        """What is used so much later, before the background has had its time."""
        self.clock.now += seconds
        return self.held.vectors(self.record)

    def lose_a_row(self, collection: str) -> None:
        [ids] = self.living.index.ids(collection)
        self.living.index.delete(collection, ids[:1].tolist())

    def holder(self, max_bytes: float) -> HeldVersion:
        return HeldVersion(self.index, max_bytes, self.clock, self.later)

    @property
    def record(self) -> VersionRecord:
        record = self.living.index.record(self.living.index.live() or "")
        assert record is not None
        return record


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_question_does_not_wait(world: World) -> None:
    """They are read meanwhile, once, and are there afterwards."""
    assert world.held.vectors(world.record) is None
    assert world.held.vectors(world.record) is None
    assert len(world.later.waiting) == 1
    world.later.run()
    vectors = world.held.vectors(world.record)
    assert vectors is not None
    assert world.record.chunks_collection() in vectors
    assert all(head in vectors for head in world.record.head_collections())
    assert world.later.waiting == []


def test_a_version_that_is_too_large_is_left_to_the_index(world: World) -> None:
    """By one byte; nothing is read."""
    size = held_bytes(world.record)
    for max_bytes, is_read in ((0, False), (size - 1, False), (size, True)):
        world.later.waiting.clear()
        world.holder(max_bytes).vectors(world.record)
        assert bool(world.later.waiting) is is_read


def test_a_sync_lets_go_of_them_before_it_changes_a_row(world: World) -> None:
    """While it is pending none are used or read; afterwards they are read again."""
    world.held.vectors(world.record)
    world.later.run()
    pending = replace(world.record, pending="sync")
    assert world.held.vectors(pending) is None
    assert world.later.waiting == []
    world.living.items = world.living.items[1:]
    world.living.sync()
    assert world.held.vectors(world.record) is None
    world.later.run()
    assert world.held.vectors(world.record) is not None


def test_what_was_read_while_a_sync_ran_is_thrown_away(world: World) -> None:
    """Rows of before and after it would be mixed."""

    def sync() -> None:
        world.index.meanwhile = lambda: None
        world.living.items = world.living.items[1:]
        world.living.sync()

    before = world.record
    world.index.meanwhile = sync
    world.held.vectors(before)
    world.later.run()
    assert world.held.vectors(before) is None


def test_what_a_repair_restored_is_read_again(world: World) -> None:
    """A wrong vector, where every number of rows stays as it was."""
    right = world.read()
    assert right is not None
    record = world.record
    head = CollectionSpec(record.head_collections()[0], "head", record.encoder.head_dim)
    [(ids, vectors)] = world.living.index.vector_blocks(head)
    query = SearchRequest(head.name, vectors[:1], 1)
    world.living.index.upsert(head, table_of(ids[:1].tolist(), -vectors[:1]))
    world.held = world.holder(1e9)
    wrong = world.read()
    assert wrong is not None
    assert wrong.search(query).ids[0, 0] != ids[0]
    assert repaired(world.living).restored == 1
    mended = world.read()
    assert mended is not None
    assert mended.search(query).ids[0, 0] == right.search(query).ids[0, 0] == ids[0]


def test_nothing_is_held_while_a_repair_changes_rows(world: World) -> None:
    """Also if it was cut short; the first change comes after the record says so."""
    assert world.read() is not None
    seen: list[object] = []
    delete = world.living.index.delete

    def seen_then_deleted(collection: str, ids: Any) -> None:
        seen.append(world.read())
        delete(collection, ids)

    world.lose_a_row(world.record.head_collections()[0])
    world.living.index.delete = seen_then_deleted  # type: ignore[method-assign]
    assert repaired(world.living, with_staging=False).removed
    assert seen
    assert set(seen) == {None}
    assert world.later.waiting == []
    assert world.read() is not None


def test_the_rows_are_counted_once_a_minute_and_read_once(world: World) -> None:
    """While they are as many as the record says."""
    vectors, reads = world.read(), world.index.reads
    counts: list[int] = []
    world.index.before_count = lambda: counts.append(1)
    assert world.after(CHECKED_S - 1) is vectors
    assert world.later.waiting == []
    assert world.after(1) is vectors
    world.later.run()
    assert len(counts) == len(world.record.head_collections()) + 1
    assert world.held.vectors(world.record) is vectors
    assert world.index.reads == reads


@pytest.mark.parametrize("is_held_before", [True, False])
def test_a_version_that_lost_rows_is_left_to_the_index(
    world: World, caplog: pytest.LogCaptureFixture, is_held_before: bool
) -> None:
    """It is counted each minute and not read; once it is whole, it is."""
    if is_held_before:
        assert world.read() is not None
        world.clock.now += CHECKED_S
    reads, head = world.index.reads, world.record.head_collections()[0]
    world.lose_a_row(head)
    assert world.read() is None
    assert f"{head} has" in caplog.text
    world.clock.now += CHECKED_S
    assert world.read() is None
    assert world.index.reads == reads
    repaired(world.living)
    assert world.read() is not None


def test_a_failed_count_keeps_the_vectors(world: World) -> None:
    """They are used for two minutes after the last count, and when one succeeds; not read again."""
    vectors, reads = world.read(), world.index.reads

    def fail() -> None:
        raise IndexUnavailable("no answer")

    world.index.before_count = fail
    assert world.after(CHECKED_S) is vectors
    world.later.run()
    assert world.held.vectors(world.record) is vectors
    assert world.later.waiting == []
    for _ in range(2):
        assert world.after(CHECKED_S) is None
        world.later.run()
    world.index.before_count = lambda: None
    assert world.after(CHECKED_S) is None
    world.later.run()
    assert world.held.vectors(world.record) is vectors
    assert world.index.reads == reads


def test_vectors_that_were_not_checked_for_long_are_not_used(world: World) -> None:
    """After a long pause it is not known whether rows were lost; they are counted meanwhile."""
    vectors = world.read()
    assert world.after(2 * CHECKED_S) is None
    world.later.run()
    assert world.held.vectors(world.record) is vectors


@pytest.mark.parametrize("change", [{"num_chunks": 10**9}, {"pending": "sync"}, {"repairs": 1}])
def test_memory_is_given_back_when_they_are_not_used(world: World, change: dict[str, Any]) -> None:
    """The version has become too large, or its rows are being changed."""
    vectors = world.read()
    assert vectors is not None
    kept = weakref.ref(vectors)
    del vectors
    assert world.held.vectors(replace(world.record, **change)) is None
    gc.collect()
    assert kept() is None


def test_old_vectors_are_given_back_before_new_ones_are_read(world: World) -> None:
    """Memory never holds both."""
    vectors = world.read()
    assert vectors is not None
    kept = weakref.ref(vectors)
    del vectors
    seen: list[object] = []

    def look() -> None:
        gc.collect()
        seen.append(kept())

    world.index.meanwhile = look
    world.living.items = world.living.items[1:]
    world.living.sync()
    assert world.read() is not None
    assert set(seen) == {None}


def test_after_a_read_the_next_one_waits_for_ten_times_as_long(world: World) -> None:
    """A version that is synced all the time is left to the index."""

    def take_time() -> None:
        world.clock.now += 1.0

    world.index.meanwhile = take_time
    began = world.clock.now
    assert world.read() is not None
    rest = REST * (world.clock.now - began)
    world.living.items = world.living.items[1:]
    world.living.sync()
    assert world.read() is None
    assert world.after(rest - 1.0) is None
    assert world.later.waiting == []
    world.clock.now += 1.0
    assert world.read() is not None


def test_an_unforeseen_error_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """And the version is tried again later."""

    def fail() -> None:
        raise RuntimeError("unforeseen")

    world.index.meanwhile = fail
    assert world.read() is None
    assert "unforeseen" in caplog.text
    world.index.meanwhile = lambda: None
    world.clock.now += CHECKED_S
    assert world.read() is not None


def test_nothing_is_read_once_it_is_closed(world: World) -> None:
    """Nor raised at a question that is still under way."""
    held = HeldVersion(world.index, 1e9, world.clock)
    held.close()
    assert held.vectors(world.record) is None
    assert world.index.reads == 0


def test_a_read_ends_when_it_is_closed(world: World) -> None:
    """Before the next collection: a process that ends does not wait for all of them."""
    world.index.meanwhile = world.held.close
    assert world.read() is None
    assert world.index.reads == 2  # the second one stops at its first block


def test_a_read_pauses_between_blocks_for_searches_of_the_same_process(world: World) -> None:
    """As long as it was told to, measured by what each block took; closing it ends a pause."""
    world.index.meanwhile = lambda: time.sleep(0.05)
    held = HeldVersion(world.index, 1e9, background=world.later, pauses=3.0)
    held.vectors(world.record)
    began = time.monotonic()
    world.later.run()
    assert held.vectors(world.record) is not None
    assert time.monotonic() - began > world.index.reads * 0.05 * 2
    closing = HeldVersion(world.index, 1e9, background=world.later, pauses=1e6)
    closing.vectors(world.record)
    threading.Timer(0.2, closing.close).start()
    world.later.run()
    assert closing.vectors(world.record) is None


def test_an_index_that_cannot_be_read_is_tried_again_later(world: World) -> None:
    """Not with every question."""

    def fail() -> None:
        raise IndexUnavailable("no answer")

    world.index.meanwhile = fail
    world.held.vectors(world.record)
    world.later.run()
    world.index.meanwhile = lambda: None
    assert world.held.vectors(world.record) is None
    assert world.later.waiting == []
    world.clock.now += CHECKED_S
    world.held.vectors(world.record)
    world.later.run()
    assert world.held.vectors(world.record) is not None


@pytest.mark.parametrize(("megabytes", "is_shared"), [(256.0, True), (0.0, True), (256.0, False)])
def test_a_service_holds_them_unless_its_settings_say_no(
    tmp_path: Path, megabytes: float, is_shared: bool
) -> None:
    """The answers are the same, without a search in the index; its threads end with it.

    An index that is not shared is Lite's, in this process.
    """
    is_holding = megabytes > 0
    encoder = FakeEncoder(num_heads=3)
    query = Query(QUERY)
    [embedded] = QueryEmbedder(encoder, FakeSegmenter()).embed([query])
    index, others = Weak(a_living(tmp_path)), threading.active_count()
    index.is_shared = is_shared
    search = HeadSearch(index, ServeSpec(vectors_mb=megabytes))

    def asked() -> tuple[list[str], int]:
        """The documents, and how many searches of vectors the index was asked for."""
        question, searches = Question(query, embedded, 3), index.searches
        answers = asyncio.run(search.search((question,), mark_of(encoder.card), 10.0))
        assert isinstance(answers, list)
        return answers[0].documents(), index.searches - searches

    (before, searches), ends = asked(), time.monotonic() + 20.0
    assert searches
    while is_holding and asked()[1] and time.monotonic() < ends:
        time.sleep(0.05)
    after, searches = asked()
    assert after == before
    assert bool(searches) is not is_holding
    assert bool(index.reads) is is_holding
    search.close()
    while threading.active_count() > others and time.monotonic() < ends:
        time.sleep(0.05)
    assert threading.active_count() <= others
