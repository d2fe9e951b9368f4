"""One JSON line for each request: caller, route, times; query texts only if configured.

Every field is named here, so nothing else gets in: no header, body or path (only its pattern), no
error message. The query's text is added only with `serve.log_queries`.
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
    """The facts of a request when it is over."""

    request_id: str
    method: str
    route: str = ""  # the pattern, "" if none matched
    status: int = 0
    ms: float = 0.0
    caller: str = ""  # the key's name, "" if none was admitted
    error: str = ""  # the error's type
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

    def __init__(
        self, with_queries: bool = False, path: str = "", lines: logging.Handler | None = None
    ) -> None:
        """Ready to write; a file that is moved (logrotate) is opened again.

        Args:
            lines: takes them in place of standard output, if there is no path.
        Raises: ConfigError if the file cannot be written.
        """
        self._with_queries = with_queries
        self._log = logging.getLogger(LOGGER)
        if path or lines is not None or not self._log.handlers:
            handler = _file(path) if path else lines or logging.StreamHandler(_standard_output())
            handler.setFormatter(logging.Formatter("%(message)s"))
            for replaced in self._log.handlers:
                replaced.close()
            self._log.handlers = [handler]
        self._log.setLevel(logging.INFO)
        self._log.propagate = False

    def write(self, facts: RequestFacts, when: datetime | None = None) -> None:
        """Writes one line: 5xx at level ERROR, the rest at INFO."""
        level = logging.ERROR if facts.status >= 500 else logging.INFO
        self._log.log(level, "%s", self.line(facts, when or datetime.now(UTC)))

    def line(self, facts: RequestFacts, when: datetime) -> str:
        """The facts as JSON; unknown ones are left out."""
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
        # ASCII: Unicode line breaks and half surrogate pairs are escaped.
        return json.dumps(values)


def _standard_output() -> TextIO:
    # A Serve replica's sys.stdout goes to Serve's log, which drops everything below a warning.
    return sys.__stdout__ or sys.stdout


def _file(path: str) -> logging.Handler:
    try:
        return WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"serve.request_log = {path!r} cannot be written: {error.strerror}",
            "a file in an existing, writable folder",
        ) from None


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value}


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)
