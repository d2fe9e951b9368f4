"""What is kept of a run: which version, how long each phase took, what it held meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Literal

# What `mrag runs` lists; `push` is an upsert or a delete.
KINDS = ("ingest", "sync", "push", "retire", "audit", "repair", "export", "import")
RunState = Literal["running", "completed", "failed", "interrupted"]

# What JSON gives for a field of each type.
_IN_JSON: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "RunState": str,
    "Mapping[str, float]": dict,
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run on an index."""

    run: str  # a name; names rise with the time of the start
    kind: str  # one of KINDS, or of a newer release's
    index: str
    started_at: str  # ISO 8601, UTC
    host: str
    pid: int
    mrag: str  # the release that ran
    state: RunState = "running"
    ended_at: str = ""
    known_at: str = ""  # when all below was kept; empty: nothing but the start is known
    message: str = ""  # the error of a run that failed, or what it found to be wrong
    version: str = ""  # empty: it ended before there was one
    documents: int = 0  # of the version
    chunks: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    process_cpu_s: float = 0.0  # of the run's own process
    worker_core_s: float = 0.0  # cores that Ray workers held, times seconds
    worker_gpu_s: float = 0.0
    retries: int = 0  # of items, after a worker's death or an error

    def to_json(self) -> str:
        """The facts as JSON, in ASCII: an error's text may hold what UTF-8 cannot say."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunFacts:
        """The facts again; keys of newer releases are passed over.

        Raises: ValueError, TypeError if it is no run's.
        """
        stored = json.loads(text)
        if not isinstance(stored, dict):
            raise ValueError(f"{type(stored).__name__}, where a run's facts are an object")
        known = {attribute.name: str(attribute.type) for attribute in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        for name, value in values.items():
            if not isinstance(value, _IN_JSON[known[name]]):
                raise ValueError(f"{name} is {value!r}, where {known[name]} is expected")
        facts = cls(**values)
        for time in (facts.started_at, *filter(None, (facts.ended_at, facts.known_at))):
            if datetime.fromisoformat(time).tzinfo is None:
                raise ValueError(f"the time {time!r} has no zone")
        return facts

    @property
    def started_s(self) -> float:
        """When it started, as Unix time."""
        return datetime.fromisoformat(self.started_at).timestamp()

    @property
    def duration_s(self) -> float | None:
        """How long it took; None before its end is known."""
        if not self.ended_at:
            return None
        return datetime.fromisoformat(self.ended_at).timestamp() - self.started_s

    @property
    def known_s(self) -> float | None:
        """How long it took at least, as far as is known; None before a phase has ended."""
        if not self.known_at:
            return self.duration_s
        return datetime.fromisoformat(self.known_at).timestamp() - self.started_s

    @property
    def cpu_hours(self) -> float:
        """Of the run's process and of the cores that its workers held."""
        return (self.process_cpu_s + self.worker_core_s) / 3600

    @property
    def gpu_hours(self) -> float | None:
        """That Ray's workers held; None if they held none: the run's own GPU is not metered."""
        return self.worker_gpu_s / 3600 if self.worker_gpu_s else None
