"""The three parts of the service as plain classes; `app.py` makes Serve deployments of them.

What a caller is to be told travels as a value: Ray would wrap what is raised into an error of its
own. What is raised is a fault of ours.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.domain.windows import whole
from mrag_pipeline.errors import IndexBusy, MragError
from mrag_pipeline.ports import ChunkRow, VectorIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import EmbeddedQuery, Query, Question
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.live_version import LiveSearch, LiveState, Search, mark_of
from mrag_pipeline.serving.ray.backend import Embedded, RayBackend
from mrag_pipeline.serving.parts.batching import Batches
from mrag_pipeline.serving.ray.user_config import API, ENCODER, SEARCH, changed, pinned
from mrag_pipeline.serving.security.guard import Guard
from mrag_pipeline.serving.security.keys import check_exposure, read_keys
from mrag_pipeline.serving.telemetry.observer import Observer
from mrag_pipeline.settings.serve import ServeSpec

log = logging.getLogger(__name__)

A = TypeVar("A")
UserConfig = Mapping[str, Any] | None

# A replica that takes another's place waits this long for it to let go of a Lite database.
HANDOVER_S = 20.0
# More gain nothing on queries, and there may be other replicas.
MOST_THREADS = 4
# Batches that a server searches at once: one is searched while another votes; with more they are
# smaller (docs/decisions/0063). Lite is Python and takes one.
SERVER_BATCHES = 2


class QueryEncoder:
    """Cuts queries into windows and embeds them: all windows of a batch in one forward pass."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Loaded and warm.

        Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
        """
        resolved = Config.parse(config)
        self._configured = resolved.serve
        # Threads that wait for each other are not to spin: the cores are the index's too.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._threads = resolved.serve.encoder_threads or min(MOST_THREADS, os.cpu_count() or 1)
        loaded = self._encoder = wiring.encoder(resolved, threads=self._threads)
        self._segmenter = wiring.segmenter(resolved, loaded)
        self._embedder = QueryEmbedder(loaded, self._segmenter)
        self._mark = mark_of(loaded.card)
        # One: fast tokenizers refuse two threads, and a forward pass takes the whole device.
        self._thread = ThreadPoolExecutor(1, "encode")
        self._embedder.embed([Query("warm up")])
        self._batched = Batches(self._thread, self._embed, resolved.serve, 1)

    def reconfigure(self, user_config: UserConfig) -> None:
        """Takes what settings.ENCODER names; None: as configured."""
        self._batched.configure(changed(self._configured, user_config, ENCODER))

    async def embed(self, asked: tuple[Query, ...]) -> Embedded | MragError:
        """One request's queries, and whose vectors they are."""
        made = await self._batched(asked)
        return made if isinstance(made, MragError) else Embedded(tuple(made), self._mark)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._segmenter.count_tokens, texts)

    async def mark(self) -> str:
        """What is loaded, as `live.mark_of` says it."""
        return self._mark

    def _embed(self, requests: Sequence[tuple[Query, ...]]) -> list[list[EmbeddedQuery]]:
        # One request alone may have several cores; where several wait, others need them.
        self._encoder.use_threads(self._threads if len(requests) == 1 else 1)
        made = iter(self._embedder.embed([asked for request in requests for asked in request]))
        return [[next(made) for _ in request] for request in requests]


class HeadSearch:
    """Searches the heads' collections over one client, and lets them vote."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """The index is open and the live version's collections have been searched once.

        Raises: ConfigError, IndexBusy, IndexUnavailable.
        """
        resolved = Config.parse(config)
        spec = self._configured = resolved.serve
        self._index = _opened(resolved)
        batches = SERVER_BATCHES if self._index.capabilities().is_shared else 1
        # Who asks for strong reads is to see a row gone the moment it is.
        strong = resolved.milvus.consistency == "Strong"
        self._live = LiveSearch(
            self._index, spec.head_timeout_s, remember_s=0.0 if strong else spec.remember_s
        )
        self._threads = ThreadPoolExecutor(batches + 2, "search")  # two for chunks and states
        self._batched = Batches(self._threads, self._live.answer, spec, batches)
        self._warm_up()

    def reconfigure(self, user_config: UserConfig) -> None:
        """Takes what settings.SEARCH names; None: as configured."""
        spec = changed(self._configured, user_config, SEARCH)
        self._live.pin(pinned(user_config))
        self._live.allow(spec.head_timeout_s)
        self._batched.configure(spec)

    async def search(
        self, questions: tuple[Question, ...], mark: str, seconds: float
    ) -> list[Answer] | MragError:
        """One request's answers, all from the same version."""
        return await self._batched(Search(questions, mark, time.monotonic() + seconds))

    async def chunk(self, chunk_id: int, only: Filter | None) -> ChunkRow | MragError | None:
        """The version's chunk; None if there is none, or it is not `only`'s."""
        try:
            return await self._run(lambda: self._live.chunk(chunk_id, only))
        except MragError as error:
            return error

    async def state(self) -> LiveState:
        """What would be asked at this moment."""
        return await self._run(self._live.state)

    async def _run(self, work: Callable[[], A]) -> A:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _warm_up(self) -> None:
        """So that no caller waits while collections are loaded."""
        state = self._live.state()
        if state.record is None:
            log.warning("nothing_to_serve reason=%s", state.reason)
            return
        card = state.record.encoder
        row = np.ones((1, len(card.heads), card.head_dim), np.float32)
        standard = np.full((1, card.standard_dim), card.standard_dim**-0.5, np.float32)
        embedded = EmbeddedQuery(
            (whole("warm up"),), Embeddings(row, standard, np.ones(1, np.int64)), {}
        )
        question = Question(Query("warm up"), embedded, k=1)
        self._live.answer([Search((question,), state.mark, time.monotonic() + HANDOVER_S)])

    def __del__(self) -> None:
        """Lets go of a Lite database's lock: Serve calls this when the replica is drained."""
        if hasattr(self, "_index"):
            self._index.close()


class QueryApi:
    """The HTTP API over the other two."""

    def __init__(
        self, config: Mapping[str, Any], encoder: DeploymentHandle, search: DeploymentHandle
    ) -> None:
        """Ready to build its app.

        Raises: ConfigError for keys that cannot be read, or a host that needs some.
        """
        resolved = Config.parse(config)
        self._configured = resolved.serve
        self._keys = read_keys(resolved.serve)
        # Serve's proxies listen where Serve was told to: with `serve deploy` not by our config.
        check_exposure(resolved.serve, self._keys, _proxy_host())
        self._backend = RayBackend(encoder, search)
        replica = serve.get_replica_context().replica_id.unique_id
        self._guard = Guard(resolved.serve, self._keys)
        door = self._guard if self._keys else None
        self._observer = Observer(resolved.serve, replica, door, echoes=False)
        self._chat = wiring.chat_stream(resolved) if resolved.llm.url else None
        self._current = Current(self._app(resolved.serve, self._guard))

    def reconfigure(self, user_config: UserConfig) -> None:
        """Takes what settings.API names; None: as configured. Counts of callers start anew.

        Requests under way end under the limits that they began with.
        """
        spec = changed(self._configured, user_config, API)
        self._current.app = self._app(spec, Guard(spec, self._keys))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Serve sends requests to."""
        return self._current

    def _app(self, spec: ServeSpec, guard: Guard) -> ASGIApp:
        answerer = Answerer(self._chat, spec.max_context_tokens) if self._chat else None
        return create_api(self._backend, spec, guard, self._observer, answerer)


def _proxy_host() -> str:
    return str(_get_global_client().http_config.host)


@dataclass(slots=True)
class Current:
    """An app that another may take the place of, between two requests."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on to the app of this moment."""
        await self.app(scope, receive, send)


def _opened(config: Config) -> VectorIndex:
    """The index; a Lite database that a replica before this one still holds is waited for.

    Raises: IndexBusy if it is held longer; ConfigError, IndexUnavailable.
    """
    until = time.monotonic() + HANDOVER_S
    while True:
        try:
            return wiring.index(config)
        except IndexBusy:
            if time.monotonic() >= until:
                raise
            time.sleep(0.25)
