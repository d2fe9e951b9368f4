"""The settings that both clients share: URL, key, time-outs and retries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict

import httpx
from tenacity import (
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)
from tenacity.retry import retry_base
from tenacity.stop import stop_base

from mrag_pipeline.client.problems import RETRIED, ServiceProblem, ServiceUnreachable
from mrag_pipeline.errors import ConfigError

KEY_ENV = "MRAG_API_KEY"
LOCAL = "http://127.0.0.1:8000"
GRACE_S = 5.0  # added to a request's time-out, to receive the service's own time-out error


class _Retrying(TypedDict):
    retry: retry_base
    stop: stop_base
    wait: Callable[[RetryCallState], float]
    reraise: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a client; its repr never holds the key."""

    url: str
    key: str = field(repr=False)
    timeout_s: float
    attempts: int
    patience_s: float

    @classmethod
    def of(
        cls, url: str, api_key: str | None, timeout_s: float, attempts: int, patience_s: float
    ) -> Connection:
        """The checked settings; the key comes from the environment if none is given.

        Raises: ConfigError.
        """
        parsed = _url(url)
        key = (os.environ.get(KEY_ENV, "") if api_key is None else api_key).strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                "the API key has invalid characters",
                "a key as printed by `mrag keys new`",
                f"give it as api_key or in {KEY_ENV}",
            )
        for name, value, least in (
            ("timeout_s", timeout_s, 0.0),
            ("attempts", attempts, 0.0),
            ("patience_s", patience_s, -1.0),
        ):
            if not least < value < float("inf"):
                raise ConfigError(f"{name} = {value}", f"a number above {least:g}")
        return cls(str(parsed).rstrip("/"), key, timeout_s, attempts, patience_s)

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        headers = {"Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers

    def verify(self) -> bool:
        """Whether certificates are checked: reading them all takes longer than a local answer.

        Without TLS there is none to check; no redirect is followed to where there is one.
        """
        return self.url.startswith("https:")

    def seconds(self, timeout_s: float | None) -> float:
        """How long to wait for a response, given the request's own time-out in the service."""
        return self.timeout_s if timeout_s is None else timeout_s + GRACE_S

    def retrying(self) -> _Retrying:
        """Arguments for tenacity: retry 429, 503 and connections that could not be made.

        At most `attempts` in all, none of which starts after `patience_s`.
        """
        return {
            "retry": retry_if_exception(_is_retried),
            "stop": stop_after_attempt(self.attempts) | stop_before_delay(self.patience_s),
            "wait": _wait,
            "reraise": True,
        }

    @contextmanager
    def errors_translated(self) -> Iterator[None]:
        """Turns the transport's errors into ours.

        Raises: ServiceUnreachable.
        """
        try:
            yield
        except httpx.RequestError as error:
            text = str(error) or "no message"
            raise ServiceUnreachable(
                f"no answer from {self.url}: {type(error).__name__} ({text})",
                "a query service, as `mrag serve` starts it",
                "check the URL, and that the service runs; or raise timeout_s",
            ) from error


def _is_retried(error: BaseException) -> bool:
    if isinstance(error, ServiceProblem):
        return error.status in RETRIED
    # Only if the request was never sent: one that was sent may have been processed.
    return isinstance(error, ServiceUnreachable) and isinstance(
        error.__cause__, (httpx.ConnectError, httpx.ConnectTimeout)
    )


_backoff = wait_random_exponential(multiplier=0.2, max=5)


def _wait(state: RetryCallState) -> float:
    """Retry-After if the service sent it; else exponential backoff with jitter."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, ServiceProblem) and error.retry_after is not None:
        return error.retry_after
    return float(_backoff(state))


def _url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"url = {url!r}", f"http(s)://host:port, such as {LOCAL}")
    if parsed.userinfo:
        # URLs are written to logs and errors.
        raise ConfigError(
            f"the URL of {parsed.host} contains credentials",
            "a URL without credentials",
            f"give the key as api_key or in {KEY_ENV}",
        )
    return parsed
