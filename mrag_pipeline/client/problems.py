"""What a call of the service can end in, other than an answer.

MragError
|-- ServiceProblem            the service said no, and why
|   |-- ServiceRefused        the same request will be refused again (PermanentError)
|   `-- ServiceBusy           it may be answered later (TransientError)
|-- ServiceUnreachable        no answer at all (TransientError)
`-- AnswerUnreadable          an answer that is none of the service's (PermanentError)
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError

from mrag_pipeline.errors import MragError, PermanentError, TransientError
from mrag_pipeline.wire.schemas import Problem

# Too early, too often, timed out on the way, not ready or overloaded. 500 and 501 stay as they are.
TRANSIENT = (408, 425, 429, 502, 503, 504)
# Asked again by the client itself. A time-out is not: it would ask the same work of a busy service.
RETRIED = (429, 503)
_SHOWN_CHARS = 200


class ServiceProblem(MragError):
    """The service said no: its problem details (RFC 9457), field by field."""

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
        # What it is built from again when it is unpickled.
        self.args = (status, title, detail, expected, fix, request_id, retry_after)

    def __str__(self) -> str:
        told = super().__str__()
        return f"{told}\nrequest: {self.request_id}" if self.request_id else told


class ServiceRefused(ServiceProblem, PermanentError):
    """The same request will be refused again."""


class ServiceBusy(ServiceProblem, TransientError):
    """The same request may be answered later."""


class ServiceUnreachable(TransientError):
    """No answer: nothing listens there, the connection broke, or the time was over."""


class AnswerUnreadable(PermanentError):
    """An answer that is none of the service's: another server, or a newer major version."""


def service_problem(
    status: int, reason: str, content: bytes, headers: httpx.Headers | None = None
) -> ServiceProblem:
    """The problem that an answer other than 2xx tells; also one that a proxy wrote.

    Args:
        reason: HTTP's words for the status.
        content: problem details as JSON, or anything.
    """
    headers = headers or httpx.Headers()
    retry_after = seconds_in(headers.get("retry-after", ""))
    request_id = headers.get("x-request-id", "")
    kind = ServiceBusy if status in TRANSIENT else ServiceRefused
    try:
        told = Problem.model_validate_json(content, extra="ignore")
    except ValidationError:
        detail = content.decode("utf-8", "replace").strip()[:_SHOWN_CHARS]
        title = reason or "an answer without a reason"
        return kind(status, title, detail, request_id=request_id, retry_after=retry_after)
    places = "; ".join(
        f"{'.'.join(str(part) for part in place.get('loc', ()))}: {place.get('msg', '')}"
        for place in told.errors or ()
    )
    detail = f"{told.detail} ({places})" if places else told.detail
    return kind(
        status,
        told.title,
        detail,
        told.expected,
        told.fix,
        told.request_id or request_id,
        retry_after,
    )


def seconds_in(retry_after: str) -> float | None:
    """What a Retry-After header asks to wait: seconds or a date; None if it says neither."""
    text = retry_after.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
