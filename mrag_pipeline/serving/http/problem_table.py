"""The one table from exceptions to HTTP problems: status, title, and what callers are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mrag_pipeline import errors
from mrag_pipeline.errors import MragError, PermanentError

CLIENT_LEFT = 499  # nginx's status for a caller that hung up; the response reaches no one
TYPES = "urn:mrag:problem:"  # a problem's `type`: this, then the error's name in kebab-case


class NotJson(PermanentError):
    """A body that is not JSON."""


class TooLarge(PermanentError):
    """A body over the size limit."""


class TooSlow(PermanentError):
    """A body that has not arrived when its time is over."""


class WrongMediaType(PermanentError):
    """A body whose Content-Type is not JSON."""


class ClientLeft(PermanentError):
    """The caller closed the connection."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One row of the table."""

    status: int
    title: str  # the same for every problem of the kind
    when: str  # for the docs
    # Replaces the error's own text where that would name addresses, paths or others' answers.
    instead: str = ""


# The nearest class up an exception's tree counts.
TABLE: Mapping[type[MragError], ProblemKind] = {
    NotJson: ProblemKind(400, "The body is not JSON", "malformed, or nested too deep"),
    errors.Unauthorized: ProblemKind(401, "No valid API key", "no key, or an unknown one"),
    errors.Forbidden: ProblemKind(
        403,
        "Not allowed with this key",
        "another tenant's documents, or all callers' metrics",
    ),
    errors.NotFound: ProblemKind(404, "Not found", "no such chunk, or the key may not see it"),
    TooSlow: ProblemKind(408, "The body did not arrive in time", "within `serve.timeout_s`"),
    TooLarge: ProblemKind(413, "The body is too large", "above `serve.max_body_kb`"),
    WrongMediaType: ProblemKind(415, "The body must be application/json", "another `Content-Type`"),
    errors.ConfigError: ProblemKind(
        422, "Invalid request", "over a limit, or an unknown strategy or filter"
    ),
    errors.TooManyRequests: ProblemKind(429, "Too many requests", "over the key's rate limit"),
    ClientLeft: ProblemKind(CLIENT_LEFT, "The client closed the connection", "never seen"),
    errors.NotConfigured: ProblemKind(
        501,
        "Not configured",
        "`/v1/answer` without a chat model, or `rerank` without a reranker",
    ),
    errors.LlmRefused: ProblemKind(
        502,
        "The chat model returned no usable answer",
        "a wrong key, an unexpected format, or empty",
        "the chat model's endpoint refused, or answered in an unexpected format",
    ),
    errors.LlmUnavailable: ProblemKind(
        502,
        "The chat model does not answer",
        "unreachable, busy, or the connection broke",
        "the chat model's endpoint did not answer, or stopped before the end",
    ),
    errors.RerankerRefused: ProblemKind(
        502,
        "The reranker returned no usable scores",
        "a wrong key or an unexpected format, where `rerank.on_error` is `fail`",
        "the reranker's endpoint refused, or answered in an unexpected format",
    ),
    errors.RerankerUnavailable: ProblemKind(
        502,
        "The reranker does not answer",
        "unreachable or busy, where `rerank.on_error` is `fail`",
        "the reranker's endpoint did not answer",
    ),
    errors.NotReady: ProblemKind(503, "Not ready", "starting, or no version can be searched"),
    errors.NoLiveVersion: ProblemKind(503, "No live version", "nothing was ingested yet"),
    errors.IndexDamaged: ProblemKind(
        503,
        "The index is damaged",
        "a file of it cannot be read: `mrag audit` names it",
        "a part of it cannot be read",
    ),
    errors.FingerprintMismatch: ProblemKind(
        503,
        "Another encoder's version",
        "the model is not the one that built the live version",
        "the service's encoder did not build the live version",
    ),
    errors.Overloaded: ProblemKind(503, "Overloaded", "the queues are full"),
    errors.IndexBusy: ProblemKind(
        503,
        "The index is busy",
        "another process has the Milvus Lite database open",
        "another process has it open",
    ),
    errors.IndexUnavailable: ProblemKind(
        503, "The index does not answer", "down, or too slow", "it is down, or too slow"
    ),
    errors.WorkerLost: ProblemKind(
        503,
        "A part of the service was lost",
        "two replicas in a row died with the request",
        "it is being restarted",
    ),
    errors.OutOfTime: ProblemKind(504, "Out of time", "longer than `timeout_s`"),
    errors.HeadsMissing: ProblemKind(
        504, "Heads did not answer", "fewer than `min_heads` (or all) answered in time"
    ),
}
# Whatever the table does not name.
INTERNAL = ProblemKind(500, "Internal error", "a bug; the log has it under the `request_id`")


def kind_of(error: type[BaseException]) -> tuple[str, ProblemKind]:
    """The problem's `type` and its row; 500 for an exception that the table does not name."""
    for base in error.__mro__:
        if base in TABLE:
            return type_of(base), TABLE[base]
    return f"{TYPES}internal", INTERNAL


def type_of(error: type[BaseException]) -> str:
    """`urn:mrag:problem:out-of-time` for OutOfTime."""
    return TYPES + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", error.__name__).lower()
