"""Searches whatever a retriever was given: an `Index`, a `Client` or an `AsyncClient`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from mrag_pipeline.client import AsyncClient, Client, SearchAnswer
    from mrag_pipeline.library.index import Index

    Service = Index | Client | AsyncClient

_log = logging.getLogger(__name__)


def search(service: Service, query: str, options: dict[str, Any]) -> SearchAnswer:
    """The service's answer; logs its warnings.

    Args:
        options: of a search; one that is None is left to the service.
    Raises: ConfigError for an AsyncClient, which only coroutines can wait for; what the service's
        own `search` raises.
    """
    if inspect.iscoroutinefunction(service.search):
        raise ConfigError(
            f"a blocking call with an {type(service).__name__}",
            "an Index or a Client",
            "call the retriever's async method, or give it a Client",
        )
    asked: Callable[..., Any] = service.search
    return _logged(asked(query, **_given(options)))


async def asearch(service: Service, query: str, options: dict[str, Any]) -> SearchAnswer:
    """`search` for coroutines; a `Client` waits in a thread."""
    asked: Callable[..., Any] = getattr(service, "asearch", service.search)
    if inspect.iscoroutinefunction(asked):
        return _logged(await asked(query, **_given(options)))
    return _logged(await asyncio.to_thread(asked, query, **_given(options)))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _logged(answer: SearchAnswer) -> SearchAnswer:
    for warning in answer.warnings:
        _log.warning("search.warning %s", warning)
    return answer
