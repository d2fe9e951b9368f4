"""What the API is given besides its backend, as small as it needs it, and stand-ins for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI, Request

if TYPE_CHECKING:
    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.serving.backend import Ask


class Caller(Protocol):
    """Who asks, as the guard knows them."""

    @property
    def name(self) -> str:
        """The key's name."""

    @property
    def tenant(self) -> str | None:
        """Whose documents the key is bound to; None: it may name any."""


class Guard(Protocol):
    """Who may ask, and how much at once."""

    @property
    def __call__(self) -> Callable[..., Any]:
        """A FastAPI dependency that gives the Caller, while the request is under way.

        Raises: Unauthorized; TooManyRequests.
        """

    def spend(self, caller: Any, cost: int) -> None:
        """Counts more requests as the caller's: a batch is as many as it holds.

        Raises: TooManyRequests; ConfigError if so many can never be let through.
        """

    def protect(self, app: FastAPI) -> None:
        """Puts the body limit, the security headers and its other checks around the app."""


class Observer(Protocol):
    """Who watches requests."""

    def install(self, app: FastAPI) -> None:
        """Adds its middleware and its routes (`/metrics`).

        Its middleware sets `scope["state"]["request_id"]`, which problems then tell.
        """

    def answered(
        self, request: Request, answers: Sequence[Answer], asks: Sequence[Ask] = ()
    ) -> None:
        """A request's searches were answered, all together."""
