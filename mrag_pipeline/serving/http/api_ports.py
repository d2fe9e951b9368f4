"""What the API needs besides its backend: callers, a guard and an observer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI, Request

if TYPE_CHECKING:
    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.serving.backend import Ask


class Caller(Protocol):
    """Who sent a request, as the guard knows them."""

    @property
    def name(self) -> str:
        """The key's name; "" on a service without keys."""

    @property
    def tenant(self) -> str | None:
        """The tenant that the key is bound to; None: the caller may name any."""


class Guard(Protocol):
    """Decides who may send requests, and how many."""

    @property
    def __call__(self) -> Callable[..., Any]:
        """A FastAPI dependency that yields the Caller while the request is under way.

        Raises: Unauthorized; TooManyRequests.
        """

    def spend(self, caller: Any, cost: int) -> None:
        """Counts further requests against the caller: a batch costs one for each search.

        Raises: TooManyRequests; ConfigError for more than are ever allowed.
        """

    def protect(self, app: FastAPI) -> None:
        """Puts the body limit, the security headers and its other checks around the app."""

    def pace(self, app: FastAPI) -> None:
        """Puts around all else what holds refusals back."""


class Observer(Protocol):
    """Watches requests."""

    def install(self, app: FastAPI) -> None:
        """Adds its middleware and its routes (`/metrics`).

        Its middleware sets `scope["state"]["request_id"]`, which problems include.
        """

    def answered(
        self, request: Request, answers: Sequence[Answer], asks: Sequence[Ask] = ()
    ) -> None:
        """Records the answers of a request's searches, all together."""
