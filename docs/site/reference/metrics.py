"""The service's metrics, from the registry that it scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from docs.site.reference.markdown import code, table
from mrag_pipeline.serving.telemetry.metrics import Metrics

INTRO = """\
# Metrics: what the service counts

`/metrics` is Prometheus text, OpenMetrics on request. Every series also has the label `replica`. With API keys configured
it needs one that is not bound to a tenant. [Operate an index](../operations.md#metrics) says what to watch; the dashboard is `deploy/grafana/mrag.json`, the
alerts are in `deploy/prometheus/alerts.yaml`.
"""


def page() -> str:
    """The page."""
    rows = [(code(name), kind, text, labels) for name, kind, text, labels in metrics()]
    own = [row for row in rows if row[0].startswith("`mrag_")]
    process = [row[:3] for row in rows if row not in own]
    columns = ("metric", "type", "meaning", "labels")
    return "\n".join(
        [INTRO, table(columns, own), "## Of the process\n", table(columns[:3], process)]
    )


def metrics() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, meaning and labels of each metric."""
    registry = Metrics("replica").registry
    labels = {
        name: getattr(collector, "_labelnames", ())
        for collector, names in registry._collector_to_names.items()
        for name in names
    }
    for metric in registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
        name = f"{metric.name}{suffix}"
        shown = ", ".join(map(code, labels.get(metric.name, ())))
        yield name, metric.type, metric.documentation, shown
