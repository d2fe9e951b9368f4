"""OpenTelemetry spans: one for a request, one for each stage of its search.

Optional: nothing of OpenTelemetry is imported unless `serve.tracing` is on, and the exporter
comes with the extra `mrag-pipeline[tracing]`. Where spans go is OpenTelemetry's own settings
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
    """Makes and ends spans. Its provider is its own: nobody else's spans are touched."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("mrag_pipeline.serving", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, headers: Mapping[str, str]) -> Span:
        """A request's span, below the one that the caller's `traceparent` names.

        A `traceparent` that is none starts a trace of its own (W3C Trace Context, 3.2).
        """
        from opentelemetry.trace import SpanKind

        carrier = {key: headers[key] for key in ("traceparent", "tracestate") if key in headers}
        context = self._propagator.extract(carrier)
        return self._tracer.start_span(name, context, kind=SpanKind.SERVER)

    def trace_id(self, span: Span) -> str:
        """The trace's id, 32 hexadecimal digits: what a log line is found by."""
        return f"{span.get_span_context().trace_id:032x}"

    def stages(self, parent: Span, seconds: Mapping[str, float]) -> None:
        """The stages of a search that has just ended, as spans below the request's.

        They come with the answer as durations, from other processes whose clocks may differ; so
        they are laid end to end, the last one ending now. Waiting between them shows in the
        request's span alone.
        """
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent)
        at = time.time_ns() - int(sum(seconds.values()) * NANOSECONDS)
        for stage, lasted in seconds.items():
            span = self._tracer.start_span(f"mrag.{stage}", context, start_time=at)
            at += int(lasted * NANOSECONDS)
            span.end(end_time=at)

    def end(self, span: Span, name: str, values: Mapping[str, str | int], failed: bool) -> None:
        """The request is over: its span's real name and attributes."""
        from opentelemetry.trace import Status, StatusCode

        span.update_name(name)
        span.set_attributes({key: value for key, value in values.items() if value != ""})
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Sends what is still waiting."""
        self._provider.shutdown()


def open_traces(exporter: SpanExporter | None = None) -> Traces:
    """Traces to where the environment says, or to the exporter, which gets each span at once.

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
