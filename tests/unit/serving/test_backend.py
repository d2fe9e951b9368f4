"""The backend in this process, and how answers go over the wire."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.errors import ConfigError, IndexUnavailable, NotReady, OutOfTime
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask, LocalBackend
from mrag_pipeline.serving.http import wire_format
from mrag_pipeline.wire.schemas import SearchAnswer
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living
from tests.support.query_service import QUERY, a_backend, a_living

OLD = Condition("metadata.year", "lt", 2005)


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


@pytest.fixture
def backend(living: Living) -> Iterator[LocalBackend]:
    opened = a_backend(living)
    yield opened
    opened.close()


def test_answers_come_in_the_order_of_the_asks(backend: LocalBackend) -> None:
    """Each with its own k and filter."""
    asks = [Ask(Query("butter cake"), 1), Ask(Query(QUERY), 5, OLD)]
    cake, old = asyncio.run(backend.answer(asks, 5.0))
    assert cake.documents() == ["cake"]
    assert old.documents() == ["dog"]


def test_all_queries_of_a_call_are_embedded_at_once(living: Living) -> None:
    """One forward pass for the batch."""
    batches: list[int] = []

    class Counting(FakeEncoder):
        def encode(self, texts, role):  # type: ignore[no-untyped-def]
            batches.append(len(texts))
            return super().encode(texts, role)

    backend = LocalBackend(Counting(num_heads=3), FakeSegmenter(), living.index)
    asyncio.run(backend.answer([Ask(Query("dog")), Ask(Query("cake"))], 5.0))
    assert batches == [2]


def test_calls_at_once_do_not_meet_in_the_encoder(living: Living) -> None:
    """Tokenizers refuse two threads; answers of calls at once are each other's none the less."""
    inside = threading.Lock()

    class Lonely(FakeEncoder):
        def encode(self, texts, role):  # type: ignore[no-untyped-def]
            assert inside.acquire(blocking=False)
            try:
                time.sleep(0.01)
                return super().encode(texts, role)
            finally:
                inside.release()

    backend = LocalBackend(Lonely(num_heads=3), FakeSegmenter(), living.index)

    async def all_at_once() -> list[str]:
        names = ["herding dog", "giant star", "butter cake", "curved sword"] * 2
        calls = [backend.answer([Ask(Query(name), 1)], 10.0) for name in names]
        return [one.documents()[0] for [one] in await asyncio.gather(*calls)]

    assert asyncio.run(all_at_once()) == ["dog", "star", "cake", "sword"] * 2


def test_a_chunk_is_found_within_its_filter(backend: LocalBackend) -> None:
    """None for what is not there or not meant."""
    [dog] = asyncio.run(backend.answer([Ask(Query("herding dog"), 1)], 5.0))
    row = dog.found[0].row
    assert asyncio.run(backend.chunk(row.id)) == row
    assert asyncio.run(backend.chunk(row.id, OLD)) == row
    assert asyncio.run(backend.chunk(row.id, Condition("title", "eq", "Cake"))) is None
    assert asyncio.run(backend.chunk(1)) is None


def test_tokens_are_counted_by_the_segmenter(backend: LocalBackend) -> None:
    """In order; none for none."""
    assert asyncio.run(backend.count_tokens(["one two three", "", "four"])) == [3, 0, 1]
    assert asyncio.run(backend.count_tokens([])) == []


def test_time_is_the_whole_calls(living: Living) -> None:
    """The encoder's too; no search begins after it."""
    searched: list[int] = []

    class Sleeping(FakeEncoder):
        def encode(self, texts, role):  # type: ignore[no-untyped-def]
            time.sleep(0.2)
            return super().encode(texts, role)

    class Watched:
        def __getattr__(self, name: str) -> object:
            if name.startswith("search"):
                searched.append(1)
            return getattr(living.index, name)

    backend = LocalBackend(Sleeping(num_heads=3), FakeSegmenter(), Watched())  # type: ignore[arg-type]
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        asyncio.run(backend.answer([Ask(Query("dog"))], 0.05))
    backend._threads.shutdown(wait=True)
    assert searched == []


def test_what_cannot_be_asked_is_raised(backend: LocalBackend) -> None:
    """As the stages say it."""
    with pytest.raises(ConfigError, match="without text"):
        asyncio.run(backend.answer([Ask(Query(" "))], 5.0))


def test_a_backend_without_a_live_version_is_not_ready(tmp_path: Path) -> None:
    """It says why, and raises the same."""
    backend = a_backend(Living(tmp_path, []))
    state = asyncio.run(backend.state())
    assert (state.ready, state.record) == (False, None)
    assert "mrag ingest" in state.reason
    with pytest.raises(NotReady, match="mrag ingest"):
        asyncio.run(backend.chunk(1))


def test_an_index_that_does_not_answer_is_a_reason(living: Living) -> None:
    """Its address is not told: anybody may ask whether the service is ready."""

    class Down:
        def live(self) -> str:
            raise IndexUnavailable("no answer from http://10.0.0.7:19530")

    backend = LocalBackend(FakeEncoder(num_heads=3), FakeSegmenter(), Down())  # type: ignore[arg-type]
    state = asyncio.run(backend.state())
    assert not state.ready
    assert state.reason == "the index does not answer"


@pytest.mark.parametrize("explain", [True, False])
def test_an_answer_keeps_its_numbers_on_the_wire(backend: LocalBackend, explain: bool) -> None:
    """Votes, windows, voters and rows as the stages have them; valid by the schema."""
    [answer] = asyncio.run(backend.answer([Ask(Query(QUERY, windows=("dog", "star")), 3)], 5.0))
    told = wire_format.search_answer(answer, explain, 1.5)
    read = SearchAnswer.model_validate_json(told.model_dump_json(), strict=True)
    assert read.seconds == {**answer.seconds, "total": 1.5}
    assert read.voters == list(answer.voters)
    assert [one.text for one in read.windows] == ["dog", "star"]
    for hit, one in zip(read.hits, answer.found, strict=True):
        parts = one.hit.parts
        assert (hit.document_id, hit.vote) == (one.hit.document_id, one.hit.vote)
        assert hit.votes_by_window == parts.sum(axis=0).tolist()
        assert hit.votes_by_voter == parts.sum(axis=1).tolist()
        assert hit.votes_by_window[hit.window] == max(hit.votes_by_window)
        assert hit.votes == (parts.tolist() if explain else None)
        assert (int(hit.chunk_id), hit.text) == (one.row.id, one.row.text)
