"""Cuts queries into windows and embeds them: all windows of a batch in one forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import Encoder, Segmenter
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import EmbeddedQuery, Query
from mrag_pipeline.serving.live_version import mark_of
from mrag_pipeline.serving.parts.batching import Batches
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRequest:
    """One request's embedded queries, and the encoder that embedded them."""

    queries: tuple[EmbeddedQuery, ...]
    mark: str  # live_version.mark_of the encoder


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
        # One: fast tokenizers refuse two threads, and a forward pass takes the whole device.
        self._thread = ThreadPoolExecutor(1, "encode")
        self._batches = Batches(self._thread, self._embed, spec, 1)

    def warm_up(self) -> None:
        """Embeds a query, so that the first caller does not wait for lazy initialisation."""
        self._embedder.embed([Query("warm up")])

    def configure(self, spec: ServeSpec) -> None:
        """Takes `max_batch` and `batch_wait_ms` from the next batch on."""
        self._batches.configure(spec)

    async def embed(self, queries: tuple[Query, ...]) -> EmbeddedRequest | MragError:
        """One request's queries, embedded."""
        outcome = await self._batches(queries)
        if isinstance(outcome, MragError):
            return outcome
        return EmbeddedRequest(tuple(outcome), self._mark)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._segmenter.count_tokens, texts)

    async def mark(self) -> str:
        """`live_version.mark_of` the encoder."""
        return self._mark

    def close(self) -> None:
        """Stops the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _embed(self, requests: Sequence[tuple[Query, ...]]) -> list[list[EmbeddedQuery]]:
        if self._before_batch is not None:
            self._before_batch(len(requests))
        embedded = iter(self._embedder.embed([query for request in requests for query in request]))
        return [[next(embedded) for _ in request] for request in requests]
