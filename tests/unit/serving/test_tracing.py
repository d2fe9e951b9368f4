"""Spans, kept in memory instead of sent."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.serving.telemetry.tracing import open_traces
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.http_requests import got
from tests.support.telemetry_readers import KEY, heard, lines, watched

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def _spans(
    path: str, headers: dict[str, str], method: str = "GET", **more: Any
) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    app, _ = watched(traces=open_traces(exporter))
    got(app, path, headers, method, **more)
    return list(exporter.get_finished_spans())


def _times(span: ReadableSpan) -> tuple[int, int]:
    """When it started and ended, in nanoseconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def _parent(span: ReadableSpan) -> int:
    """The id of the span above it."""
    assert span.parent is not None
    return span.parent.span_id


def test_a_search_is_a_span_with_its_stages_below() -> None:
    """In their order, each as long as it took, end to end, the last one ending at the end."""
    *stages, request = _spans("/search", KEY, "POST")
    assert request.name == "POST /search"
    assert request.kind is SpanKind.SERVER
    assert request.resource.attributes["service.name"] == "mrag"
    names = [f"mrag.{stage}" for stage in ("windows", "encode", "search", "fetch", "vote")]
    assert [span.name for span in stages] == names
    times = [_times(span) for span in stages]
    lengths = [(end - start) / 1e6 for start, end in times]
    assert lengths == pytest.approx([1, 30, 10, 4, 2], abs=1e-3)
    assert all(first[1] == second[0] for first, second in itertools.pairwise(times))
    assert {_parent(span) for span in stages} == {request.context.span_id}
    assert times[-1][1] <= _times(request)[1]


def test_a_span_belongs_to_the_callers_trace(caplog: pytest.LogCaptureFixture) -> None:
    """W3C trace context is taken over; the log line names the trace."""
    heard(caplog)
    sent = {**KEY, "traceparent": f"00-{TRACE}-{PARENT}-01"}
    request = _spans("/search", sent, "POST")[-1]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{_parent(request):016x}" == PARENT
    assert lines(caplog)[0]["trace"] == TRACE


@pytest.mark.parametrize("odd", ["", "x", f"00-{TRACE}-{PARENT}", f"00-{'0' * 32}-{PARENT}-01"])
def test_an_odd_traceparent_starts_a_trace_of_its_own(odd: str) -> None:
    """And breaks nothing."""
    (request,) = _spans("/who", {**KEY, "traceparent": odd})
    assert request.parent is None
    assert request.context.trace_id


def test_a_caller_that_samples_nothing_gets_no_span() -> None:
    """Its sampling flag is respected: a trace is complete or absent."""
    assert _spans("/search", {**KEY, "traceparent": f"00-{TRACE}-{PARENT}-00"}, "POST") == []


@pytest.mark.parametrize(("path", "failed"), [("/broken", True), ("/forbidden", False)])
def test_only_our_own_failures_are_errors_of_the_span(path: str, failed: bool) -> None:
    """As OpenTelemetry has it for servers: 4xx is the caller's."""
    (request,) = _spans(path, KEY)
    assert (request.status.status_code is StatusCode.ERROR) == failed
    assert request.attributes is not None
    assert request.attributes["error.type"] == ("RuntimeError" if failed else "Forbidden")


def test_no_span_holds_a_key_or_the_words() -> None:
    """Attributes are set by name, like the log's."""
    spans = _spans("/search?q=QzQ", {**KEY, "X-Request-ID": "r-1"}, "POST", content=b"QzQ")
    told = "".join(span.to_json() for span in spans)
    assert "r-1" in told
    assert "QzQ" not in told
    assert "mrag_secret" not in told


def test_probes_are_not_traced() -> None:
    """They come every few seconds."""
    assert _spans("/metrics", {}) == []


def test_nothing_of_opentelemetry_is_imported_unless_it_is_on() -> None:
    """Nor is it needed: the module is optional."""
    program = (
        "import sys\n"
        "from mrag_pipeline.settings.serve import ServeSpec\n"
        "import mrag_pipeline.serving.telemetry.tracing\n"
        "import prometheus_client\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error comes at the start, not at the first request."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"mrag-pipeline\[tracing\]"):
        RequestObserver(ServeSpec(tracing=True))
