"""The API in this process, for this process: no network, no keys, no limits of rates, no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.api_ports import Caller
from mrag_pipeline.serving.in_process import InProcessBackend

if TYPE_CHECKING:
    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.serving.backend import Ask


@dataclass(frozen=True, slots=True)
class Owner:
    """The process itself."""

    name: str = "this process"
    tenant: str | None = None  # it may name any


class NoGuard:
    """Whoever holds the index may ask it."""

    def __call__(self) -> Caller:
        """The caller."""
        return Owner()

    def spend(self, caller: Any, cost: int) -> None:
        """Counts nothing."""

    def protect(self, app: FastAPI) -> None:
        """Adds nothing."""


class NoObserver:
    """Nothing is recorded."""

    def install(self, app: FastAPI) -> None:
        """Adds nothing."""

    def answered(
        self, request: Request, answers: Sequence[Answer], asks: Sequence[Ask] = ()
    ) -> None:
        """Records nothing."""


class LocalApi:
    """Model, index and API of a config; close it."""

    def __init__(self, config: Config) -> None:
        """Loads the model and opens the index.

        Raises: as `wiring.encoder` and `wiring.index`.
        """
        encoder = wiring.encoder(config)
        self._index = wiring.index(config)
        self._backend = InProcessBackend(
            encoder,
            wiring.segmenter(config, encoder),
            self._index,
            config.serve,
            config.retrieve,
            wiring.reranking(config),
        )
        self._chat = wiring.chat_stream(config) if config.llm.url else None
        answerer = Answerer(self._chat, config.serve.max_context_tokens) if self._chat else None
        self.app = create_api(
            self._backend, config.serve, NoGuard(), NoObserver(), answerer, config.retrieve
        )

    async def close(self) -> None:
        """Stops the threads and closes the index."""
        if self._chat is not None:
            await self._chat.close()
        self._backend.close()
        self._index.close()
