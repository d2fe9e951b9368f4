"""What every backend of the API promises: in one process, and over deployment handles."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.errors import (
    ConfigError,
    HeadsMissing,
    IndexUnavailable,
    MragError,
    NotConfigured,
    NotReady,
    OutOfTime,
    Overloaded,
    RerankerUnavailable,
)
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.query.browse import FindDocuments, FindNeighbours
from mrag_pipeline.query.question import Query
from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.serving.backend import Ask, Backend
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.parts.answer_reranker import AnswerReranker
from mrag_pipeline.serving.parts.head_search import HeadSearch
from mrag_pipeline.serving.parts.query_encoder import QueryEncoder
from mrag_pipeline.serving.ray.backend import RayBackend
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec, VoterShares
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.settings.windows import WindowSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.fake_reranker import FakeReranker, relevance
from tests.support.living_index import Living, a_document
from tests.support.query_service import QUERY, a_living
from tests.support.serve_handles import FakeHandle

OLD = Condition("metadata.year", "lt", 2005)
NUM_HEADS = 3
Opener = Callable[..., Backend]


class ScriptedEncoder(FakeEncoder):
    """Counts texts call by call, and can be held; two threads at once are an error."""

    def __init__(self) -> None:
        super().__init__(num_heads=NUM_HEADS)
        self.num_texts: list[int] = []
        self.entered = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._inside = threading.Lock()

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        assert self._inside.acquire(blocking=False), "two threads in the encoder"
        try:
            self.num_texts.append(len(texts))
            self.entered.set()
            assert self.may_go_on.wait(30)
            return super().encode(texts, role)
        finally:
            self._inside.release()


class ScriptedIndex:
    """An index whose searches can miss collections or take their time."""

    def __init__(self, index: ExactIndex) -> None:
        self._index = index
        self.num_searches = 0
        self.missing: tuple[str, ...] = ()  # ends of collection names
        self.wait_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search_within(self, requests: Sequence[Any], seconds: float) -> Any:
        self.num_searches += 1
        time.sleep(self.wait_s)
        rankings = self._index.search_within(requests, seconds)
        return [
            None if request.collection.endswith(self.missing) and self.missing else ranking
            for request, ranking in zip(requests, rankings, strict=True)
        ]


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


@pytest.fixture
def encoder() -> ScriptedEncoder:
    return ScriptedEncoder()


@pytest.fixture
def index(living: Living) -> ScriptedIndex:
    assert isinstance(living.index, ExactIndex)
    return ScriptedIndex(living.index)


@pytest.fixture(params=["in-process", "handles"])
def open_backend(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens a backend over an encoder and an index; closed after the test."""
    closings: list[Callable[[], None]] = []

    def in_process(
        encoder: Any,
        index: Any,
        spec: ServeSpec | None = None,
        reranking: Reranking | None = None,
        retrieve: RetrieveSpec | None = None,
    ) -> Backend:
        backend = InProcessBackend(
            encoder, FakeSegmenter(), index, spec, retrieve, reranking=reranking
        )
        closings.append(backend.close)
        return backend

    def over_handles(
        encoder: Any,
        index: Any,
        spec: ServeSpec | None = None,
        reranking: Reranking | None = None,
        retrieve: RetrieveSpec | None = None,
    ) -> Backend:
        spec = spec or ServeSpec()
        query_encoder = QueryEncoder(encoder, FakeSegmenter(), spec, retrieve)
        head_search = HeadSearch(index, spec, retrieve)
        closings.extend([query_encoder.close, head_search.close])
        max_calls = spec.max_ongoing + spec.max_queued
        handles: list[Any] = [FakeHandle(part, max_calls) for part in (query_encoder, head_search)]
        if reranking is None:
            return RayBackend(handles[0], handles[1], retrieve=retrieve)
        part = AnswerReranker(reranking)
        closings.append(part.close)
        reranker: Any = FakeHandle(part, max_calls)
        return RayBackend(handles[0], handles[1], reranker, reranking.spec, retrieve)

    yield in_process if request.param == "in-process" else over_handles
    for close in closings:
        close()


@pytest.fixture
def backend(open_backend: Opener, encoder: ScriptedEncoder, index: ScriptedIndex) -> Backend:
    return open_backend(encoder, index)


def documents(backend: Backend, *asks: Ask, seconds: float = 5.0) -> list[list[str]]:
    answers = asyncio.run(backend.answer(asks, seconds))
    return [answer.documents() for answer in answers]


def served_version(backend: Backend) -> str | None:
    record = asyncio.run(backend.state()).record
    return None if record is None else record.version


# ------------------------------------------------------------------ answers
def test_answers_come_in_the_order_of_the_asks(backend: Backend) -> None:
    """Each with its own k and filter."""
    cake, old = Ask(Query("butter cake"), 1), Ask(Query(QUERY), 5, OLD)
    assert documents(backend, cake, old) == [["cake"], ["dog"]]
    assert documents(backend, old, cake) == [["dog"], ["cake"]]


def test_questions_are_answered_by_the_settings(
    open_backend: Opener, encoder: ScriptedEncoder, index: ScriptedIndex
) -> None:
    """Strategy, windows and voters where the question does not say; where it does, its own."""
    retrieve = RetrieveSpec(
        strategy="aspect",
        windows=WindowSpec(short_words=2, max_windows=3),
        voters=VoterShares(heads=1.0, standard=0.0, lexical=1.0),
    )
    backend = open_backend(encoder, index, retrieve=retrieve)
    asks = [
        Ask(Query(QUERY), 2),
        Ask(Query(QUERY, windows=("dog",), voters={"heads": 0.0}), 2),
        Ask(Query(QUERY, "hybrid"), 2),
    ]
    configured, own, named = asyncio.run(backend.answer(asks, 5.0))
    assert configured.strategy == own.strategy == "aspect"
    assert len(configured.windows) == 3
    assert configured.voters == ("l00_h00", "l00_h01", "l00_h02", "lexical")
    assert ([window.text for window in own.windows], own.voters) == (["dog"], ("lexical",))
    assert (named.strategy, named.voters) == ("hybrid", ("standard", "lexical"))


def test_no_asks_have_no_answers(backend: Backend, encoder: ScriptedEncoder) -> None:
    """Neither part is called."""
    assert documents(backend) == []
    assert encoder.num_texts == []


def test_all_queries_of_a_call_are_embedded_at_once(
    backend: Backend, encoder: ScriptedEncoder
) -> None:
    """One forward pass for the batch."""
    documents(backend, Ask(Query("dog")), Ask(Query("cake")))
    assert encoder.num_texts == [2]


def test_concurrent_calls_get_their_own_answers(backend: Backend) -> None:
    """No two threads meet in the encoder: fast tokenizers refuse that."""

    async def all_at_once() -> list[str]:
        queries = ["herding dog", "giant star", "butter cake", "curved sword"] * 4
        calls = [backend.answer([Ask(Query(query), 1)], 10.0) for query in queries]
        return [answer.documents()[0] for [answer] in await asyncio.gather(*calls)]

    assert asyncio.run(all_at_once()) == ["dog", "star", "cake", "sword"] * 4


def test_an_invalid_question_never_reaches_a_batch(
    backend: Backend, encoder: ScriptedEncoder
) -> None:
    """It cannot harm the others of its batch."""
    with pytest.raises(ConfigError, match="without text"):
        documents(backend, Ask(Query("butter cake")), Ask(Query(" ")))
    assert encoder.num_texts == []


def test_a_question_that_only_the_search_refuses_is_raised(backend: Backend) -> None:
    """The limit of k is checked where the search is planned."""
    with pytest.raises(ConfigError, match="k = 0"):
        documents(backend, Ask(Query("dog"), 0))


def test_missing_heads_are_an_error_unless_they_were_allowed(
    backend: Backend, index: ScriptedIndex
) -> None:
    """With `min_heads` the answer names them."""
    index.missing = ("l00_h01",)
    with pytest.raises(HeadsMissing, match="2 of 3 heads"):
        documents(backend, Ask(Query("butter cake")))
    [answer] = asyncio.run(backend.answer([Ask(Query("butter cake"), 1, min_heads=2)], 5.0))
    assert answer.documents() == ["cake"]
    assert answer.missing == ("l00_h01",)


def test_a_look_is_taken_where_the_index_is(backend: Backend) -> None:
    """A look travels to the search's part, and brings back what it found there."""
    found = asyncio.run(backend.browse(FindDocuments("dog", 3, OLD)))
    assert [row.document_id for row in found.rows] == ["dog"]
    assert asyncio.run(backend.browse(FindNeighbours(1, 3))) is None


# ------------------------------------------------------------------ time, load, cancellation
def test_the_time_limit_covers_the_encoder(
    backend: Backend, encoder: ScriptedEncoder, index: ScriptedIndex
) -> None:
    """The error names the seconds that were given; no search begins afterwards."""
    encoder.may_go_on.clear()
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        documents(backend, Ask(Query("dog")), seconds=0.05)
    encoder.may_go_on.set()
    assert documents(backend, Ask(Query("butter cake"), 1)) == [["cake"]]
    assert index.num_searches == 1


def test_the_time_limit_covers_the_search(backend: Backend, index: ScriptedIndex) -> None:
    """Its caller is answered at the deadline, not when the search ends."""
    index.wait_s = 0.5
    began = time.monotonic()
    with pytest.raises(OutOfTime, match=r"0\.1 s"):
        documents(backend, Ask(Query("dog")), seconds=0.1)
    assert time.monotonic() - began < 0.4


def test_no_time_left_is_out_of_time(backend: Backend, encoder: ScriptedEncoder) -> None:
    """Nothing is embedded."""
    with pytest.raises(OutOfTime):
        documents(backend, Ask(Query("dog")), seconds=0.0)
    assert encoder.num_texts == []


def test_calls_beyond_the_limits_are_refused(
    open_backend: Opener, encoder: ScriptedEncoder, index: ScriptedIndex
) -> None:
    """One runs, one waits, the third is refused; the first two are answered."""
    backend = open_backend(encoder, index, ServeSpec(max_ongoing=1, max_queued=1))
    encoder.may_go_on.clear()

    async def three_calls() -> list[Any]:
        calls = [
            asyncio.create_task(backend.answer([Ask(Query("butter cake"), 1)], 10.0))
            for _ in range(3)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        encoder.may_go_on.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = asyncio.run(three_calls())
    assert [answers[0].documents() for answers in (first, second)] == [["cake"], ["cake"]]
    assert isinstance(third, Overloaded)
    assert third.retry_after_s > 0


def test_a_cancelled_call_is_not_worked_on(
    backend: Backend, encoder: ScriptedEncoder, index: ScriptedIndex
) -> None:
    """One that waits for its batch is left out of it; its neighbours are answered."""
    encoder.may_go_on.clear()

    async def leave() -> list[str]:
        first = asyncio.create_task(backend.answer([Ask(Query("butter cake"), 1)], 10.0))
        assert await asyncio.to_thread(encoder.entered.wait, 30)
        leaving = asyncio.create_task(backend.answer([Ask(Query("giant star"), 1)], 10.0))
        await asyncio.sleep(0.02)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        encoder.may_go_on.set()
        [answer] = await first
        return answer.documents()

    assert asyncio.run(leave()) == ["cake"]
    assert documents(backend, Ask(Query("river reed"), 1)) == [["reed"]]
    assert encoder.num_texts == [1, 1]
    assert index.num_searches == 2


# ------------------------------------------------------------------ versions
def test_a_version_that_is_switched_is_followed(
    open_backend: Opener, encoder: ScriptedEncoder, tmp_path: Path
) -> None:
    """The next call answers from the version that is live by then."""
    living = a_living(tmp_path)
    backend = open_backend(encoder, living.index)
    versions = [living.index.live()]
    answers = asyncio.run(backend.answer([Ask(Query("dog"))], 5.0))
    living.items = [*living.items, a_document(1)]
    living.ingest()
    versions.append(living.index.live())
    answers += asyncio.run(backend.answer([Ask(Query("dog"))], 5.0))
    assert [answer.version for answer in answers] == versions
    assert len(set(versions)) == 2
    assert served_version(backend) == versions[1]


def test_without_a_live_version_it_is_not_ready(
    open_backend: Opener, encoder: ScriptedEncoder, tmp_path: Path
) -> None:
    """The state says why; answers and chunks raise it, with the command that helps."""
    backend = open_backend(encoder, Living(tmp_path, []).index)
    state = asyncio.run(backend.state())
    assert (state.ready, state.record) == (False, None)
    assert "no live version" in state.reason
    with pytest.raises(NotReady, match="mrag ingest"):
        documents(backend, Ask(Query("dog")))
    with pytest.raises(NotReady, match="mrag ingest"):
        asyncio.run(backend.chunk(1))


def test_another_encoders_version_is_not_searched(
    open_backend: Opener, living: Living, index: ScriptedIndex
) -> None:
    """The state has its record and the reason."""
    backend = open_backend(FakeEncoder(num_heads=7), index)
    state = asyncio.run(backend.state())
    assert not state.ready
    assert served_version(backend) == living.index.live()
    assert "another encoder" in state.reason
    num_searches = index.num_searches  # readiness asks the index itself
    with pytest.raises(NotReady, match="another encoder"):
        documents(backend, Ask(Query("dog")))
    assert index.num_searches == num_searches


def test_it_is_ready_when_its_encoder_built_the_live_version(
    backend: Backend, living: Living
) -> None:
    """With the version's record."""
    state = asyncio.run(backend.state())
    assert (state.ready, state.reason) == (True, "")
    assert served_version(backend) == living.index.live()


def test_an_index_that_does_not_answer_is_a_reason(
    open_backend: Opener, encoder: ScriptedEncoder
) -> None:
    """The state hides its address, because readiness needs no key; answers raise the error."""

    class Down(ExactIndex):
        def live(self) -> str | None:
            raise IndexUnavailable("no answer from http://10.0.0.7:19530")

    backend = open_backend(encoder, Down("docs"))
    state = asyncio.run(backend.state())
    assert (state.ready, state.reason) == (False, "the index does not answer")
    with pytest.raises(IndexUnavailable):
        documents(backend, Ask(Query("dog")))


# ------------------------------------------------------------------ chunks and tokens
def test_a_chunk_is_found_within_its_filter(backend: Backend) -> None:
    """None for an unknown id, or for a chunk that the filter does not match."""
    [dog] = asyncio.run(backend.answer([Ask(Query("herding dog"), 1)], 5.0))
    row = dog.found[0].row
    assert asyncio.run(backend.chunk(row.id)) == row
    assert asyncio.run(backend.chunk(row.id, OLD)) == row
    assert asyncio.run(backend.chunk(row.id, Condition("title", "eq", "Cake"))) is None
    assert asyncio.run(backend.chunk(1)) is None


def test_tokens_are_counted_by_the_segmenter(backend: Backend) -> None:
    """In the order of the texts."""
    assert asyncio.run(backend.count_tokens(["one two three", "", "four"])) == [3, 0, 1]
    assert asyncio.run(backend.count_tokens([])) == []


# ------------------------------------------------------------------ reranking
class SlowReranker(FakeReranker):
    """Takes longer than any request has."""

    def scores(self, requests: Any, seconds: float) -> Any:
        time.sleep(1.5)
        return super().scores(requests, seconds)


def a_reranking(reranker: FakeReranker, **changes: Any) -> Reranking:
    return Reranking(reranker, RerankSpec(model="fake", **changes))


def test_answers_are_reranked(open_backend: Opener, encoder: Any, index: Any) -> None:
    """In the reranker's order, unless the question does without."""
    reranker = FakeReranker()
    backend = open_backend(encoder, index, None, a_reranking(reranker))
    query = Query("giant star rich in carbon", "hybrid")
    asks = [Ask(query, k=3), Ask(query, k=2, rerank=False), Ask(query, k=1, rerank=True)]
    first, second, third = asyncio.run(backend.answer(asks, 30.0))
    assert len(reranker.asked) == 2
    scores = [relevance(query.text, text) for text in reranker.asked[0].passages]
    assert [document.rerank_score for document in first.found] == sorted(scores)[::-1][:3]
    assert (first.reranker, second.reranker, third.reranker) == (
        "fake-reranker",
        "",
        "fake-reranker",
    )
    assert [len(answer.found) for answer in (first, second, third)] == [3, 2, 1]
    assert third.documents() == first.documents()[:1]


def test_reranking_without_a_reranker_is_refused(
    open_backend: Opener, encoder: Any, index: Any
) -> None:
    """Before anything is embedded."""
    backend = open_backend(encoder, index)
    with pytest.raises(NotConfigured):
        asyncio.run(backend.answer([Ask(Query(QUERY), rerank=True)], 30.0))
    assert encoder.num_texts == []


@pytest.mark.parametrize(
    ("reranker", "seconds", "error"),
    [
        (FakeReranker(RerankerUnavailable("status 503")), 30.0, RerankerUnavailable),
        (SlowReranker(), 1.0, OutOfTime),
    ],
    ids=["fails", "slow"],
)
def test_a_reranker_that_fails_costs_the_order_or_the_answer(
    open_backend: Opener,
    encoder: Any,
    index: Any,
    reranker: FakeReranker,
    seconds: float,
    error: type[MragError],
) -> None:
    """As rerank.on_error says; one that is slow leaves time to answer without it."""
    plain_backend = open_backend(encoder, index)
    [plain] = asyncio.run(plain_backend.answer([Ask(Query(QUERY), k=3)], 30.0))
    backend = open_backend(encoder, index, None, a_reranking(reranker))
    [answer] = asyncio.run(backend.answer([Ask(Query(QUERY), k=3)], seconds))
    assert (answer.documents(), answer.reranker) == (plain.documents(), "")
    assert len(answer.warnings) == 1
    strict = open_backend(encoder, index, None, a_reranking(reranker, on_error="fail"))
    with pytest.raises(error):
        asyncio.run(strict.answer([Ask(Query(QUERY), k=3)], seconds))
