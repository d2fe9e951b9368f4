"""When a version's vectors are held, and when they are let go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.ports import IndexCapabilities
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.held_vectors import held_bytes
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.serving.held_version import CHECKED_S, HeldVersion
from mrag_pipeline.serving.live_version import mark_of
from mrag_pipeline.serving.parts.head_search import HeadSearch
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.clock import Clock
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.later import Later
from tests.support.living_index import Living
from tests.support.query_service import QUERY, a_living


class Index:
    """A living index; a hook runs while vectors are read."""

    def __init__(self, living: Living) -> None:
        self._index = living.index
        self.meanwhile: Callable[[], None] = lambda: None
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def vector_blocks(self, collection: Any) -> Any:
        self.reads += 1
        yield from self._index.vector_blocks(collection)
        self.meanwhile()


class Weak(Index):
    """As a server at level Bounded: what is held may be used."""

    def capabilities(self) -> IndexCapabilities:
        return replace(self._index.capabilities(), has_strong_reads=False)


class World:
    """A live version and what holds its vectors."""

    def __init__(self, folder: Path) -> None:
        self.living = a_living(folder)
        self.index = Index(self.living)
        self.clock, self.later = Clock(), Later()
        self.held = self.holder(1e9)

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
    vectors = world.held.vectors(world.record)
    assert vectors is not None
    assert vectors.is_complete(world.living.index)


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


def test_rows_that_a_repair_changed_are_noticed(world: World) -> None:
    """The rows are counted once a minute, and read again only if their number is another."""
    world.held.vectors(world.record)
    world.later.run()
    reads = world.index.reads
    world.clock.now += CHECKED_S
    assert world.held.vectors(world.record) is not None
    world.later.run()
    assert world.index.reads == reads
    head = world.record.head_collections()[0]
    [ids] = world.living.index.ids(head)
    world.living.index.delete(head, ids[:1].tolist())
    world.clock.now += CHECKED_S
    world.held.vectors(world.record)
    world.later.run()
    vectors = world.held.vectors(world.record)
    assert vectors is not None
    assert vectors.is_complete(world.living.index)


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


@pytest.mark.parametrize("megabytes", [256.0, 0.0])
def test_a_service_holds_them_unless_its_settings_say_no(tmp_path: Path, megabytes: float) -> None:
    """The answers are the same; the thread that keeps the record fresh ends with it."""
    encoder = FakeEncoder(num_heads=3)
    query = Query(QUERY)
    [embedded] = QueryEmbedder(encoder, FakeSegmenter()).embed([query])
    index, others = Weak(a_living(tmp_path)), threading.active_count()
    search = HeadSearch(index, ServeSpec(vectors_mb=megabytes))

    def asked() -> list[str]:
        question = Question(query, embedded, 3)
        answers = asyncio.run(search.search((question,), mark_of(encoder.card), 10.0))
        assert isinstance(answers, list)
        return answers[0].documents()

    before, ends = asked(), time.monotonic() + 20.0
    while megabytes and not index.reads and time.monotonic() < ends:
        time.sleep(0.05)
    assert bool(index.reads) is bool(megabytes)
    assert asked() == before
    search.close()
    while threading.active_count() > others and time.monotonic() < ends:
        time.sleep(0.05)
    assert threading.active_count() <= others
