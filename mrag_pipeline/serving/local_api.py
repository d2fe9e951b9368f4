"""The API in this process, for this process: no network, no keys, no limits of rates, no Ray."""

from __future__ import annotations

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard


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
        answerer = None
        if self._chat is not None:
            answerer = Answerer(self._chat, config.serve.max_context_tokens, config.llm)
        self.app = create_api(
            self._backend, config.serve, OpenGuard(), NoObserver(), answerer, config.retrieve
        )

    async def close(self) -> None:
        """Stops the threads and closes the index."""
        if self._chat is not None:
            await self._chat.close()
        self._backend.close()
        self._index.close()
