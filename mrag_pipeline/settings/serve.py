"""`[serve]`: how the query service runs, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.bounds import Amount, Count, PositiveAmount, PositiveCount


@dataclass(frozen=True, slots=True)
class ServeSpec:
    """How the query service runs, and its limits. API keys are only read from the environment."""

    host: str = "127.0.0.1"  # any but loopback needs API keys
    port: PositiveCount = 8000
    hosts: tuple[str, ...] = ()  # names that requests may call a service with keys by; (): any
    # ray (replicas), process (all of it in one, on this machine), or auto: one process where one
    # replica of each part, without a share of a GPU or a cluster, is configured
    backend: Literal["auto", "process", "ray"] = "auto"
    # Replicas of each deployment; the encoder's grow with load up to the maximum.
    api_replicas: PositiveCount = 1
    encoder_replicas: PositiveCount = 1
    max_encoder_replicas: PositiveCount = 1
    search_replicas: PositiveCount = 1  # one on Milvus Lite, which only one process can open
    encoder_gpus: Amount = 0.0  # for each encoder replica
    encoder_threads: Count = (
        1  # of each encoder replica on a CPU, for one request; 0: one per core, up to 4
    )
    # Of the deployment Reranker, which there is if [rerank] is configured.
    reranker_replicas: PositiveCount = 1
    reranker_gpus: Amount = 0.0  # for each replica
    reranker_threads: Count = 1  # of each replica on a CPU; 0: one per core, up to 4
    # Most requests in one forward pass, and how long the first waits for others.
    max_batch: PositiveCount = 16
    batch_wait_ms: Amount = 0.0  # 0: requests that arrive during a batch form the next
    # Running and waiting requests of each replica; more get a 503.
    max_ongoing: PositiveCount = 64
    max_queued: Count = 128
    timeout_s: PositiveAmount = 30.0  # for a whole request, unless it asks for less
    # When told to stop, one process answers for this many seconds with 503 at /readyz, then ends
    # what it has begun. No effect on Ray.
    drain_s: Amount = 0.0
    head_timeout_s: PositiveAmount = 10.0  # for one head's search
    remember_s: Amount = 60.0  # how long the chunk-to-document cache keeps an entry; 0: no cache
    # A version that takes no more is held in memory and searched there; 0: none.
    vectors_mb: Amount = 256.0
    max_k: PositiveCount = 100
    max_query_chars: PositiveCount = 20_000
    max_batch_queries: PositiveCount = 32
    max_body_kb: PositiveCount = 512
    keys_env: str = "MRAG_API_KEYS"  # variable with the hashed API keys; unset: loopback only
    requests_per_minute: PositiveCount = 600  # of one key
    concurrent_requests: PositiveCount = 16  # of one key
    tenant_field: str = ""  # metadata field with a document's tenant; "": no tenants
    max_context_tokens: PositiveCount = 3000  # of passages in the prompt of /v1/answer
    examples: tuple[str, ...] = ()  # example questions, in /v1/index and on the page
    request_log: str = ""  # file for one JSON line per request; "": standard output of `mrag serve`
    # On Ray: folder with the streams 1 and 2 (pipes, sockets or files) that replicas write request
    # lines and errors to, as "/proc/1/fd" in a pod; "": those of `mrag serve`
    log_streams: str = ""
    log_queries: bool = False  # whether the request log contains query texts
    tracing: bool = False  # OpenTelemetry, sent to OTEL_EXPORTER_OTLP_ENDPOINT
