"""Asks a reranker over HTTP: in batches, several at once, and again while the server is busy.

Nothing in an error or a log line holds the API key, not even a reply that repeats it.
"""

from __future__ import annotations

import email.utils
import ipaddress
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np
from numpy.typing import NDArray
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from mrag_pipeline.errors import ConfigError, OutOfTime, RerankerRefused, RerankerUnavailable
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.rerank.forms import FORMS, UnusableReply
from mrag_pipeline.settings.rerank import RerankSpec

ATTEMPTS = 3
BUSY = (408, 425, 429, 500, 502, 503, 504)
AT_ONCE = 4  # requests of one process
# What is sent of a text, in characters: more than any reranker reads, less than a server refuses.
MAX_CHARS = 16_000
# The largest reply that is read: some endpoints send the texts back.
REPLY_BYTES = 4_000_000
_SHOWN_CHARS = 200  # of a refused reply

_backoff = wait_random_exponential(multiplier=0.2, max=5)


@dataclass(frozen=True, slots=True)
class _Busy:
    """Why an attempt got no answer, and how long the server asked to wait."""

    reason: str
    retry_after_s: float | None = None


class EndpointReranker:
    """A `Reranker` behind an HTTP address, in the form of TEI, Cohere or Jina."""

    def __init__(self, spec: RerankSpec) -> None:
        """Nothing is sent yet.

        Raises: ConfigError for an address that is no URL, a model that is missing, or a key that
            cannot be sent.
        """
        self._spec = spec
        self._form = FORMS[spec.form]
        if self._form.names_model and not spec.model:
            raise ConfigError(
                f"rerank.form = {spec.form!r} without a model",
                "the model's name at that endpoint",
                "set rerank.model",
            )
        self._url = _checked_url(self._form.url(spec.url))
        self._key = _key(spec.key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # A proxy from the environment is for other machines.
        self._client = httpx.Client(headers=headers, trust_env=not _is_loopback(self._url.host))
        self._threads = ThreadPoolExecutor(AT_ONCE, "rerank")

    @property
    def name(self) -> str:
        """The model's name at the endpoint, else the form: answers show it, and no address."""
        return self._spec.model or f"{self._spec.form} endpoint"

    def scores(
        self, requests: Sequence[RerankRequest], seconds: float
    ) -> list[NDArray[np.float64]]:
        """As `Reranker.scores`; texts are cut to MAX_CHARS."""
        deadline = time.monotonic() + seconds
        size = self._spec.batch
        sent: list[list[Future[NDArray[np.float64]]]] = [
            [
                self._threads.submit(
                    self._scored, request.query, request.passages[start : start + size], deadline
                )
                for start in range(0, len(request.passages), size)
            ]
            for request in requests
        ]
        futures = [future for batches in sent for future in batches]
        try:
            # Waits for the futures, not for the transport: a reply that never ends is given up too.
            for future in futures:
                future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise self._out_of_time(seconds) from None
        finally:
            for future in futures:
                future.cancel()
        return [
            np.concatenate([np.zeros(0), *(future.result() for future in batches)])
            for batches in sent
        ]

    def close(self) -> None:
        """Closes the connections; requests under way are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _scored(self, query: str, passages: Sequence[str], deadline: float) -> NDArray[np.float64]:
        """(N,) the scores of one request's passages."""
        body = self._form.body(
            self._spec.model, _sendable(query), [_sendable(passage) for passage in passages]
        )
        retrying = Retrying(
            retry=retry_if_result(lambda outcome: isinstance(outcome, _Busy)),
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(deadline - time.monotonic()),
            wait=_wait,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        outcome = retrying(self._attempt, body, deadline)
        if isinstance(outcome, _Busy):
            raise self._unavailable(outcome)
        try:
            return self._form.read(outcome, len(passages))
        except UnusableReply as error:
            raise self._refused(f"{error}: {self._shown(outcome)}") from None

    def _attempt(self, body: object, deadline: float) -> bytes | _Busy:
        """The reply's content, or why there is none yet.

        Raises: RerankerRefused, TimeoutError.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            with self._client.stream("POST", self._url, json=body, timeout=left) as response:
                content = self._content(response, deadline)
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.HTTPError as error:
            return _Busy(type(error).__name__)
        status = response.status_code
        if status in BUSY:
            return _Busy(f"status {status}", _retry_after(response))
        if not response.is_success:
            raise self._refused(f"status {status}, {self._shown(content)}")
        return content

    def _content(self, response: httpx.Response, deadline: float) -> bytes:
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > REPLY_BYTES:
                raise self._refused(f"a reply of more than {REPLY_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(content)

    def _shown(self, content: bytes) -> str:
        """The start of a reply, without the key."""
        text = content[: 10 * _SHOWN_CHARS].decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "[key]")
        return repr(text[:_SHOWN_CHARS])

    def _refused(self, found: str) -> RerankerRefused:
        return RerankerRefused(
            f"the reranker at {self._url} returned no usable scores: {found}",
            f"one score for each text, in the form {self._spec.form!r}",
            "check rerank.url, rerank.form, rerank.model, rerank.batch and the key in "
            f"{self._spec.key_env}",
        )

    def _unavailable(self, busy: _Busy) -> RerankerUnavailable:
        asked = (
            "" if busy.retry_after_s is None else f", which asks to wait {busy.retry_after_s:g} s"
        )
        return RerankerUnavailable(
            f"no scores from the reranker at {self._url}: {busy.reason}{asked}",
            "a reranker that answers",
            "check rerank.url, and that the server runs",
        )

    def _out_of_time(self, seconds: float) -> OutOfTime:
        return OutOfTime(
            f"the reranker at {self._url} did not answer within {seconds:.3g} s",
            f"within the request's time, and rerank.timeout_s = {self._spec.timeout_s:g}",
            "give it longer, or rescore fewer documents (rerank.documents)",
        )


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(
            f"rerank.url = {text!r}", "http(s)://host:port, such as http://127.0.0.1:8080"
        )
    return url


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the API key in {variable} has characters that no header can hold",
            "a key of printable ASCII",
            f"set {variable} again",
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sendable(text: str) -> str:
    """The text as UTF-8 can hold it, cut to MAX_CHARS."""
    return text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds in `Retry-After`, which may be a date; None if there is none to be understood."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _wait(state: RetryCallState) -> float:
    """What the server asked for, else exponential backoff with jitter."""
    outcome = state.outcome.result() if state.outcome is not None else None
    if isinstance(outcome, _Busy) and outcome.retry_after_s is not None:
        return outcome.retry_after_s
    return float(_backoff(state))
