"""Errors that a call of the service can raise.

MragError
|-- ServiceProblem            the service refused, and said why
|   |-- ServiceRefused        the same request will be refused again (PermanentError)
|   `-- ServiceBusy           it may be answered later (TransientError)
|-- ServiceUnreachable        no response, or an incomplete one (TransientError)
`-- AnswerUnreadable          the response is not one of this service's (PermanentError)
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError

from mrag_pipeline.errors import MragError, PermanentError, TransientError
from mrag_pipeline.wire.schemas import Problem

# Too early, too many, timed out, not ready or overloaded. 500 and 501 are permanent.
TRANSIENT = (408, 425, 429, 502, 503, 504)
# Retried by the client itself. A time-out is not: it would repeat the work on a busy service.
RETRIED = (429, 503)
_SHOWN_CHARS = 200


class ServiceProblem(MragError):
    """The service refused: its problem details (RFC 9457), field by field."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        expected: str = "",
        fix: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.expected = expected
        self.fix = fix
        self.request_id = request_id  # names the request in the service's logs
        self.retry_after = retry_after  # seconds, None if the service named none
        # The arguments to rebuild it from when it is unpickled.
        self.args = (status, title, detail, expected, fix, request_id, retry_after)

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nrequest: {self.request_id}" if self.request_id else text


class ServiceRefused(ServiceProblem, PermanentError):
    """The same request will be refused again."""


class ServiceBusy(ServiceProblem, TransientError):
    """The same request may be answered later."""


class ServiceUnreachable(TransientError):
    """No response: nothing listens there, the connection broke, or it timed out."""


class AnswerUnreadable(PermanentError):
    """The response is not one of this service's: another server, or a newer major version."""


def service_problem(
    status: int, reason: str, content: bytes, headers: httpx.Headers | None = None
) -> ServiceProblem:
    """The error for a response other than 2xx, which may also come from a proxy.

    Args:
        reason: HTTP's reason phrase.
        content: problem details as JSON, or anything.
    """
    headers = headers or httpx.Headers()
    retry_after = seconds_in(headers.get("retry-after", ""))
    request_id = headers.get("x-request-id", "")
    kind = ServiceBusy if status in TRANSIENT else ServiceRefused
    try:
        problem = Problem.model_validate_json(content, extra="ignore")
    except ValidationError:
        detail = content.decode("utf-8", "replace").strip()[:_SHOWN_CHARS]
        title = reason or "no reason given"
        return kind(status, title, detail, request_id=request_id, retry_after=retry_after)
    places = "; ".join(
        f"{'.'.join(str(part) for part in place.get('loc', ()))}: {place.get('msg', '')}"
        for place in problem.errors or ()
    )
    detail = f"{problem.detail} ({places})" if places else problem.detail
    return kind(
        status,
        problem.title,
        detail,
        problem.expected,
        problem.fix,
        problem.request_id or request_id,
        retry_after,
    )


def seconds_in(retry_after: str) -> float | None:
    """The seconds in a Retry-After header, which has seconds or a date; None if it has neither."""
    text = retry_after.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
