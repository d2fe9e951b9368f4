"""One JSON line for each request: who, what, how long, never the words that were asked.

Written by name, so nothing gets in by being there: no header, no body, no path (a pattern
instead), no message of an error. The query's text is added only if `serve.log_queries` says so.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import TextIO

from mrag_pipeline.errors import ConfigError

LOGGER = "mrag.requests"


@dataclass(slots=True)
class RequestFacts:
    """What is known of a request when it is over."""

    request_id: str
    method: str
    route: str = ""  # the pattern, "" if none fits
    status: int = 0
    ms: float = 0.0
    caller: str = ""  # the key's name, "" if none was let through
    error: str = ""  # the type
    searches: int = 0
    strategies: tuple[str, ...] = ()
    version: str = ""
    k: int | None = None  # the largest
    windows: int = 0
    hits: int = 0
    missing: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage, of the slowest search
    queries: tuple[str, ...] = ()
    trace_id: str = ""


class RequestLog:
    """Writes requests to the logger `mrag.requests`: appended to a file, or to standard output."""

    def __init__(self, with_queries: bool = False, path: str = "") -> None:
        """Ready to write; a file that is moved away (logrotate) is opened anew.

        Raises: ConfigError if the file cannot be written.
        """
        self._with_queries = with_queries
        self._log = logging.getLogger(LOGGER)
        if path or not self._log.handlers:
            handler = _file(path) if path else logging.StreamHandler(_standard_output())
            handler.setFormatter(logging.Formatter("%(message)s"))
            for before in self._log.handlers:
                before.close()
            self._log.handlers = [handler]
        self._log.setLevel(logging.INFO)
        self._log.propagate = False

    def write(self, facts: RequestFacts, when: datetime | None = None) -> None:
        """One line; failures of ours as errors, the rest as information."""
        level = logging.ERROR if facts.status >= 500 else logging.INFO
        self._log.log(level, "%s", self.line(facts, when or datetime.now(UTC)))

    def line(self, facts: RequestFacts, when: datetime) -> str:
        """The facts as JSON; what is not known is left out."""
        values: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": "request",
            "request_id": facts.request_id,
            "method": facts.method,
            "route": facts.route,
            "status": facts.status,
            "ms": round(facts.ms, 3),
        }
        values |= _known({"caller": facts.caller, "error": facts.error, "trace": facts.trace_id})
        if facts.searches:
            values |= {
                "searches": facts.searches,
                "strategy": _one_or_all(facts.strategies),
                "version": facts.version,
                "windows": facts.windows,
                "hits": facts.hits,
                "missing": list(facts.missing),
                "stage_ms": {stage: round(1000 * s, 3) for stage, s in facts.seconds.items()},
            }
            values |= {} if facts.k is None else {"k": facts.k}
        if self._with_queries:
            values |= _known({"queries": list(facts.queries)})
        # ASCII: a line break of any alphabet stays inside its string, half characters too.
        return json.dumps(values)


def _standard_output() -> TextIO:
    # A Serve replica's sys.stdout leads into Serve's own log, which drops what is no warning.
    return sys.__stdout__ or sys.stdout


def _file(path: str) -> logging.Handler:
    try:
        return WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"serve.request_log = {path!r} cannot be written: {error.strerror}",
            "a file in a folder that is there and may be written to",
        ) from None


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value}


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)
