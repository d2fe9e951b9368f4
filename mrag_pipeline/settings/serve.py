"""How the query service is run and what it lets a caller ask for. Pure: figures only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServeSpec:
    """The `[serve]` part of the config file. Keys are only ever in the environment."""

    host: str = "127.0.0.1"  # another needs API keys
    port: int = 8000
    # Replicas of each deployment; the encoder's grow with load up to the maximum.
    api_replicas: int = 1
    encoder_replicas: int = 1
    max_encoder_replicas: int = 1
    search_replicas: int = 1  # one on Milvus Lite: it has one owner
    encoder_gpus: float = 0.0  # of each encoder replica
    encoder_threads: int = 1  # of each on a CPU, for a request alone; 0: as many as cores, up to 4
    # Requests whose windows share a forward pass, and how long the first waits for others.
    max_batch: int = 16
    batch_wait_ms: float = 0.0  # 0: those that come while a batch runs are the next one
    # Requests at once and waiting, for each replica; more are answered 503.
    max_ongoing: int = 64
    max_queued: int = 128
    timeout_s: float = 30.0  # of a whole request, unless it asks for less
    head_timeout_s: float = 10.0  # of one head's search
    remember_s: float = 60.0  # for how long which document a chunk is of is remembered; 0: never
    max_k: int = 100
    max_query_chars: int = 20_000
    max_batch_queries: int = 32
    max_body_kb: int = 512
    keys_env: str = "MRAG_API_KEYS"  # holds the hashed API keys; none: loopback only
    requests_per_minute: int = 600  # of one key
    concurrent_requests: int = 16  # of one key
    tenant_field: str = ""  # the metadata key that says whose a document is; "": no tenants
    max_context_tokens: int = 3000  # of the passages in /v1/answer's prompt
    examples: tuple[str, ...] = ()  # questions to try, told by /v1/index and shown on the page
    request_log: str = ""  # the file that a line for each request goes to; "": standard output
    log_queries: bool = False  # whether request logs hold the query's text
    tracing: bool = False  # OpenTelemetry, to where OTEL_EXPORTER_OTLP_ENDPOINT says
