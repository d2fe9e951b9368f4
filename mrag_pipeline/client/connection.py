"""Where the service is, as whom it is asked, and how often: what both clients share."""

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
GRACE_S = 5.0  # the service itself says when a request's time is over; that answer is waited for


class _Retrying(TypedDict):
    retry: retry_base
    stop: stop_base
    wait: Callable[[RetryCallState], float]
    reraise: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a client; its text never holds the key."""

    url: str
    key: str = field(repr=False)
    timeout_s: float
    attempts: int
    patience_s: float

    @classmethod
    def of(
        cls, url: str, api_key: str | None, timeout_s: float, attempts: int, patience_s: float
    ) -> Connection:
        """The settings, checked; the key from the environment if none is given.

        Raises: ConfigError.
        """
        parsed = _url(url)
        key = (os.environ.get(KEY_ENV, "") if api_key is None else api_key).strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                "the API key holds characters that no key has",
                "a key as `mrag keys new` prints it",
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
        """What every request carries."""
        headers = {"Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers

    def seconds(self, given: float | None) -> float:
        """How long an answer is waited for, if the caller gave the service so long."""
        return self.timeout_s if given is None else given + GRACE_S

    def retrying(self) -> _Retrying:
        """For tenacity: 429 and 503 are asked again, and a connection that never came about.

        Never more than `attempts` in all, and none that would start after `patience_s`.
        """
        return {
            "retry": retry_if_exception(_is_worth_asking_again),
            "stop": stop_after_attempt(self.attempts) | stop_before_delay(self.patience_s),
            "wait": _wait,
            "reraise": True,
        }

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turns the transport's errors into ours.

        Raises: ServiceUnreachable.
        """
        try:
            yield
        except httpx.RequestError as error:
            said = str(error) or "no word"
            raise ServiceUnreachable(
                f"no answer from {self.url}: {type(error).__name__} ({said})",
                "a query service, as `mrag serve` starts it",
                "check the URL and that the service runs; or wait longer (timeout_s)",
            ) from error


def _is_worth_asking_again(error: BaseException) -> bool:
    if isinstance(error, ServiceProblem):
        return error.status in RETRIED
    # The request was never sent; of one that was, nobody knows how far it came.
    return isinstance(error, ServiceUnreachable) and isinstance(
        error.__cause__, (httpx.ConnectError, httpx.ConnectTimeout)
    )


_backoff = wait_random_exponential(multiplier=0.2, max=5)


def _wait(state: RetryCallState) -> float:
    """As long as the service asks for; else longer each time, by chance."""
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
            f"the URL of {parsed.host} holds credentials",
            "a URL without them",
            f"give the key as api_key or in {KEY_ENV}",
        )
    return parsed
