"""The metrics of a run: what each is called and means."""

from __future__ import annotations

# Of each phase and node, and where `runtime/usage.py` counts it in a NodeUsage.
BY_NODE = {
    "mrag_run_bytes_total": "num_bytes",
    "mrag_run_rows_total": "num_rows",
    "mrag_run_errors_total": "errors",
    "mrag_run_retries_total": "retries",
    "mrag_run_node_items_total": "items",
    "mrag_run_node_busy_seconds_total": "busy_s",
    "mrag_run_node_lost_workers_total": "lost_workers",
}

# Name, type and meaning of each metric; all have the labels index and kind, phases' also phase,
# those by node phase and node.
METRICS: tuple[tuple[str, str, str], ...] = (
    ("mrag_run_active", "gauge", "Whether a run of the kind goes on."),
    ("mrag_run_started_seconds", "gauge", "When it started, as Unix time."),
    ("mrag_run_alive_seconds", "gauge", "When its process last wrote this file, as Unix time."),
    ("mrag_run_moved_seconds", "gauge", "When it last did a piece of work, as Unix time."),
    ("mrag_run_failed", "gauge", "Whether the last run failed; one that was interrupted did not."),
    ("mrag_run_items", "gauge", "Units of work of a phase; the label unit names them."),
    ("mrag_run_items_done", "gauge", "Of these, done."),
    ("mrag_run_eta_seconds", "gauge", "Seconds that a phase still takes at its rate so far."),
    ("mrag_run_phase_seconds", "gauge", "How long a phase has taken."),
    ("mrag_run_facts_total", "counter", "What a phase counts; the label fact names it."),
    (
        "mrag_run_bytes_total",
        "counter",
        "Bytes that a phase's finished items were planned to read: of source, staging or index.",
    ),
    (
        "mrag_run_rows_total",
        "counter",
        "Chunks, documents or vectors that a phase's finished items read, wrote or compared.",
    ),
    (
        "mrag_run_errors_total",
        "counter",
        "Tries of a phase's items that ended by an error, or by the loss of their worker.",
    ),
    (
        "mrag_run_retries_total",
        "counter",
        "Of these tries, those after which the item was tried again, on any node.",
    ),
    (
        "mrag_run_node_items_total",
        "counter",
        "Items of a phase that the workers of a node answered or failed at.",
    ),
    ("mrag_run_node_busy_seconds_total", "counter", "Seconds that its workers took for them."),
    ("mrag_run_node_lost_workers_total", "counter", "Workers that died or were cut off there."),
    (
        "mrag_run_core_seconds_total",
        "counter",
        "Cores that ended workers held, times seconds.",
    ),
    (
        "mrag_run_gpu_seconds_total",
        "counter",
        "GPUs that ended workers held, times seconds.",
    ),
    ("mrag_run_staging_free_bytes", "gauge", "Free space in staging, where there is such a thing."),
)
