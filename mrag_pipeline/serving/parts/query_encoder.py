"""Cuts queries into windows and embeds them, the windows of several requests in one forward pass.

A forward pass takes few enough of them that a short question never waits for a long one's: long
ones are embedded in slices, between which other callers have their turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import Encoder, Segmenter
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import EmbeddedQuery, Query
from mrag_pipeline.serving.backend import out_of_time
from mrag_pipeline.serving.known_version import mark_of
from mrag_pipeline.serving.parts.batching import Batches
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec

T = TypeVar("T")

# Characters of the windows in one forward pass, and of one query's in it: about four a token.
BATCH_CHARS = 4_000
SLICE_CHARS = 1_000
SHORT_CHARS = 500  # a query of fewer is cut at once: no thread is worth it


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRequest:
    """One request's embedded queries, and the encoder that embedded them."""

    queries: tuple[EmbeddedQuery, ...]
    mark: str  # live_version.mark_of the encoder


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """Some windows of one request."""

    texts: tuple[str, ...]
    request: object  # whose they are


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    embeddings: Embeddings
    seconds: float  # of the forward pass
    num_batched: int  # requests in it


class QueryEncoder:
    """The part of the service that holds the model. Used from one event loop at a time."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        spec: ServeSpec,
        retrieve: RetrieveSpec | None = None,
        before_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Ready to embed.

        Args:
            before_batch: called with the number of requests in a batch before its forward pass,
                in the thread that runs it.
        """
        self._segmenter = segmenter
        self._embedder = QueryEmbedder(encoder, segmenter, retrieve)
        self._before_batch = before_batch
        self._mark = mark_of(encoder.card)
        self._max_chars = 4 * encoder.card.max_tokens  # the model cuts what is longer
        # One: fast tokenizers refuse two threads, and a forward pass takes the whole device.
        self._thread = ThreadPoolExecutor(1, "encode")
        self._cutting = ThreadPoolExecutor(1, "cut")  # long queries
        self._batches = Batches(self._thread, self._encode, spec, 1, BATCH_CHARS)

    def warm_up(self) -> None:
        """Embeds a query, so that the first caller does not wait for lazy initialisation."""
        self._embedder.embed([Query("warm up")])

    def configure(self, spec: ServeSpec) -> None:
        """Takes `max_batch` and `batch_wait_ms` from the next batch on."""
        self._batches.configure(spec)

    async def embed(
        self, queries: tuple[Query, ...], seconds: float, caller: str = ""
    ) -> EmbeddedRequest | MragError:
        """One request's queries, embedded.

        Args:
            seconds: after which what is left of the work is dropped.
            caller: who has a share of the time; "": the request has one of its own.
        """
        request = object()
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._embed(query, request, caller or request))
                    for query in queries
                ]
        except TimeoutError:
            return out_of_time(seconds)
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            if isinstance(first, MragError):
                return first
            raise first from None
        return EmbeddedRequest(tuple(task.result() for task in tasks), self._mark)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._segmenter.count_tokens, texts)

    async def mark(self) -> str:
        """`live_version.mark_of` the encoder."""
        return self._mark

    def close(self) -> None:
        """Stops the threads."""
        for threads in (self._thread, self._cutting):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _embed(self, query: Query, request: object, flow: Hashable) -> EmbeddedQuery:
        is_short = len(query.text) + sum(map(len, query.windows)) <= SHORT_CHARS
        started = time.perf_counter()
        cut = await self._run(lambda: self._embedder.cut(query), is_short)
        cut_s = time.perf_counter() - started
        texts = list(dict.fromkeys(window.text for window in cut.windows))
        asked = (
            self._batches(_Slice(part, request), cost, flow)
            for part, cost in _slices(texts, self._max_chars)
        )
        parts = []
        for outcome in await asyncio.gather(*asked):
            if isinstance(outcome, MragError):
                raise outcome
            parts.append(outcome)
        embeddings = Embeddings.joined([part.embeddings for part in parts])
        row_of = {text: row for row, text in enumerate(texts)}
        rows = np.array([row_of[window.text] for window in cut.windows], np.intp)
        seconds = {"windows": cut_s, "encode": sum(part.seconds for part in parts)}
        num_batched = max(part.num_batched for part in parts)
        return await self._run(
            lambda: self._embedder.chosen(cut, embeddings, rows, seconds, num_batched), is_short
        )

    async def _run(self, work: Callable[[], T], is_short: bool) -> T:
        if is_short:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._cutting, work)

    def _encode(self, slices: Sequence[_Slice]) -> list[_Encoded | MragError]:
        num_requests = len({id(one.request) for one in slices})
        if self._before_batch is not None:
            self._before_batch(num_requests)
        started = time.perf_counter()
        texts = list(dict.fromkeys(text for one in slices for text in one.texts))
        embeddings = self._embedder.encode(texts)
        seconds = time.perf_counter() - started
        row_of = {text: row for row, text in enumerate(texts)}
        encoded: list[_Encoded | MragError] = []
        for one in slices:
            rows = np.array([row_of[text] for text in one.texts], np.intp)
            encoded.append(_Encoded(embeddings.of_rows(rows), seconds, num_requests))
        return encoded


def _slices(texts: Sequence[str], max_chars: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """The texts in order, in slices of at most SLICE_CHARS, and how many each has.

    Args:
        max_chars: of a text count; one of more than SLICE_CHARS is a slice of its own.
    """
    part: list[str] = []
    num_chars = 0
    for text in texts:
        length = min(len(text), max_chars)
        if part and num_chars + length > SLICE_CHARS:
            yield tuple(part), num_chars
            part, num_chars = [], 0
        part.append(text)
        num_chars += length
    yield tuple(part), num_chars
