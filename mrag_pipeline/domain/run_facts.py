"""What is kept of a run: which version, how long each phase took, what it held meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

RunState = Literal["running", "completed", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run of a flow on an index."""

    run: str  # a name; names rise with the time of the start
    kind: str  # "ingest", "sync"
    index: str
    started_at: str  # ISO 8601, UTC
    host: str
    pid: int
    mrag: str  # the release that ran
    state: RunState = "running"
    ended_at: str = ""
    message: str = ""  # the error of a run that failed
    version: str = ""  # empty: it ended before there was one
    documents: int = 0  # of the version
    chunks: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    process_cpu_s: float = 0.0  # of the run's own process
    worker_core_s: float = 0.0  # cores that Ray workers held, times seconds
    worker_gpu_s: float = 0.0
    retries: int = 0  # of items, after a worker's death or an error

    def to_json(self) -> str:
        """The facts as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> RunFacts:
        """The facts again; keys of newer releases are passed over.

        Raises: ValueError, TypeError if it is no run's.
        """
        stored = json.loads(text)
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in stored.items() if key in known})

    @property
    def cpu_hours(self) -> float:
        """Of the run's process and of the cores that its workers held."""
        return (self.process_cpu_s + self.worker_core_s) / 3600

    @property
    def gpu_hours(self) -> float:
        """That its workers held."""
        return self.worker_gpu_s / 3600
