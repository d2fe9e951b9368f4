"""`[serve]`: how the query service runs, and what it lets a caller ask for."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, Count, PositiveAmount, PositiveCount


@dataclass(frozen=True, slots=True)
class ServeSpec:
    """The `[serve]` part of the config file. Keys are only ever in the environment."""

    host: str = "127.0.0.1"  # another needs API keys
    port: PositiveCount = 8000
    # Replicas of each deployment; the encoder's grow with load up to the maximum.
    api_replicas: PositiveCount = 1
    encoder_replicas: PositiveCount = 1
    max_encoder_replicas: PositiveCount = 1
    search_replicas: PositiveCount = 1  # one on Milvus Lite: it has one owner
    encoder_gpus: Amount = 0.0  # of each encoder replica
    encoder_threads: Count = (
        1  # of each on a CPU, for a request alone; 0: as many as cores, up to 4
    )
    # Requests whose windows share a forward pass, and how long the first waits for others.
    max_batch: PositiveCount = 16
    batch_wait_ms: Amount = 0.0  # 0: those that come while a batch runs are the next one
    # Requests at once and waiting, for each replica; more are answered 503.
    max_ongoing: PositiveCount = 64
    max_queued: Count = 128
    timeout_s: PositiveAmount = 30.0  # of a whole request, unless it asks for less
    head_timeout_s: PositiveAmount = 10.0  # of one head's search
    remember_s: Amount = 60.0  # for how long which document a chunk is of is remembered; 0: never
    max_k: PositiveCount = 100
    max_query_chars: PositiveCount = 20_000
    max_batch_queries: PositiveCount = 32
    max_body_kb: PositiveCount = 512
    keys_env: str = "MRAG_API_KEYS"  # holds the hashed API keys; none: loopback only
    requests_per_minute: PositiveCount = 600  # of one key
    concurrent_requests: PositiveCount = 16  # of one key
    tenant_field: str = ""  # the metadata key that says whose a document is; "": no tenants
    max_context_tokens: PositiveCount = 3000  # of the passages in /v1/answer's prompt
    examples: tuple[str, ...] = ()  # questions to try, told by /v1/index and shown on the page
    request_log: str = ""  # the file that a line for each request goes to; "": standard output
    log_queries: bool = False  # whether request logs hold the query's text
    tracing: bool = False  # OpenTelemetry, to where OTEL_EXPORTER_OTLP_ENDPOINT says
