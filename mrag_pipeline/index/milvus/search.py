"""Searches one Milvus, several collections at once, each within its time.

Every search is first made as a direct call (`direct_calls.py`), all from the caller's thread. Those
that give nothing are made by pymilvus, in threads of their own, with its retries and its errors.
Shape legend: W queries, D dimension, c hits per ranking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Lock
from typing import Any, Protocol, TypeVar

import grpc  # type: ignore[import-untyped]  # it ships no types
import numpy as np
from pymilvus import MilvusClient

from mrag_pipeline.domain.precision import queries
from mrag_pipeline.errors import TransientError
from mrag_pipeline.index.milvus import rows
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.direct_answers import Late
from mrag_pipeline.index.milvus.direct_calls import DirectSearch
from mrag_pipeline.index.milvus.expressions import ids_in
from mrag_pipeline.index.milvus.in_memory import InMemory
from mrag_pipeline.index.milvus.schema import search_params
from mrag_pipeline.ports import AnySearchRequest, Ranking, SearchRequest, TextSearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType

# Of one call: what a server takes and answers at most is 64 MB and more.
_QUERIES = 8_192
_QUERY_BYTES = 16 * 1024 * 1024
_HITS = 2_000_000
_LEAST_S = 0.001

Answered = TypeVar("Answered", Ranking, Ranking | None)


class Directly(Protocol):
    """Makes calls without pymilvus's retries."""

    def search(
        self, calls: Sequence[DirectSearch], timeout_s: float, at_once: int
    ) -> list[Ranking | Late | None]:
        """Each call's ranking, or why there is none; None: pymilvus is asked."""


class CollectionSearches:
    """Runs searches, as many at a time as the index takes; safe to share."""

    def __init__(
        self,
        client: MilvusClient,
        direct: Directly,
        spec: MilvusSpec,
        index_type: str,
        num_threads: int,
        in_memory: InMemory,
        vector_type: Callable[[str], VectorType],
        search_text: Callable[[TextSearchRequest, float], Ranking],
    ) -> None:
        """Ready to search.

        Args:
            num_threads: searches at a time; 1 for Lite, which is Python and would take turns.
            in_memory: reads from a collection that is in memory then.
            vector_type: what a collection's vectors are stored as.
            search_text: searches a lexical collection within so many seconds.
        """
        self._client = client
        self._direct = direct
        self._spec = spec
        self._index_type = index_type
        self._num_threads = num_threads
        self._in_memory = in_memory
        self._vector_type = vector_type
        self._search_text = search_text
        self._known: set[str] = set()  # collections that have been searched
        self._threads: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; words are searched beside vectors."""
        texts, vectors = _by_kind(requests)
        if not texts:
            return self._search_vectors(vectors)
        limit = self._spec.timeout_s
        if self._num_threads < 2:
            by_vector = self._search_vectors(vectors)
            return _in_order(requests, [self._search(text, limit) for text in texts], by_vector)
        _, futures = self._started(texts, limit)
        by_vector = self._search_vectors(vectors)
        return _in_order(requests, [future.result() for future in futures], by_vector)

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """The rankings; None for what came too late, or found no server while others did.

        Raises: IndexBusy, IndexUnavailable if none was answered and not for want of time.
        """
        texts, vectors = _by_kind(requests)
        if seconds <= 0:
            return [None] * len(requests)
        if not texts:
            return self._vectors_within(vectors, seconds)
        until = time.monotonic() + seconds
        started = self._started(texts, seconds) if self._num_threads > 1 else None
        by_vector = self._vectors_within(vectors, seconds)
        left = max(_LEAST_S, until - time.monotonic())
        threads, futures = started or self._started(texts, left)
        by_text = self._collected(threads, futures, left, not vectors)
        return _in_order(requests, by_text, by_vector)

    def _search_vectors(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        limit = self._spec.timeout_s
        until = time.monotonic() + limit
        answers = self._search_directly(requests, limit)
        for request, answer in zip(requests, answers, strict=True):
            if answer is Late.LATE:
                with translated(f"cannot search {request.collection}"):
                    raise grpc.FutureTimeoutError
        unanswered = _unanswered(requests, answers)
        others = iter(self._by_pymilvus(unanswered, max(_LEAST_S, until - time.monotonic())))
        return [answer if isinstance(answer, Ranking) else next(others) for answer in answers]

    def _vectors_within(
        self, requests: Sequence[SearchRequest], seconds: float
    ) -> list[Ranking | None]:
        if not requests:
            return []
        until = time.monotonic() + seconds
        limit = max(_LEAST_S, min(seconds, self._spec.timeout_s))
        answers = self._search_directly(requests, limit)
        unanswered = _unanswered(requests, answers)
        others: Iterator[Ranking | None] = iter(())
        if unanswered:
            none_yet = len(unanswered) == len(requests)
            others = iter(self._within(unanswered, until - time.monotonic(), none_yet))
        rankings = [next(others) if answer is None else answer for answer in answers]
        return [ranking if isinstance(ranking, Ranking) else None for ranking in rankings]

    def close(self) -> None:
        """Ends the threads; waits for no search."""
        with self._lock:
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)
                self._threads = None

    # -------------------------------------------------------------- directly
    def _search_directly(
        self, requests: Sequence[SearchRequest], timeout_s: float
    ) -> list[Ranking | Late | None]:
        """Rankings by direct calls; all None if a collection has not been searched before.

        Its first search is pymilvus's, as it may have to be loaded; so are the others beside it.
        """
        if not self._known.issuperset(request.collection for request in requests):
            return [None] * len(requests)
        calls = [list(self._calls(request)) for request in requests]
        flat = [call for of_request in calls for call in of_request]
        answers = iter(self._direct.search(flat, timeout_s, self._num_threads))
        return [
            _joined(request, [next(answers) for _ in of_request])
            for request, of_request in zip(requests, calls, strict=True)
        ]

    # -------------------------------------------------------------- by pymilvus
    def _by_pymilvus(self, requests: Sequence[AnySearchRequest], timeout_s: float) -> list[Ranking]:
        if self._num_threads < 2 or len(requests) < 2:
            return [self._search(request, timeout_s) for request in requests]
        _, futures = self._started(requests, timeout_s)
        return [future.result() for future in futures]

    def _within(
        self, requests: Sequence[AnySearchRequest], seconds: float, all_of_them: bool
    ) -> list[Ranking | None]:
        limit = max(_LEAST_S, min(seconds, self._spec.timeout_s))
        return self._collected(*self._started(requests, limit), seconds, all_of_them)

    def _collected(
        self,
        threads: ThreadPoolExecutor,
        futures: Sequence[Future[Ranking]],
        seconds: float,
        all_of_them: bool,
    ) -> list[Ranking | None]:
        """What the futures gave in time; None for the others."""
        late = wait(futures, timeout=max(0.0, seconds)).not_done
        for future in late:
            future.cancel()
        if late:
            self._leave(threads)
        rankings: list[Ranking | None] = []
        failed: TransientError | None = None
        for future in futures:
            try:
                rankings.append(None if future in late else future.result())
            except TransientError as error:
                rankings.append(None)
                failed = error
        nothing = all_of_them and all(ranking is None for ranking in rankings)
        if failed is not None and not late and nothing:
            raise failed
        return rankings

    def _started(
        self, requests: Sequence[AnySearchRequest], timeout_s: float
    ) -> tuple[ThreadPoolExecutor, list[Future[Ranking]]]:
        # Under the lock, so that these threads are not replaced between two requests.
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._num_threads, "milvus-search")
            threads = self._threads
            return threads, [threads.submit(self._search, one, timeout_s) for one in requests]

    def _leave(self, threads: ThreadPoolExecutor) -> None:
        """The next search gets new threads; these end when what they wait for does."""
        with self._lock:
            if self._threads is threads:
                self._threads = None
        threads.shutdown(wait=False)

    def _search(self, request: AnySearchRequest, timeout_s: float) -> Ranking:
        if isinstance(request, TextSearchRequest):
            return self._search_text(request, timeout_s)
        ranking = request.nothing()
        start = 0
        with translated(f"cannot search {request.collection}"):
            calls = list(self._calls(request))
        for call in calls:
            with translated(f"cannot search {call.collection}"):
                answer = self._in_memory(call.collection, partial(self._hits, call, timeout_s))
            for w, hits in enumerate(answer, start):
                ranking.ids[w, : len(hits)] = hits.ids
                ranking.scores[w, : len(hits)] = hits.distances
            start += len(call.vectors)
            self._known.add(call.collection)
        return ranking

    def _hits(self, call: DirectSearch, timeout_s: float) -> Any:
        return self._client.search(
            call.collection,
            data=rows.sent(call.vectors, call.dtype),
            limit=call.limit,
            filter=call.matching,
            output_fields=["chunk_id"],  # without it Lite sends the vectors along
            search_params=search_params(self._index_type, call.limit, self._spec.search_params),
            anns_field="vector",
            consistency_level=self._spec.consistency,
            timeout=timeout_s,
        )

    def _calls(self, request: SearchRequest) -> Iterator[DirectSearch]:
        """The request in pieces that a server takes; none if nothing can match."""
        if request.among is not None and not len(request.among):
            return
        dtype = self._vector_type(request.collection)
        matching = "" if request.among is None else ids_in(request.among.tolist())
        vectors = np.ascontiguousarray(request.vectors, dtype=np.float32)
        width = 4 * vectors.shape[1]
        step = max(1, min(_QUERIES, _QUERY_BYTES // width, _HITS // request.limit))
        for start in range(0, len(vectors), step):
            part = queries(vectors[start : start + step], dtype)
            yield DirectSearch(request.collection, part, dtype, request.limit, matching)


def _unanswered(
    requests: Sequence[SearchRequest], answers: Sequence[Ranking | Late | None]
) -> list[SearchRequest]:
    pairs = zip(requests, answers, strict=True)
    return [request for request, answer in pairs if answer is None]


def _joined(
    request: SearchRequest, answers: Sequence[Ranking | Late | None]
) -> Ranking | Late | None:
    if not answers:
        return request.nothing()
    rankings = [answer for answer in answers if isinstance(answer, Ranking)]
    if len(rankings) < len(answers):
        return None if None in answers else Late.LATE
    if len(rankings) == 1:
        return rankings[0]
    return Ranking(
        np.concatenate([ranking.ids for ranking in rankings]),
        np.concatenate([ranking.scores for ranking in rankings]),
    )


def _by_kind(
    requests: Sequence[AnySearchRequest],
) -> tuple[list[TextSearchRequest], list[SearchRequest]]:
    return (
        [request for request in requests if isinstance(request, TextSearchRequest)],
        [request for request in requests if isinstance(request, SearchRequest)],
    )


def _in_order(
    requests: Sequence[AnySearchRequest], by_text: Sequence[Answered], by_vector: Sequence[Answered]
) -> list[Answered]:
    """The answers in the order of the requests."""
    texts, vectors = iter(by_text), iter(by_vector)
    return [
        next(texts) if isinstance(request, TextSearchRequest) else next(vectors)
        for request in requests
    ]
