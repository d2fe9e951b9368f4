"""What the API asks of whoever holds the encoder and the index; and that in one process.

The API knows no Ray: `ray_backend.py` says the same over deployments.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError, NotReady, OutOfTime
from mrag_pipeline.ports import ChunkRow, Encoder, Segmenter, ServedIndex
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.settings.serve import ServeSpec

if TYPE_CHECKING:
    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.settings.retrieve import RetrieveSpec

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question as the backend takes it: limits checked, the tenant in the filter."""

    asked: Query
    k: int = 10
    filter: Filter | None = None
    min_heads: int | None = None  # None: all must answer


@dataclass(frozen=True, slots=True)
class BackendState:
    """What is served, and whether questions are answered."""

    record: VersionRecord | None  # of the live version, None if there is none
    ready: bool
    reason: str = ""  # why not, for people


class Backend(Protocol):
    """Whoever answers. Every method may raise IndexBusy and IndexUnavailable.

    Cancelling a call gives up its answer; work under way may go on to its own deadline.
    """

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        """The answers, in the order of the asks, all from one version.

        Raises: OutOfTime when the seconds are over; HeadsMissing; Overloaded; NotReady (no
            live version, or another encoder built it); ConfigError for what cannot be asked.
        """

    async def chunk(self, chunk_id: int, only: Filter | None = None) -> ChunkRow | None:
        """The live version's chunk, None if there is none or it is not `only`'s.

        Raises: NotReady.
        """

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text, special tokens not counted."""

    async def state(self) -> BackendState:
        """What is served at this moment; never raises for what `reason` can say."""


class LocalBackend:
    """Answers in this process, with threads: for tests, and where there is no Ray."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        index: ServedIndex,
        spec: ServeSpec | None = None,
        retrieve: RetrieveSpec | None = None,
    ) -> None:
        self._embedder = QueryEmbedder(encoder, segmenter, retrieve)
        self._segmenter = segmenter
        self._index = index
        self._spec = spec or ServeSpec()
        self._retrieve = retrieve
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="backend")
        # Fast tokenizers refuse two threads at once.
        self._encoding = threading.Lock()

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        """The answers, in the order of the asks, all from one version."""
        deadline = time.monotonic() + seconds
        return await self._run(lambda: self._answer(asks, deadline), seconds)

    async def chunk(self, chunk_id: int, only: Filter | None = None) -> ChunkRow | None:
        """The live version's chunk, None if there is none or it is not `only`'s."""
        return await self._run(lambda: self._chunk(chunk_id, only), self._spec.timeout_s)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text."""

        def count() -> list[int]:
            with self._encoding:
                return self._segmenter.count_tokens(texts)

        return await self._run(count, self._spec.timeout_s)

    async def state(self) -> BackendState:
        """What is served at this moment."""
        try:
            return await self._run(self._state, self._spec.timeout_s)
        except MragError as error:
            log.warning("state_unknown %s: %s", type(error).__name__, error.found)
            return BackendState(None, False, "the index does not answer")

    def close(self) -> None:
        """Lets the threads end; the index stays open."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            raise out_of_time(seconds) from None

    def _answer(self, asks: Sequence[Ask], deadline: float) -> list[Answer]:
        searcher = Searcher(self._index, self._record(), self._retrieve)
        with self._encoding:
            embedded = self._embedder.embed([ask.asked for ask in asks])
        left = min(deadline - time.monotonic(), self._spec.head_timeout_s)
        if left <= 0:
            raise out_of_time(0)
        return searcher.search(
            [
                Question(ask.asked, found, ask.k, ask.filter, ask.min_heads, left)
                for ask, found in zip(asks, embedded, strict=True)
            ]
        )

    def _chunk(self, chunk_id: int, only: Filter | None) -> ChunkRow | None:
        row = self._index.chunks(self._record().chunks_collection(), [chunk_id]).get(chunk_id)
        return row if row is None or only is None or matches(only, row) else None

    def _record(self) -> VersionRecord:
        state = self._state()
        if state.record is None or not state.ready:
            raise NotReady(state.reason, "a live version that this encoder built")
        return state.record

    def _state(self) -> BackendState:
        live = self._index.live()
        record = None if live is None else self._index.record(live)
        if record is None:
            return BackendState(None, False, "the index has no live version: run `mrag ingest`")
        if record.encoder.identity() != self._embedder.card.identity():
            model = record.encoder.spec.model
            return BackendState(
                record, False, f"{record.version} was built by another encoder: {model}"
            )
        return BackendState(record, True)


def out_of_time(seconds: float) -> OutOfTime:
    """No answer within the seconds."""
    return OutOfTime(
        f"no answer within {seconds:g} s",
        "a search that ends in time",
        "give it longer (timeout_s, up to serve.timeout_s), or ask for less",
    )
