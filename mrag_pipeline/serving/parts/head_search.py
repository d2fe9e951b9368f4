"""Searches the heads' collections over one index client, and lets the heads vote."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import ChunkRow, ServedIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.browse import Look
from mrag_pipeline.query.question import Question
from mrag_pipeline.serving.held_version import HeldVersion
from mrag_pipeline.serving.live_version import REFRESH_S, LiveSearch, LiveState
from mrag_pipeline.serving.parts.batching import Batches
from mrag_pipeline.serving.repeated_call import RepeatedCall
from mrag_pipeline.serving.request_batch import LiveRequest
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_WINDOWS = 256  # of the questions that are searched together
# Batches that a server searches at once: one is searched while another votes; more of them would
# be smaller (docs/decisions/0063). Lite is Python and takes one.
SERVER_BATCHES = 2
# Lite searches in this process: while vectors are read from it, it has this share of the time that
# reading takes for searches.
OWN_PAUSES = 2.0


class HeadSearch:
    """The part of the service that holds the index. Used from one event loop at a time."""

    def __init__(
        self,
        index: ServedIndex,
        spec: ServeSpec,
        retrieve: RetrieveSpec | None = None,
    ) -> None:
        """Ready to search; the index stays the caller's to close."""
        can = index.capabilities()
        num_parallel_batches = SERVER_BATCHES if can.is_shared else 1
        is_holding = not can.has_strong_reads and spec.vectors_mb > 0
        pauses = 0.0 if can.is_shared else OWN_PAUSES
        max_bytes = 2**20 * spec.vectors_mb
        self._live = LiveSearch(
            index,
            spec.head_timeout_s,
            retrieve,
            # With strong reads a deleted row must be gone at once.
            remember_s=0.0 if can.has_strong_reads else spec.remember_s,
            held=HeldVersion(index, max_bytes, pauses=pauses) if is_holding else None,
        )
        self._fresh: RepeatedCall | None = None
        if is_holding:
            self._fresh = RepeatedCall(self._live.keep_fresh, REFRESH_S, "keep-fresh")
        # Two more threads, for chunks and states.
        self._threads = ThreadPoolExecutor(num_parallel_batches + 2, "search")
        self._batches = Batches(
            self._threads, self._live.answer, spec, num_parallel_batches, BATCH_WINDOWS
        )

    def warm_up(self) -> None:
        """Searches once, so that no caller waits while collections are loaded."""
        try:
            self._live.warm_up()
        except MragError as error:
            log.warning("nothing_to_serve reason=%s", error.found)

    def configure(self, spec: ServeSpec, version: str | None = None) -> None:
        """Takes the batch settings, `head_timeout_s` and a pinned version from the next batch on.

        Args:
            version: the version to search; None follows the live one.
        """
        self._live.pin(version)
        self._live.set_head_timeout(spec.head_timeout_s)
        self._batches.configure(spec)

    async def search(
        self, questions: tuple[Question, ...], mark: str, seconds: float, caller: str = ""
    ) -> list[Answer] | MragError:
        """One request's answers, all from the same version.

        Args:
            mark: of the encoder that embedded the questions.
            caller: who has a share of the time; "": the request has one of its own.
        """
        flow = caller or object()
        deadline = time.monotonic() + seconds

        async def searched(*some: Question) -> list[Answer] | MragError:
            num_windows = sum(len(question.embedded.windows) for question in some)
            return await self._batches(LiveRequest(some, mark, deadline), num_windows, flow)

        # One by one, so that others have their turn between them.
        answers = []
        for outcome in await asyncio.gather(*map(searched, questions)):
            if isinstance(outcome, MragError):
                return outcome
            answers += outcome
        if len({answer.version for answer in answers}) > 1:  # another one went live meanwhile
            return await searched(*questions)
        return answers

    async def chunk(self, chunk_id: int, only: Filter | None) -> ChunkRow | MragError | None:
        """The version's chunk; None if there is none, or if `only` does not match it."""
        try:
            return await self._in_thread(lambda: self._live.chunk(chunk_id, only))
        except MragError as error:
            return error

    async def browse(self, look: Look[T]) -> T | MragError:
        """What the look finds in the version."""
        try:
            return await self._in_thread(lambda: self._live.browse(look))
        except MragError as error:
            return error

    async def state(self) -> LiveState:
        """The version that is searched at this moment."""
        return await self._in_thread(self._live.state)

    def close(self) -> None:
        """Stops the threads; the index stays open."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._live.close()
        if self._fresh is not None:
            self._fresh.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
