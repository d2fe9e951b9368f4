"""Records requests: their id, metrics, log line and, if configured, trace.

It is the outermost middleware, so it sees what others refuse. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrag_pipeline.serving.http.problem_table import CLIENT_LEFT
from mrag_pipeline.serving.telemetry.metrics import Metrics
from mrag_pipeline.serving.telemetry.request_ids import HEADER, request_id
from mrag_pipeline.serving.telemetry.request_log import RequestFacts, RequestLog
from mrag_pipeline.serving.telemetry.tracing import Traces, open_traces
from mrag_pipeline.settings.serve import ServeSpec

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.serving.backend import Ask

# Called every few seconds by machines: counted, and logged only when they fail.
PROBES = ("/livez", "/readyz", "/metrics")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REFUSALS = (401, 403, 413, 421, 429)


class RequestObserver:
    """Metrics, request log and traces of one API replica."""

    def __init__(
        self,
        spec: ServeSpec,
        replica: str = "",
        door: Callable[..., Any] | None = None,
        echoes: bool = True,
        traces: Traces | None = None,
        clock: Callable[[], float] = time.perf_counter,
        lines: logging.Handler | None = None,
    ) -> None:
        """Ready to be installed.

        Args:
            replica: label of this process's metrics; "": its host and process id.
            door: the dependency of `/metrics`, if it needs a key: the guard's `for_operators`.
            echoes: whether to add X-Request-ID to responses. Ray Serve adds it to every response
                itself; a second one would read as "id, id".
            traces: replaces those of `spec.tracing`.
            lines: takes the request log if `spec.request_log` names no file; None: standard output.
        Raises: ConfigError if `spec.tracing` is on and OpenTelemetry is not installed, or the
            request log cannot be written.
        """
        self._spec = spec
        self.metrics = Metrics(replica or f"{socket.gethostname()}-{os.getpid()}")
        self._door = door
        self.echoes = echoes
        self._log = RequestLog(spec.log_queries, spec.request_log, lines)
        self._traces = open_traces() if traces is None and spec.tracing else traces
        self._clock = clock
        self._version = ""

    def install(self, app: FastAPI) -> None:
        """Adds the middleware, around all added before, and the route `/metrics`."""
        app.add_middleware(_Watched, observer=self)
        dependencies = [] if self._door is None else [Depends(self._door)]

        @app.get("/metrics", include_in_schema=False, dependencies=dependencies)
        async def metrics(request: Request) -> Response:
            text, media_type = self.metrics.text(request.headers.get("accept", ""))
            return Response(text, media_type=media_type)

    def answered(
        self, request: Request, answers: Sequence[Answer], asks: Sequence[Ask] = ()
    ) -> None:
        """Records the answers of a request's searches, all together.

        Args:
            asks: for the log: k, and the query texts if they are logged.
        """
        facts = getattr(request.state, "facts", None)
        metrics = self.metrics
        metrics.request_searches.observe(len(answers))
        for answer in answers:
            for stage, seconds in _stages(answer).items():
                metrics.stage_seconds.labels(stage, answer.strategy).observe(seconds)
            metrics.batched.observe(answer.num_batched)
            metrics.windows.labels(answer.strategy).observe(len(answer.windows))
            if not answer.found:
                metrics.empty.labels(answer.strategy).inc()
            if answer.missing:
                metrics.partial.labels(answer.strategy).inc()
            for head in answer.missing:
                metrics.heads_missing.labels(head).inc()
            self._answered_from(answer.version)
        if isinstance(facts, RequestFacts):
            _note(facts, answers, asks, self._spec.log_queries)
        span = getattr(request.state, "span", None)
        if self._traces is not None and span is not None and answers:
            self._traces.stages(span, max(answers, key=_total).seconds)

    def close(self) -> None:
        """Sends the pending traces."""
        if self._traces is not None:
            self._traces.close()

    def begin(self, scope: Scope) -> tuple[RequestFacts, Span | None]:
        """Starts the record of a request."""
        headers = Headers(scope=scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        facts = RequestFacts(request_id(headers.get(HEADER, "")), method)
        span = None
        if not _is_probe(scope):
            self.metrics.in_flight.inc()
            if self._traces is not None:
                span = self._traces.begin(method, headers)
                facts.trace_id = self._traces.trace_id(span)
        return facts, span

    def end(self, scope: Scope, facts: RequestFacts, span: Span | None, seconds: float) -> None:
        """Completes the record of a request, however it ended."""
        state = scope["state"]
        facts.route = getattr(scope.get("route"), "path", "")
        facts.ms = 1000 * seconds
        facts.caller = str(state.get("caller", ""))
        facts.error = facts.error or str(state.get("error", ""))
        metrics, status = self.metrics, str(facts.status)
        metrics.requests.labels(facts.method, facts.route, status).inc()
        metrics.request_seconds.labels(facts.route).observe(seconds)
        if facts.error:
            metrics.errors.labels(facts.error).inc()
        if facts.status in REFUSALS:
            metrics.refused.labels(status, facts.caller).inc()
        probe = _is_probe(scope)
        if not probe:
            metrics.in_flight.dec()
        if not probe or facts.status >= 400:
            self._log.write(facts)
        if self._traces is not None and span is not None:
            values: dict[str, str | int] = {
                "http.request.method": facts.method,
                "http.route": facts.route,
                "http.response.status_code": facts.status,
                "mrag.request_id": facts.request_id,
                "mrag.caller": facts.caller,
                "mrag.version": facts.version,
                "mrag.windows": facts.windows,
                "error.type": facts.error,
            }
            name = f"{facts.method} {facts.route}".rstrip()
            self._traces.end(span, name, values, facts.status >= 500)

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        return self._clock()

    def _answered_from(self, version: str) -> None:
        if version != self._version:
            if self._version:
                self.metrics.live.remove(self._version)
            self.metrics.live.labels(version).set(1)
            self._version = version


class _Watched:
    """The middleware."""

    def __init__(self, app: ASGIApp, observer: RequestObserver) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and records it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._observer.now()
        facts, span = self._observer.begin(scope)
        scope.setdefault("state", {}).update(request_id=facts.request_id, facts=facts, span=span)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                if self._observer.echoes:
                    MutableHeaders(scope=message)[HEADER] = facts.request_id
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            facts.status, facts.error = CLIENT_LEFT, "Cancelled"
            raise
        except BaseException as error:
            # Aborted after its status was sent, or a bug in other middleware.
            facts.status, facts.error = 500, type(error).__name__
            raise
        finally:
            self._observer.end(scope, facts, span, self._observer.now() - began)


def _is_probe(scope: Scope) -> bool:
    return str(scope["path"]).removeprefix(scope.get("root_path", "")) in PROBES


def _total(answer: Answer) -> float:
    return sum(answer.seconds.values())


def _stages(answer: Answer) -> dict[str, float]:
    return {**answer.seconds, "total": _total(answer)}


def _note(
    facts: RequestFacts, answers: Sequence[Answer], asks: Sequence[Ask], with_queries: bool
) -> None:
    facts.searches += len(answers)
    facts.strategies = tuple(dict.fromkeys(answer.strategy for answer in answers))
    facts.version = answers[0].version if answers else ""
    facts.windows += sum(len(answer.windows) for answer in answers)
    facts.hits += sum(len(answer.found) for answer in answers)
    facts.missing = tuple(dict.fromkeys(head for answer in answers for head in answer.missing))
    # Searches of one request run together and share stages: adding them up would count twice.
    facts.seconds = _stages(max(answers, key=_total)) if answers else {}
    facts.k = max((ask.k for ask in asks), default=None)
    if with_queries:
        facts.queries = tuple(ask.query.text for ask in asks)
