"""Calls over handles: time limits, one retry for a lost replica, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from mrag_pipeline.errors import (
    ConfigError,
    HeadsMissing,
    MragError,
    OutOfTime,
    Overloaded,
    WorkerLost,
)
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.live_version import LiveState
from mrag_pipeline.serving.parts.head_search import HeadSearch
from mrag_pipeline.serving.parts.query_encoder import QueryEncoder
from mrag_pipeline.serving.ray.backend import RayBackend
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.query_service import QUERY, a_living
from tests.support.serve_handles import FakeHandle


class Parts:
    """The two parts of a service, behind fake deployment handles."""

    def __init__(self, folder: Path) -> None:
        self._encoder = QueryEncoder(FakeEncoder(num_heads=3), FakeSegmenter(), ServeSpec())
        self._head_search = HeadSearch(a_living(folder).index, ServeSpec())
        encoder, search = FakeHandle(self._encoder), FakeHandle(self._head_search)
        self.embed, self.mark, self.count_tokens = (
            encoder.embed,
            encoder.mark,
            encoder.count_tokens,
        )
        self.search, self.state = search.search, search.state
        self.backend = RayBackend(encoder, search)

    def answer(self, *queries: str, seconds: float = 5.0) -> list[list[str]]:
        asks = [Ask(Query(query), k=2) for query in queries or (QUERY,)]
        return [answer.documents() for answer in asyncio.run(self.backend.answer(asks, seconds))]

    def close(self) -> None:
        self._encoder.close()
        self._head_search.close()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    yield parts
    parts.close()


def test_all_asks_of_a_request_are_two_calls(parts: Parts) -> None:
    """However many queries it holds; answers in their order."""
    assert [found[0] for found in parts.answer("butter cake", "river reed")] == ["cake", "reed"]
    assert len(parts.embed.responses) == len(parts.search.responses) == 1


@pytest.mark.parametrize("part", ["embed", "search"])
def test_a_lost_replica_costs_time_and_no_answer(parts: Parts, part: str) -> None:
    """Both calls only read, so each is made once more."""
    getattr(parts, part).script = [ActorDiedError()]
    assert parts.answer("butter cake")[0][0] == "cake"
    assert len(getattr(parts, part).responses) == 2


def test_a_loss_inside_another_replica_counts_as_one(parts: Parts) -> None:
    """Ray wraps what a call raises."""
    lost = RayTaskError("search", "a traceback", ActorDiedError())
    parts.search.script = [lost]
    assert parts.answer("butter cake")[0][0] == "cake"


def test_two_losses_are_said(parts: Parts) -> None:
    """There is no third attempt."""
    parts.search.script = [ActorDiedError(), ActorDiedError()]
    with pytest.raises(WorkerLost, match="and then another"):
        parts.answer()
    assert len(parts.search.responses) == 2


@pytest.mark.parametrize("part", ["embed", "search"])
def test_a_call_that_takes_too_long_is_cancelled(parts: Parts, part: str) -> None:
    """The caller gets its error at the deadline."""
    getattr(parts, part).script = [5.0]
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        parts.answer(seconds=0.05)
    assert [one.cancelled for one in getattr(parts, part).responses] == [True]


def test_a_caller_that_leaves_takes_its_call_along(parts: Parts) -> None:
    """The call is cancelled."""
    parts.search.script = [5.0]

    async def leave() -> None:
        task = asyncio.create_task(parts.backend.answer([Ask(Query(QUERY))], 5.0))
        while not parts.search.responses:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert parts.search.responses[0].cancelled


def test_full_queues_are_overload(parts: Parts) -> None:
    """503 with Retry-After, as the table of problems has it."""
    parts.embed.script = [BackPressureError(129, 128)]
    with pytest.raises(Overloaded) as raised:
        parts.answer()
    assert raised.value.retry_after_s > 0


def test_what_a_part_gives_as_an_error_is_raised(parts: Parts) -> None:
    """Errors are returned as values."""
    error: MragError = HeadsMissing("2 of 12 heads answered")
    parts.search.work = lambda *_: error
    with pytest.raises(HeadsMissing, match="2 of 12"):
        parts.answer()


def test_what_cannot_be_asked_never_reaches_a_batch(parts: Parts) -> None:
    """A wrong query cannot harm a batch."""
    with pytest.raises(ConfigError, match="without text"):
        parts.answer("butter cake", "  ")
    assert parts.embed.responses == []


def test_a_fault_of_ours_stays_one(parts: Parts) -> None:
    """It is not turned into a transient error."""
    parts.search.script = [RayTaskError("search", "a traceback", KeyError("bug"))]
    with pytest.raises(RayTaskError):
        parts.answer()
    assert len(parts.search.responses) == 1


# ------------------------------------------------------------------ the state
def test_ready_if_the_encoder_built_the_version(parts: Parts) -> None:
    """With the version's record."""
    state = asyncio.run(parts.backend.state())
    assert state.ready
    assert state.record is not None


def test_not_ready_with_another_encoder(parts: Parts) -> None:
    """And the reason names the version."""
    parts.mark.work = lambda: "another"
    state = asyncio.run(parts.backend.state())
    assert (state.ready, state.record is not None) == (False, True)
    assert "another encoder" in state.reason


def test_not_ready_without_a_version(parts: Parts) -> None:
    """The reason is the search's."""
    parts.state.work = lambda: LiveState(None, reason="the index has no live version")
    state = asyncio.run(parts.backend.state())
    assert (state.ready, state.reason) == (False, "the index has no live version")


def test_not_ready_while_a_part_is_lost(parts: Parts) -> None:
    """State never raises."""
    parts.mark.script = [ActorDiedError(), ActorDiedError()]
    state = asyncio.run(parts.backend.state())
    assert not state.ready
    assert "lost" in state.reason


def test_tokens_are_counted_by_the_encoder(parts: Parts) -> None:
    """In order."""
    assert asyncio.run(parts.backend.count_tokens(["a b", "c"])) == [2, 1]


def test_the_specs_defaults_are_within_what_is_tried() -> None:
    """A head may not be given longer than its request."""
    assert ServeSpec().head_timeout_s <= ServeSpec().timeout_s
