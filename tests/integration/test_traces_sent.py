"""Spans as a collector receives them: OTLP over HTTP, to the endpoint of the OTEL variables."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from mrag_pipeline.serving.telemetry.tracing import open_traces
from tests.support.http_requests import got
from tests.support.loopback_server import LoopbackServer, Quiet
from tests.support.telemetry_readers import KEY, watched

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@dataclass
class Collector:
    """Records what it receives; first refuses `refuses` requests, as a starting collector does."""

    url: str = ""
    refuses: int = 0
    received: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, str]:
        attributes = self.received[0].resource_spans[0].resource.attributes
        return {pair.key: pair.value.string_value for pair in attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A server that accepts trace exports and parses them by their schema."""
    made = Collector()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            if made.refuses:
                made.refuses -= 1
                self.send_response(503)
                self.end_headers()
                return
            made.received.append(ExportTraceServiceRequest.FromString(body))
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            said = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    with LoopbackServer(Handler) as server:
        made.url = server.endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_search_reaches_the_collector(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """The request is a child of its caller's span, its stages are its children."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=search")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    traces = open_traces()
    app, _ = watched(traces=traces)
    got(app, "/search", {**KEY, "traceparent": f"00-{TRACE}-{PARENT}-01"}, "POST", content=b"QzQ")
    traces.close()
    spans = {span.name: span for span in collector.spans()}
    request = spans.pop("POST /search")
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert sorted(spans) == sorted(
        f"mrag.{stage}" for stage in ("windows", "encode", "search", "fetch", "vote")
    )
    assert {span.parent_span_id for span in spans.values()} == {request.span_id}
    assert {span.trace_id for span in spans.values()} == {request.trace_id}
    sent = collector.resource()
    assert (sent["service.name"], sent["deployment.environment.name"]) == ("mrag", "test")
    assert collector.headers[0]["x-team"] == "search"
    told = b"".join(one.SerializeToString() for one in collector.received)
    assert b"QzQ" not in told
    assert b"mrag_secret" not in told


def test_a_collector_that_starts_late_gets_them_too(collector: Collector) -> None:
    """An export answered with 503 is sent again."""
    collector.refuses = 1
    traces = open_traces()
    app, _ = watched(traces=traces)
    got(app, "/who", KEY, "GET")
    traces.close()
    assert [span.name for span in collector.spans()] == ["GET /who"]


def test_requests_are_answered_without_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that cannot be sent are lost; requests are answered as usual."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    traces = open_traces()
    app, _ = watched(traces=traces)
    assert got(app, "/search", KEY, "POST").status_code == 200
    traces.close()
