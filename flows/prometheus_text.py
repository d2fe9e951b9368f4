"""Prometheus's text format, as node_exporter's textfile collector reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

# Name, labels and value.
Sample = tuple[str, Mapping[str, str], float]


def text_of(metrics: Iterable[tuple[str, str, str]], samples: Sequence[Sample]) -> str:
    """The samples, each below its metric's meaning and type.

    Args:
        metrics: name, type and meaning of each, in the order of the text.
    """
    # Only a run whose metrics are asked for waits for these imports.
    from prometheus_client.exposition import generate_latest
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    class Samples(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, kind, meaning in metrics:
                metric = Metric(name.removesuffix("_total"), meaning, kind)
                for sample, labels, value in samples:
                    if sample == name:
                        metric.add_sample(name, dict(labels), value)
                yield metric

    return generate_latest(Samples()).decode()
