"""Two calls a request: in time, once more if a replica is lost, cancelled if the caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.live_version import LiveSearch, LiveState, Search, mark_of
from mrag_pipeline.serving.ray.backend import Embedded, RayBackend
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.query_service import QUERY, a_living

ENCODER = FakeEncoder(num_heads=3)
MARK = mark_of(ENCODER.card)
Outcome = Callable[[], Any]


class Response:
    """What a handle gives: awaited or cancelled."""

    def __init__(self, work: Callable[[], Any], wait_s: float = 0.0) -> None:
        self._work = work
        self._wait_s = wait_s
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(self._wait_s).__await__()
        return self._work()

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Method:
    """One method of a handle; what comes before its answers is scripted."""

    work: Callable[..., Any]
    script: list[Exception | float] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)

    def remote(self, *args: Any) -> Response:
        first = self.script.pop(0) if self.script else 0.0

        def run() -> Any:
            if isinstance(first, Exception):
                raise first
            return self.work(*args)

        response = Response(run, first if isinstance(first, float) else 0.0)
        self.responses.append(response)
        return response


class Parts:
    """The two deployments, in this process."""

    def __init__(self, folder: Path) -> None:
        living = a_living(folder)
        self.live = LiveSearch(living.index, 10.0, clock=lambda: 0.0)
        embedder = QueryEmbedder(ENCODER, FakeSegmenter())
        self.embed = Method(lambda asked: Embedded(tuple(embedder.embed(asked)), MARK))
        self.mark = Method(lambda: MARK)
        self.search = Method(
            lambda questions, mark, left: self.live.answer([Search(questions, mark, left)])[0]
        )
        self.state = Method(self.live.state)
        self.chunk = Method(self.live.chunk)
        self.count_tokens = Method(lambda texts: [len(text.split()) for text in texts])
        self.backend = RayBackend(self, self)  # type: ignore[arg-type]

    def answer(self, *queries: str, seconds: float = 5.0) -> list[list[str]]:
        asks = [Ask(Query(query), k=2) for query in queries or (QUERY,)]
        return [one.documents() for one in asyncio.run(self.backend.answer(asks, seconds))]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def test_all_asks_of_a_request_are_two_calls(parts: Parts) -> None:
    """However many queries it holds; answers in their order."""
    assert [found[0] for found in parts.answer("butter cake", "river reed")] == ["cake", "reed"]
    assert len(parts.embed.responses) == len(parts.search.responses) == 1


@pytest.mark.parametrize("part", ["embed", "search"])
def test_a_lost_replica_costs_time_and_no_answer(parts: Parts, part: str) -> None:
    """Both only read: asked once more."""
    getattr(parts, part).script = [ActorDiedError()]
    assert parts.answer("butter cake")[0][0] == "cake"
    assert len(getattr(parts, part).responses) == 2


def test_a_loss_inside_another_replica_counts_as_one(parts: Parts) -> None:
    """Ray wraps what a call raises."""
    lost = RayTaskError("search", "a traceback", ActorDiedError())
    parts.search.script = [lost]
    assert parts.answer("butter cake")[0][0] == "cake"


def test_two_losses_are_said(parts: Parts) -> None:
    """No third try: the pool of replicas is not well."""
    parts.search.script = [ActorDiedError(), ActorDiedError()]
    with pytest.raises(WorkerLost, match="and then another"):
        parts.answer()
    assert len(parts.search.responses) == 2


@pytest.mark.parametrize("part", ["embed", "search"])
def test_a_call_that_takes_too_long_is_cancelled(parts: Parts, part: str) -> None:
    """The caller is told at its deadline."""
    getattr(parts, part).script = [5.0]
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        parts.answer(seconds=0.05)
    assert [one.cancelled for one in getattr(parts, part).responses] == [True]


def test_a_caller_that_leaves_takes_its_call_along(parts: Parts) -> None:
    """The call is cancelled, not left to run for nobody."""
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
    """Errors travel as values."""
    error: MragError = HeadsMissing("2 of 12 heads answered")
    parts.search.work = lambda *_: error
    with pytest.raises(HeadsMissing, match="2 of 12"):
        parts.answer()


def test_what_cannot_be_asked_never_reaches_a_batch(parts: Parts) -> None:
    """A wrong query costs nobody else anything."""
    with pytest.raises(ConfigError, match="without text"):
        parts.answer("butter cake", "  ")
    assert parts.embed.responses == []


def test_a_fault_of_ours_stays_one(parts: Parts) -> None:
    """It is not dressed up as something that trying again would help."""
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
