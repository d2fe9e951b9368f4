"""The replicas of the service's deployments; `app.py` makes Serve deployments of them.

Errors that the caller is to see are returned: Ray would wrap a raised one into an error of its
own. An error that is raised is a bug.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexBusy
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.parts.answer_reranker import AnswerReranker
from mrag_pipeline.serving.parts.head_search import HeadSearch
from mrag_pipeline.serving.parts.query_encoder import QueryEncoder
from mrag_pipeline.serving.parts.threads import threads_by_load, threads_for
from mrag_pipeline.serving.ray import log_streams
from mrag_pipeline.serving.ray.backend import RayBackend
from mrag_pipeline.serving.ray.loopback import keep_on_loopback
from mrag_pipeline.serving.ray.user_config import API, ENCODER, SEARCH, changed, pinned
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import check_exposure, read_keys
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wiring import answering

UserConfig = Mapping[str, Any] | None

# How long a new replica waits for the one that it replaces to release a Lite database.
HANDOVER_S = 20.0
# Requests of one replica that wait for a reranker's endpoint at the same time.
ENDPOINT_REQUESTS = 8


def _starting(config: Mapping[str, Any]) -> Config:
    """The config of a replica that is being constructed."""
    keep_on_loopback()
    resolved = Config.parse(config)
    log_streams.send_errors(resolved.serve.log_streams)
    return resolved


class EncoderReplica(QueryEncoder):
    """A replica of the deployment `QueryEncoder`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """The model is loaded and warm.

        Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
        """
        resolved = _starting(config)
        self._configured = resolved.serve
        # Waiting threads must not spin: the index needs the cores too.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        threads = threads_for(resolved.serve.encoder_threads)
        encoder = wiring.encoder(resolved, threads, resolved.workers.device)
        super().__init__(
            encoder,
            wiring.segmenter(resolved, encoder),
            resolved.serve,
            resolved.retrieve,
            before_batch=threads_by_load(encoder.use_threads, threads),
        )
        self.warm_up()

    def reconfigure(self, user_config: UserConfig) -> None:
        """Takes the settings in user_config.ENCODER; None: as configured."""
        self.configure(changed(self._configured, user_config, ENCODER))


class SearchReplica(HeadSearch):
    """A replica of the deployment `HeadSearch`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """The index is open and the live version's collections have been searched once.

        Raises: ConfigError, IndexBusy, IndexUnavailable.
        """
        resolved = _starting(config)
        self._configured = resolved.serve
        self._index = _opened(resolved)
        super().__init__(self._index, resolved.serve, resolved.retrieve)
        self.warm_up()

    def reconfigure(self, user_config: UserConfig) -> None:
        """Takes the settings in user_config.SEARCH; None: as configured."""
        self.configure(changed(self._configured, user_config, SEARCH), pinned(user_config))

    def __del__(self) -> None:
        """Releases a Lite database's lock: Serve calls this when the replica is drained."""
        if hasattr(self, "_batches"):
            self.close()
        if hasattr(self, "_index"):
            self._index.close()


class RerankerReplica(AnswerReranker):
    """A replica of the deployment `Reranker`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """The model is loaded and warm; an endpoint is not asked before there is a question.

        Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
        """
        resolved = _starting(config)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        threads = threads_for(resolved.serve.reranker_threads)
        reranker = answering.reranker(resolved, threads=threads)
        is_local = not resolved.rerank.url
        # A forward pass takes the whole device; an endpoint's answer is waited for.
        num_threads = 1 if is_local else ENDPOINT_REQUESTS
        reranking = Reranking(reranker, resolved.rerank, resolved.retrieve)
        super().__init__(reranking, num_threads)
        if is_local:
            self.warm_up()


class QueryApi:
    """A replica of the deployment `QueryApi`: the HTTP API over the other deployments."""

    def __init__(
        self,
        config: Mapping[str, Any],
        encoder: DeploymentHandle,
        search: DeploymentHandle,
        reranker: DeploymentHandle | None = None,
    ) -> None:
        """Ready to build its app.

        Raises: ConfigError for keys that cannot be read, or a host that requires keys.
        """
        resolved = _starting(config)
        self._configured = resolved.serve
        self._retrieve = resolved.retrieve
        self._keys = read_keys(resolved.serve)
        # With `serve deploy` the proxies listen where Serve was told to, not where our config says.
        check_exposure(resolved.serve, self._keys, _proxy_host())
        self._backend = RayBackend(encoder, search, reranker, resolved.rerank, resolved.retrieve)
        replica = serve.get_replica_context().replica_id.unique_id
        self._guard = KeyGuard(resolved.serve, self._keys)
        door = self._guard.for_operators() if self._keys else None
        has_file = bool(resolved.serve.request_log)
        lines = None if has_file else log_streams.request_lines(resolved.serve.log_streams)
        self._observer = RequestObserver(resolved.serve, replica, door, echoes=False, lines=lines)
        self._llm = resolved.llm
        self._chat = answering.chat_stream(resolved) if resolved.llm.url else None
        self._current = Current(self._app(resolved.serve, self._guard))

    def reconfigure(self, user_config: UserConfig) -> None:
        """Takes the settings in user_config.API; None: as configured. Rate limits start afresh.

        Requests under way keep the limits that they began with.
        """
        spec = changed(self._configured, user_config, API)
        self._current.app = self._app(spec, KeyGuard(spec, self._keys))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The app that Serve sends requests to."""
        return self._current

    def _app(self, spec: ServeSpec, guard: KeyGuard) -> ASGIApp:
        answerer = None
        if self._chat is not None:
            answerer = Answerer(self._chat, spec.max_context_tokens, self._llm)
        return create_api(self._backend, spec, guard, self._observer, answerer, self._retrieve)


def _proxy_host() -> str:
    return str(_get_global_client().http_config.host)


@dataclass(slots=True)
class Current:
    """An app that can be replaced between two requests."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request to the current app."""
        await self.app(scope, receive, send)


def _opened(config: Config) -> VectorIndex:
    """The index; waits for an earlier replica to release a Lite database.

    Raises: IndexBusy if that takes longer than HANDOVER_S; ConfigError, IndexUnavailable.
    """
    deadline = time.monotonic() + HANDOVER_S
    while True:
        try:
            return wiring.index(config)
        except IndexBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.25)
