"""The API's guard and observer where whoever reaches it may ask: no keys, no limits, no records.

For an API inside one process, as `Index` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

if TYPE_CHECKING:
    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.serving.backend import Ask
    from mrag_pipeline.serving.http.api_ports import Caller


@dataclass(frozen=True, slots=True)
class AnyCaller:
    """A caller without a key."""

    name: str = ""
    tenant: str | None = None  # it may name any


class OpenGuard:
    """A guard that lets everybody in."""

    def __call__(self) -> Caller:
        """The caller."""
        return AnyCaller()

    def spend(self, caller: Any, cost: int) -> None:
        """Counts nothing."""

    def protect(self, app: FastAPI) -> None:
        """Adds nothing."""

    def pace(self, app: FastAPI) -> None:
        """Adds nothing."""


class NoObserver:
    """An observer that records nothing."""

    def install(self, app: FastAPI) -> None:
        """Adds nothing."""

    def answered(
        self, request: Request, answers: Sequence[Answer], asks: Sequence[Ask] = ()
    ) -> None:
        """Records nothing."""
