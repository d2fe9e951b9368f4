"""OpenTelemetry spans: one for a request, one for each stage of its search.

Optional: OpenTelemetry is imported only if `serve.tracing` is on, and the exporter comes with the
extra `mrag-pipeline[tracing]`. OpenTelemetry's own variables say where spans go
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mrag_pipeline import __version__
from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

NANOSECONDS = 1e9


class Traces:
    """Starts and ends spans, on a provider of its own that no other spans use."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("mrag_pipeline.serving", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, headers: Mapping[str, str]) -> Span:
        """A request's span, a child of the one in the caller's `traceparent`.

        An invalid `traceparent` starts a new trace (W3C Trace Context, 3.2).
        """
        from opentelemetry.trace import SpanKind

        carrier = {key: headers[key] for key in ("traceparent", "tracestate") if key in headers}
        context = self._propagator.extract(carrier)
        return self._tracer.start_span(name, context, kind=SpanKind.SERVER)

    def trace_id(self, span: Span) -> str:
        """The trace's id, 32 hexadecimal digits, as in log lines."""
        return f"{span.get_span_context().trace_id:032x}"

    def stages(self, parent: Span, seconds: Mapping[str, float]) -> None:
        """Adds the stages of a search that has just ended as children of the request's span.

        The answer has only their durations, from processes whose clocks may differ, so they are
        laid end to end, the last one ending now. Waits between them show only in the request's
        span.
        """
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent)
        time_ns = time.time_ns() - int(sum(seconds.values()) * NANOSECONDS)
        for stage, duration in seconds.items():
            span = self._tracer.start_span(f"mrag.{stage}", context, start_time=time_ns)
            time_ns += int(duration * NANOSECONDS)
            span.end(end_time=time_ns)

    def end(self, span: Span, name: str, values: Mapping[str, str | int], failed: bool) -> None:
        """Ends the request's span with its final name and attributes."""
        from opentelemetry.trace import Status, StatusCode

        span.update_name(name)
        span.set_attributes({key: value for key, value in values.items() if value != ""})
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Sends the pending spans."""
        self._provider.shutdown()


def open_traces(exporter: SpanExporter | None = None) -> Traces:
    """Traces to the endpoint in the environment, or to the exporter, which gets each span at once.

    Raises: ConfigError if the extra is not installed.
    """
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        resource = Resource({SERVICE_NAME: "mrag"}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource)
        if exporter is not None:
            provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ImportError as error:
        raise ConfigError(
            f"serve.tracing is on and {error.name or 'OpenTelemetry'} is not installed",
            "OpenTelemetry's SDK and OTLP exporter",
            "pip install 'mrag-pipeline[tracing]', or set serve.tracing to false",
        ) from None
    return Traces(provider)
