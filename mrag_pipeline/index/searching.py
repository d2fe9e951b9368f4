"""Searches of one Milvus, several at once, each within its time.

Shape legend: W queries, D dimension, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

import numpy as np
from pymilvus import MilvusClient

from mrag_pipeline.domain.precision import VectorType, queries
from mrag_pipeline.errors import TransientError
from mrag_pipeline.index import rows
from mrag_pipeline.index.connection import translated
from mrag_pipeline.index.expressions import ids_in
from mrag_pipeline.index.schema import search_params
from mrag_pipeline.index.spec import MilvusSpec
from mrag_pipeline.ports import Ranking, SearchRequest

# Of one call: what a server takes and answers at most is 64 MB and more.
_QUERIES = 8_192
_QUERY_BYTES = 16 * 1024 * 1024
_HITS = 2_000_000
_LEAST_S = 0.001


class Searches:
    """Runs searches in threads that it lends out; safe to share."""

    def __init__(
        self,
        client: MilvusClient,
        spec: MilvusSpec,
        index_type: str,
        num_threads: int,
        ready: Callable[[str], None],
        vector_type: Callable[[str], VectorType],
    ) -> None:
        """Ready to search.

        Args:
            num_threads: searches at a time; 1 for Lite, which is Python and would take turns.
            ready: has a collection in memory.
            vector_type: what a collection's vectors are stored as.
        """
        self._client = client
        self._spec = spec
        self._index_type = index_type
        self._num_threads = num_threads
        self._ready = ready
        self._vector_type = vector_type
        self._threads: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""
        if self._num_threads < 2 or len(requests) < 2:
            return [self._search(request, self._spec.timeout_s) for request in requests]
        _, futures = self._started(requests, self._spec.timeout_s)
        return [future.result() for future in futures]

    def search_within(
        self, requests: Sequence[SearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """The rankings; None for what came too late, or found no server while others did.

        Raises: IndexBusy, IndexUnavailable if none was answered and not for want of time.
        """
        if seconds <= 0 or not requests:
            return [None] * len(requests)
        limit = max(_LEAST_S, min(seconds, self._spec.timeout_s))
        threads, futures = self._started(requests, limit)
        late = wait(futures, timeout=seconds).not_done
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
        if failed is not None and not late and all(ranking is None for ranking in rankings):
            raise failed
        return rankings

    def close(self) -> None:
        """Waits for no search."""
        with self._lock:
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)
                self._threads = None

    def _started(
        self, requests: Sequence[SearchRequest], timeout_s: float
    ) -> tuple[ThreadPoolExecutor, list[Future[Ranking]]]:
        # Under the lock, so that nobody leaves these threads between two requests.
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

    def _search(self, request: SearchRequest, timeout_s: float) -> Ranking:
        shape = (len(request.vectors), request.limit)
        ranking = Ranking(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
        if request.among is not None and not len(request.among):
            return ranking
        matching = "" if request.among is None else ids_in(request.among.tolist())
        vectors = np.ascontiguousarray(request.vectors, dtype=np.float32)
        width = 4 * vectors.shape[1]
        step = max(1, min(_QUERIES, _QUERY_BYTES // width, _HITS // request.limit))
        for start in range(0, len(vectors), step):
            with translated(f"cannot search {request.collection}"):
                self._ready(request.collection)
                dtype = self._vector_type(request.collection)
                answer = self._client.search(
                    request.collection,
                    data=rows.sent(queries(vectors[start : start + step], dtype), dtype),
                    limit=request.limit,
                    filter=matching,
                    output_fields=["chunk_id"],  # without it Lite sends the vectors along
                    search_params=search_params(
                        self._index_type, request.limit, self._spec.search_params
                    ),
                    anns_field="vector",
                    consistency_level=self._spec.consistency,
                    timeout=timeout_s,
                )
            for w, hits in enumerate(answer, start):
                ranking.ids[w, : len(hits)] = hits.ids
                ranking.scores[w, : len(hits)] = hits.distances
        return ranking
