"""The service's Prometheus metrics, in a registry of their own, without other libraries' metrics.

Every series has the label `replica`. A scrape through Serve's proxy reaches one API replica; with
the label each replica's counters only rise, and rates summed over replicas are right whichever is
scraped. Labels have few values: configured names, route patterns, heads.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from mrag_pipeline import __version__

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The service's metrics."""

    def __init__(self, replica: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._replica = replica
        self.requests = Counter(
            "mrag_requests_total",
            "Requests answered, by route pattern and status (499: the client disconnected).",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "mrag_request_seconds",
            "From a request's first byte to its response's last.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "mrag_requests_in_flight",
            "Requests under way, without probes.",
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "mrag_stage_seconds",
            "Search time by stage: windows, encode, search, fetch, vote, rerank; total, their sum.",
            ("stage", "strategy"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.request_searches = Histogram(
            "mrag_request_searches",
            "Searches in one request.",
            buckets=COUNTS,
            registry=self.registry,
        )
        self.windows = Histogram(
            "mrag_query_windows",
            "Windows of one query.",
            ("strategy",),
            buckets=COUNTS,
            registry=self.registry,
        )
        self.batched = Histogram(
            "mrag_encode_batch_queries",
            "Queries that shared a forward pass.",
            buckets=COUNTS,
            registry=self.registry,
        )
        self.empty = Counter(
            "mrag_empty_answers_total",
            "Searches that found nothing.",
            ("strategy",),
            registry=self.registry,
        )
        self.partial = Counter(
            "mrag_partial_answers_total",
            "Searches answered though heads were missing.",
            ("strategy",),
            registry=self.registry,
        )
        self.heads_missing = Counter(
            "mrag_heads_missing_total",
            "Voters that did not answer in time.",
            ("head",),
            registry=self.registry,
        )
        self.errors = Counter(
            "mrag_errors_total",
            "Requests that ended in an error, by its type.",
            ("error",),
            registry=self.registry,
        )
        self.refused = Counter(
            "mrag_refused_total",
            "Requests refused with 401, 403, 413, 421 or 429, by caller if known.",
            ("status", "caller"),
            registry=self.registry,
        )
        self.live = Gauge(
            "mrag_live_version_info",
            "1 for the version that answered last.",
            ("version",),
            registry=self.registry,
        )
        build = Info("mrag_build", "The running build.", registry=self.registry)
        build.info({"version": __version__})
        ProcessCollector(registry=self.registry)  # memory, CPU, files
        GCCollector(registry=self.registry)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its media type: Prometheus's text, or OpenMetrics if accepted."""
        encode, media_type = choose_encoder(accept)
        return encode(_Replica(self.registry, self._replica)), media_type


class _Replica:
    """A registry whose samples have the label `replica`."""

    def __init__(self, registry: CollectorRegistry, replica: str) -> None:
        self._registry = registry
        self._replica = replica

    def collect(self) -> Iterable[Metric]:
        """The registry's metrics, with the label."""
        for metric in self._registry.collect():
            # Creation times are useless here, and a third of the text.
            metric.samples = [
                sample._replace(labels={**sample.labels, "replica": self._replica})
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield metric
